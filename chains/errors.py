"""What can go wrong between a message and its answer.

ElysiaChatError
└── ChainError
    ├── MessageError          an empty message, or one that is too long
    └── QuestionFileError     a file of evaluation questions of the wrong shape
"""

from elysia_chat.configs.errors import ElysiaChatError


class ChainError(ElysiaChatError):
    """An answer cannot be given."""


class MessageError(ChainError):
    """The message itself cannot be answered; the next one can."""


class QuestionFileError(ChainError):
    """A file of evaluation questions cannot be used."""
