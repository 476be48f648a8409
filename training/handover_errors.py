"""What can go wrong between a trained adapter and its readers.

TrainingError
├── EvaluationError   prompts or answers of an evaluation cannot be used
├── MergeError        adapter and base cannot become one folder
└── PushError         a model cannot be published
"""

from elysia_chat.training.errors import TrainingError


class EvaluationError(TrainingError):
    """A model cannot be evaluated."""


class MergeError(TrainingError):
    """An adapter cannot be merged into a model."""


class PushError(TrainingError):
    """A model cannot be published."""
