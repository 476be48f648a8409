"""What can go wrong between a persona and its adapter.

ElysiaChatError
└── TrainingError
    ├── DataFileError        a data file of the wrong shape; names the line and what was expected
    ├── DatasetError         a dataset cannot be built from what was given
    ├── PresetError          a preset of training is unknown or contradicts itself, its model or the machine
    ├── CheckpointError      a checkpoint or adapter is cut short, or belongs to another model
    └── DivergedError        the loss stayed non-finite
"""

from elysia_chat.configs.errors import ElysiaChatError


class TrainingError(ElysiaChatError):
    """Training cannot go on."""


class DataFileError(TrainingError):
    """A data file has the wrong shape."""


class DatasetError(TrainingError):
    """A dataset cannot be built."""


class PresetError(TrainingError):
    """A preset cannot be used here."""


class CheckpointError(TrainingError):
    """A checkpoint or adapter cannot be used."""


class DivergedError(TrainingError):
    """The loss stayed non-finite for several steps in a row."""
