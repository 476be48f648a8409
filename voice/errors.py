"""What can go wrong with speech.

ElysiaChatError
└── VoiceError
    ├── UnknownVoiceError     no such voice or speaker; the message lists the known ones
    ├── VoicePackageError     a package with the weights of a built-in voice is missing or damaged
    ├── VoiceFolderError      a voice's folder is incomplete or damaged
    ├── VoiceImportError      a file is not a voice that can be taken over
    ├── MissingProgramError   a program of the system, such as espeak-ng, is not installed
    ├── UnspeakableError      nothing to say, or in a language that the voice lacks
    ├── SynthesisError        an engine failed on a sentence
    └── AudioFormatError      no such format of audio files
"""

from elysia_chat.configs.errors import ElysiaChatError


class VoiceError(ElysiaChatError):
    """Any failure of speech."""


class UnknownVoiceError(VoiceError):
    """There is no voice, or no speaker of a voice, of this name."""


class VoicePackageError(VoiceError):
    """A package that carries the weights of a built-in voice is missing or damaged."""


class VoiceFolderError(VoiceError):
    """A voice's folder is incomplete or damaged."""


class VoiceImportError(VoiceError):
    """A file or folder is not a voice that can be taken over."""


class MissingProgramError(VoiceError):
    """A program that a voice needs is not installed."""


class UnspeakableError(VoiceError):
    """There is nothing to say, or the voice does not have the language."""


class SynthesisError(VoiceError):
    """An engine failed on a sentence."""


class AudioFormatError(VoiceError):
    """There is no such format of audio files."""
