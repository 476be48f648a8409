"""What can go wrong in the knowledge base.

KnowledgeBaseError
├── CardError                 a character card cannot be read
├── PersonaError
│   ├── UnknownPersonaError   no persona of that name
│   ├── PersonaExistsError    the name is taken
│   ├── UnsafeNameError       a name or path that would leave its folder, or that nothing is left of
│   └── UnknownDocumentError  no document of that path
├── EmbeddingModelError       the embedding model is missing, corrupt or cannot be loaded
├── RerankerError             the cross-encoder is missing or cannot be loaded
└── IndexUnavailableError
    ├── IndexInUseError       another process has the index open
    ├── IndexDamagedError     the index cannot be read; it can be built again
    ├── IndexMismatchError    the index was made by another embedding model
    └── StoreServerError      the Chroma server does not answer
"""

from elysia_chat.configs.errors import ElysiaChatError


class KnowledgeBaseError(ElysiaChatError):
    """The root of this folder's errors."""


class CardError(KnowledgeBaseError):
    """A character card cannot be read."""


class PersonaError(KnowledgeBaseError):
    """The root of the errors about personas and their documents."""


class UnknownPersonaError(PersonaError):
    """There is no persona of that name; the message lists those there are."""


class PersonaExistsError(PersonaError):
    """A persona of that name is already there."""


class UnsafeNameError(PersonaError):
    """A name or path would leave its folder, or nothing of it is left once it is made safe."""


class UnknownDocumentError(PersonaError):
    """The persona has no document of that path."""


class EmbeddingModelError(KnowledgeBaseError):
    """The embedding model is missing, corrupt, or cannot be loaded."""


class RerankerError(KnowledgeBaseError):
    """The cross-encoder is missing or cannot be loaded."""


class IndexUnavailableError(KnowledgeBaseError):
    """The root of the errors about an index that cannot be used now."""


class IndexInUseError(IndexUnavailableError):
    """Another process has the index open."""


class IndexDamagedError(IndexUnavailableError):
    """The index cannot be read, or another version of the library wrote it; it can be built again."""


class IndexMismatchError(IndexUnavailableError):
    """The index was made by another embedding model than the one that is set."""


class StoreServerError(IndexUnavailableError):
    """The Chroma server does not answer, or refuses."""
