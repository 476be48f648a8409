"""Models on Hugging Face and ModelScope: what one consists of, and its files brought here.

A download that broke off goes on where it stopped. The token comes from the environment (`HF_TOKEN`,
`MODELSCOPE_API_TOKEN`) or from the client's own login, a mirror from `HF_ENDPOINT` or `MODELSCOPE_ENDPOINT`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from elysia_chat.llm.errors import DownloadError
from elysia_chat.llm.library import huggingface, modelscope
from elysia_chat.llm.library.record import sha256_of
from elysia_chat.llm.library.remote_files import Listing, Progress

HubName = Literal["hf", "modelscope"]


def list_files(hub: HubName, repo: str, revision: str | None = None) -> Listing:
    """Return the files at the top of a repository.

    Args:
        hub: 'hf' or 'modelscope'.
        repo: "owner/name".
        revision: branch, tag or commit; unset: the main branch.

    Raises:
        DownloadError: there is no such repository or revision, it may not be read, or the hub cannot be reached.
    """
    return huggingface.list_files(repo, revision) if hub == "hf" else modelscope.list_files(repo, revision)


def fetch(hub: HubName, listing: Listing, names: Sequence[str], folder: Path, progress: Progress) -> None:
    """Bring files into a folder and check size and SHA-256; what an earlier try left there is taken up.

    Args:
        hub: 'hf' or 'modelscope'.
        listing: of the repository.
        names: of its files.
        folder: where they go, under the same names.
        progress: told how many bytes have come.

    Raises:
        DownloadError: the hub cannot be reached, or sent something else than it lists.
    """
    missing = [file for file in listing.named(names) if not is_here(folder, listing, file.name)]
    if not missing:
        return
    folder.mkdir(parents=True, exist_ok=True)
    take = huggingface.fetch if hub == "hf" else modelscope.fetch
    take(listing, missing, folder, progress)
    for file in missing:
        path = folder / file.name
        if path.stat().st_size != file.size or (file.sha256 and sha256_of(path) != file.sha256):
            path.unlink()
            msg = f"{file.name} of {listing.repo} came damaged (size or SHA-256): try again."
            raise DownloadError(msg)


def is_here(folder: Path, listing: Listing, name: str) -> bool:
    """Tell whether a file has come whole: it has its name only then."""
    path = folder / name
    return path.is_file() and any(path.stat().st_size == file.size for file in listing.named([name]))
