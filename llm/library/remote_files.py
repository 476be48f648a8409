"""Files on a hub, as both hubs' clients and those who ask them see them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

Progress = Callable[[float, float], None]
"""Called with the bytes that have come, and with the bytes to come in all."""


@dataclass(frozen=True)
class RemoteFile:
    """A file on a hub.

    Attributes:
        name: within the repository.
        size: in bytes.
        sha256: of its content, where the hub knows it.
    """

    name: str
    size: int
    sha256: str | None


@dataclass(frozen=True)
class Listing:
    """The files at the top of a repository in one revision; a commit where the hub tells it."""

    repo: str
    revision: str
    files: tuple[RemoteFile, ...]

    def named(self, names: Sequence[str]) -> list[RemoteFile]:
        """Return the files of these names."""
        wanted = set(names)
        return [file for file in self.files if file.name in wanted]
