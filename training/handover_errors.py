"""What can go wrong between a trained adapter and its readers.

TrainingError
├── EvaluationError   prompts or answers of an evaluation cannot be used
├── MergeError        adapter and base cannot become one folder
├── GgufError         a model cannot be written as GGUF
└── PushError         a model cannot be published
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from elysia_chat.training.errors import TrainingError


class EvaluationError(TrainingError):
    """A model cannot be evaluated."""


class MergeError(TrainingError):
    """An adapter cannot be merged into a model."""


class GgufError(TrainingError):
    """A model cannot be written as GGUF."""


class PushError(TrainingError):
    """A model cannot be published."""


@contextmanager
def writing_errors(target: Path, error_type: type[TrainingError]) -> Iterator[None]:
    """Turn a full disk or a folder that cannot be written into one line; nothing at `target` has changed then."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        full = getattr(error, "errno", None) == 28 or "No space left" in str(error) or "os error 28" in str(error)
        why = "the disk is full" if full else str(getattr(error, "strerror", None) or error).splitlines()[0]
        msg = f"Cannot write {target}: {why}. Nothing there was changed; free some space or choose another place."
        raise error_type(msg) from error
