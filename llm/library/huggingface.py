"""Downloads from Hugging Face, or from a mirror (`HF_ENDPOINT`).

Hugging Face's client keeps a file that has come whole and throws a part of one away. Weights come in files of
gigabytes, so here the part is kept beside its place, and the next run asks for the rest.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Lock
from typing import Any, Self

from elysia_chat.llm.errors import DownloadError
from elysia_chat.llm.library.remote_files import Listing, Progress, RemoteFile

_HF = "https://huggingface.co"
_MIRROR = "HF_ENDPOINT"
_AT_ONCE = 4
_PART = ".part"


def list_files(repo: str, revision: str | None) -> Listing:
    """Return the files at the top of a repository.

    Raises:
        DownloadError: there is no such repository or revision, it may not be read, or the hub cannot be reached.
    """
    from huggingface_hub import HfApi

    with _one_line_errors(repo, revision):
        found = HfApi(endpoint=_endpoint()).model_info(repo, revision=revision, files_metadata=True)
    files = [
        RemoteFile(file.rfilename, int(file.size or 0), file.lfs.sha256 if file.lfs is not None else None)
        for file in found.siblings or ()
        if "/" not in file.rfilename
    ]
    return Listing(repo, str(found.sha), tuple(files))


def fetch(listing: Listing, files: Sequence[RemoteFile], folder: Path, progress: Progress) -> None:
    """Bring files into a folder, some at once.

    Raises:
        DownloadError: the hub cannot be reached, or breaks off again and again.
    """
    meter = _Meter(sum(file.size for file in files), progress)
    with _one_line_errors(listing.repo, listing.revision), ThreadPoolExecutor(_AT_ONCE) as pool:
        running = [pool.submit(_fetch_one, listing, file, folder, meter) for file in files]
        try:
            for future in wait(running, return_when=FIRST_EXCEPTION).done:
                future.result()
        finally:
            # After an error, or Ctrl-C, nobody waits for the others.
            meter.stopped.set()
            pool.shutdown(cancel_futures=True)


def _fetch_one(listing: Listing, file: RemoteFile, folder: Path, meter: "_Meter") -> None:
    from huggingface_hub import hf_hub_url, utils
    from huggingface_hub.file_download import http_get

    client: Any = utils
    part = folder / f"{file.name}{_PART}"
    there = part.stat().st_size if part.is_file() else 0
    if there > file.size:
        part.unlink()
        there = 0
    meter.add(there)
    url = hf_hub_url(listing.repo, file.name, revision=listing.revision, endpoint=_endpoint())
    with part.open("ab") as target:
        http_get(
            url,
            target,
            resume_size=there,
            headers=client.build_hf_headers(),
            expected_size=file.size,
            tqdm_class=meter.bar(),
        )
    part.rename(folder / file.name)


class _StoppedError(Exception):
    """Another file has failed, so this one is not needed now."""


class _Meter:
    """Adds up what several downloads have brought."""

    def __init__(self, total: int, progress: Progress) -> None:
        self.stopped = Event()
        self._total = total
        self._done = 0.0
        self._progress = progress
        self._lock = Lock()

    def add(self, size: float) -> None:
        if self.stopped.is_set():
            raise _StoppedError
        with self._lock:
            self._done += size
            self._progress(self._done, self._total)

    def bar(self) -> Any:
        """Return what stands for a class of progress bars, and counts here."""
        meter = self

        class Bar:
            def __init__(self, **_settings: object) -> None:
                """Show nothing."""

            def update(self, size: float) -> None:
                meter.add(size)

            def __enter__(self) -> Self:
                return self

            def __exit__(self, *_error: object) -> None:
                """Leave the count as it is."""

        return Bar


def _endpoint() -> str | None:
    # huggingface_hub reads the variable when it is imported, which may be long ago.
    return os.environ.get(_MIRROR) or None


@contextmanager
def _one_line_errors(repo: str, revision: str | None) -> Iterator[None]:
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

    place = _endpoint() or _HF
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
