"""What can go wrong between recordings and a voice.

TrainingError
├── RecordingsError     recordings or transcripts are missing or cannot be used
└── VoiceRunError       a run cannot begin or go on
"""

from elysia_chat.training.errors import TrainingError


class RecordingsError(TrainingError):
    """Recordings or their transcripts cannot be used."""


class VoiceRunError(TrainingError):
    """A run of training a voice cannot begin or go on."""
