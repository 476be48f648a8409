"""What can go wrong with a language model.

ElysiaChatError
└── ModelError
├── UnknownModelError       no such model; the message lists the known ones
├── ModelPackageError       a package with the embedded weights is missing or damaged
├── ModelLoadError          a folder is not a model, or its files are damaged
├── AdapterError            the adapter is damaged or belongs to another base model
├── ConversionError         a model or adapter of InternLM2 cannot be turned into Llama's form
├── LibraryError            a model cannot be added, described or removed
├── DownloadError           a hub does not have it, refuses it, or cannot be reached
├── GgufError               a model cannot be written as GGUF, or a GGUF file cannot be read
├── PromptTooLongError      prompt and answer do not fit into the context
├── ModelBusyError          as many wait for their turn as may
├── GenerationCancelledError  the caller took the request back while it waited
└── RemoteModelError
    ├── RemoteUnavailableError   nothing answers at the address
    ├── RemoteTimeoutError       it answers too slowly
    ├── RemoteInterruptedError   the answer broke off
    ├── RemoteAccessError        the key is refused
    ├── RemoteUnknownModelError  the server does not have the model
    └── RemoteRequestError       the server refused the request or failed on it
"""

from elysia_chat.configs.errors import ElysiaChatError


class ModelError(ElysiaChatError):
    """Any failure of a language model."""


class UnknownModelError(ModelError):
    """There is no model of this name."""


class ModelPackageError(ModelError):
    """A package that carries the embedded weights is missing or damaged."""


class ModelLoadError(ModelError):
    """A model folder is incomplete, damaged or not a causal language model."""


class AdapterError(ModelError):
    """An adapter cannot be read or belongs to another base model."""


class ConversionError(ModelError):
    """A model or adapter of InternLM2 cannot be turned into Llama's form."""


class LibraryError(ModelError):
    """A model cannot be added, described or removed."""


class DownloadError(ModelError):
    """A hub does not have a model, refuses it, or cannot be reached."""


class GgufError(ModelError):
    """A model cannot be written as GGUF, or a GGUF file cannot be read."""


class PromptTooLongError(ModelError):
    """The prompt leaves no room for an answer in the context."""


class ModelBusyError(ModelError):
    """As many requests wait for the model as may; the next one is refused."""


class GenerationCancelledError(ModelError):
    """The caller cancelled the request."""


class RemoteModelError(ModelError):
    """Any failure of a model behind a server."""


class RemoteUnavailableError(RemoteModelError):
    """Nothing answers at the server's address."""


class RemoteTimeoutError(RemoteModelError):
    """The server answers too slowly."""


class RemoteInterruptedError(RemoteModelError):
    """The server's answer broke off in the middle."""


class RemoteAccessError(RemoteModelError):
    """The server refuses the key."""


class RemoteUnknownModelError(RemoteModelError):
    """The server does not have the model."""


class RemoteRequestError(RemoteModelError):
    """The server refused the request, or failed on it."""
