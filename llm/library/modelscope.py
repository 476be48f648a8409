"""Downloads from ModelScope, by its own client."""

import contextlib
import io
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from elysia_chat.llm.errors import DownloadError
from elysia_chat.llm.library.remote_files import Listing, Progress, RemoteFile

_MIRROR = "MODELSCOPE_ENDPOINT"


def list_files(repo: str, revision: str | None) -> Listing:
    """Return the files at the top of a repository.

    Raises:
        DownloadError: there is no such repository or revision, it may not be read, or the hub cannot be reached.
    """
    with _one_line_errors(repo, revision):
        files = _client(repo).list_repo_files(repo, "model", revision=revision, recursive=False)
    found = [RemoteFile(file.path, int(file.size), file.sha256 or None) for file in files if not file.is_dir]
    return Listing(repo, revision or "master", tuple(found))


def fetch(listing: Listing, files: Sequence[RemoteFile], folder: Path, progress: Progress) -> None:
    """Bring files into a folder; the client goes on where it stopped, and checks what it brings.

    Raises:
        DownloadError: the hub cannot be reached, or breaks off again and again.
    """
    entries = [{"Path": file.name, "Size": file.size, "Sha256": file.sha256, "Type": "blob"} for file in files]
    callback = _callback_for(progress, sum(file.size for file in files))
    # The client draws a bar of its own over whatever shows the progress.
    with _one_line_errors(listing.repo, listing.revision), contextlib.redirect_stderr(io.StringIO()):
        _client(listing.repo).download_repo(
            listing.repo,
            "model",
            revision=listing.revision,
            local_dir=folder,
            file_list=entries,
            progress_callbacks=[callback],
        )


def _client(repo: str) -> Any:
    from modelscope_hub import HubApi

    # It reports every file; what goes wrong is told here.
    logging.getLogger("modelscope_hub").setLevel(logging.CRITICAL)
    # The client keeps what it read of the environment first.
    endpoint = os.environ.get(_MIRROR) or HubApi().resolve_endpoint_for_read(repo)
    return HubApi(endpoint=endpoint)


def _callback_for(progress: Progress, total: int) -> Any:
    from modelscope_hub import ProgressCallback

    lock = Lock()
    done = 0

    class Callback(ProgressCallback):
        def update(self, size: int) -> None:
            nonlocal done
            with lock:
                done += size
                progress(min(done, total), total)

    return Callback


@contextmanager
def _one_line_errors(repo: str, revision: str | None) -> Iterator[None]:
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
