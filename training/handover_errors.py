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


def disk_problem(error: BaseException) -> str | None:
    """Say in a few words why something could not be written; None where the error is of another kind.

    torch and safetensors report a full disk as errors of their own.
    """
    from safetensors import SafetensorError

    text = str(error)
    if getattr(error, "errno", None) == 28 or any(sign in text for sign in _FULL):
        return "the disk is full"
    if isinstance(error, (OSError, SafetensorError)):
        return str(getattr(error, "strerror", None) or text or type(error).__name__).splitlines()[0]
    return None


_FULL = ("No space left", "os error 28", "PytorchStreamWriter failed", "unexpected pos")


@contextmanager
def writing_errors(target: Path, error_type: type[TrainingError]) -> Iterator[None]:
    """Turn a full disk or a folder that cannot be written into one line; nothing at `target` has changed then."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        why = disk_problem(error)
        msg = f"Cannot write {target}: {why}. Nothing there was changed; free some space or choose another place."
        raise error_type(msg) from error
