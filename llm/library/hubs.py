"""Hugging Face and ModelScope: what a model there consists of, and its files brought here.

Both clients go on where a broken download stopped, and take what is there already as it is. The token comes from the
environment (`HF_TOKEN`, `MODELSCOPE_API_TOKEN`) or from the client's own login, a mirror from `HF_ENDPOINT` or
`MODELSCOPE_ENDPOINT`.
"""

import contextlib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Literal

from elysia_chat.llm.errors import DownloadError

HubName = Literal["hf", "modelscope"]
Progress = Callable[[float, float], None]
"""Called with the bytes that have come, and with the bytes to come in all."""

_HF = "https://huggingface.co"
_MIRROR = "HF_ENDPOINT"


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
    """The files of a repository in one revision; a commit where the hub tells it."""

    repo: str
    revision: str
    files: tuple[RemoteFile, ...]


def list_files(hub: HubName, repo: str, revision: str | None = None) -> Listing:
    """Return the files at the top of a repository.

    Args:
        hub: 'hf' or 'modelscope'.
        repo: "owner/name".
        revision: branch, tag or commit; unset: the main branch.

    Raises:
        DownloadError: there is no such repository or revision, it may not be read, or the hub cannot be reached.
    """
    return _list_hf(repo, revision) if hub == "hf" else _list_modelscope(repo, revision)


def fetch(hub: HubName, listing: Listing, names: Sequence[str], folder: Path, progress: Progress) -> None:
    """Bring files into a folder; what an earlier try left there is taken up.

    Args:
        hub: 'hf' or 'modelscope'.
        listing: of the repository.
        names: of its files.
        folder: where they go, under the same names.
        progress: told how many bytes have come.

    Raises:
        DownloadError: the hub cannot be reached, or sent something else than it lists.
    """
    if names:
        (_fetch_hf if hub == "hf" else _fetch_modelscope)(listing, names, folder, progress)
    for file in listing.files:
        if file.name in names and (folder / file.name).stat().st_size != file.size:
            (folder / file.name).unlink()
            msg = f"{file.name} of {listing.repo} came in another size than the hub lists: try again."
            raise DownloadError(msg)


def _list_hf(repo: str, revision: str | None) -> Listing:
    from huggingface_hub import HfApi

    with _hf_errors(repo, revision):
        found = HfApi(endpoint=_hf_endpoint()).model_info(repo, revision=revision, files_metadata=True)
    files = [
        RemoteFile(file.rfilename, int(file.size or 0), file.lfs.sha256 if file.lfs is not None else None)
        for file in found.siblings or ()
        if "/" not in file.rfilename
    ]
    return Listing(repo, str(found.sha), tuple(files))


def _fetch_hf(listing: Listing, names: Sequence[str], folder: Path, progress: Progress) -> None:
    from huggingface_hub import snapshot_download

    with _hf_errors(listing.repo, listing.revision):
        snapshot_download(
            listing.repo,
            revision=listing.revision,
            local_dir=folder,
            allow_patterns=list(names),
            endpoint=_hf_endpoint(),
            tqdm_class=_bar_for(progress),
        )


def _hf_endpoint() -> str | None:
    # huggingface_hub reads the variable when it is imported, which may be long ago.
    return os.environ.get(_MIRROR) or None


def _bar_for(progress: Progress) -> Any:
    """Return a class of progress bars that show nothing and tell `progress` of the bytes written."""
    from huggingface_hub.utils import tqdm

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            counts = kwargs.get("unit") == "B" and "Reconstruct" in str(kwargs.get("desc"))
            self._progress = progress if counts else None
            super().__init__(*args, **{**kwargs, "file": io.StringIO(), "disable": False, "mininterval": 0.1})

        def update(self, n: float | None = 1) -> bool | None:
            shown = super().update(n)
            if self._progress is not None and self.total:
                self._progress(self.n, self.total)
            return shown

    return Bar


