"""What can go wrong with XTuner.

TrainingError
├── XtunerSetupError   its environment is not there, or cannot be built
└── XtunerError        one of its tools failed, or a run's folder is not as it has to be
"""

from elysia_chat.training.errors import TrainingError


class XtunerSetupError(TrainingError):
    """XTuner's environment cannot be used or built."""


class XtunerError(TrainingError):
    """One of XTuner's tools cannot do its work."""