@contextmanager
def _hf_errors(repo: str, revision: str | None) -> Iterator[None]:
    import httpx
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    place = _hf_endpoint() or _HF
    try:
        yield
    except GatedRepoError as error:
        msg = f"{repo} asks that its terms be accepted: do that at {place}/{repo}, and set HF_TOKEN."
        raise DownloadError(msg) from error
    except RepositoryNotFoundError as error:
        msg = f"There is no model {repo} at {place}, or it is private: mend the name, or set HF_TOKEN."
        raise DownloadError(msg) from error
    except RevisionNotFoundError as error:
        msg = f"{repo} has no revision '{revision}' at {place}: leave out --revision for the newest."
        raise DownloadError(msg) from error
    except HFValidationError as error:
        msg = f"'{repo}' is no name of a model: write owner/name."
        raise DownloadError(msg) from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, httpx.TransportError, ConnectionError) as error:
        msg = (
            f"{place} cannot be reached, or broke off: try again later (what has come is kept), set {_MIRROR} to a "
            "mirror, or take --from modelscope."
        )
        raise DownloadError(msg) from error
    except HfHubHTTPError as error:
        msg = f"{place} answers with HTTP {error.response.status_code} for {repo}: try again later."
        raise DownloadError(msg) from error
    except OSError as error:
        msg = f"Cannot download {repo}: {str(error).splitlines()[0]}"
        raise DownloadError(msg) from error


def _list_modelscope(repo: str, revision: str | None) -> Listing:
    with _modelscope_errors(repo, revision):
        files = _modelscope(repo).list_repo_files(repo, "model", revision=revision, recursive=False)
    found = [RemoteFile(file.path, int(file.size), file.sha256 or None) for file in files if not file.is_dir]
    return Listing(repo, revision or "master", tuple(found))


def _fetch_modelscope(listing: Listing, names: Sequence[str], folder: Path, progress: Progress) -> None:
    entries = [
        {"Path": file.name, "Size": file.size, "Sha256": file.sha256, "Type": "blob"}
        for file in listing.files
        if file.name in names
    ]
    callback = _callback_for(progress, sum(file.size for file in listing.files if file.name in names))
    # The client draws a bar of its own over whatever shows the progress.
    with _modelscope_errors(listing.repo, listing.revision), contextlib.redirect_stderr(io.StringIO()):
        _modelscope(listing.repo).download_repo(
            listing.repo,
            "model",
            revision=listing.revision,
            local_dir=folder,
            file_list=entries,
            progress_callbacks=[callback],
        )


def _modelscope(repo: str) -> Any:
    from modelscope_hub import HubApi

    api: Any = HubApi()
    return HubApi(endpoint=api.resolve_endpoint_for_read(repo))


def _callback_for(progress: Progress, total: int) -> Any:
    from modelscope_hub import ProgressCallback

    lock = Lock()
    done = 0

    class Callback(ProgressCallback):  # type: ignore[misc]
        def update(self, size: int) -> None:
            nonlocal done
            with lock:
                done += size
                progress(min(done, total), total)

    return Callback


@contextmanager
def _modelscope_errors(repo: str, revision: str | None) -> Iterator[None]:
    from modelscope_hub.errors import (
        AuthenticationError,
        FileDownloadError,
        HubError,
        NetworkError,
        NotExistError,
        PermissionDeniedError,
    )

    try:
        yield
    except NotExistError as error:
        what = f"{repo} in revision '{revision}'" if revision else repo
        msg = f"There is no model {what} at ModelScope, or it is private: mend the name, or set MODELSCOPE_API_TOKEN."
        raise DownloadError(msg) from error
    except (AuthenticationError, PermissionDeniedError) as error:
        msg = f"ModelScope does not let you read {repo}: set MODELSCOPE_API_TOKEN to a token that may."
        raise DownloadError(msg) from error
    except (NetworkError, FileDownloadError) as error:
        msg = "ModelScope cannot be reached, or broke off: try again later (what has come is kept)."
        raise DownloadError(msg) from error
    except (HubError, OSError) as error:
        msg = f"ModelScope did not give {repo}: {str(error).splitlines()[0]}"
        raise DownloadError(msg) from error
