"""Publishes an adapter, a merged model or GGUF files on Hugging Face or ModelScope, with a model card.

Only files that a reader of the model needs are sent: no optimiser states, no pickles, nothing hidden. The token comes
from the environment and appears nowhere else.
"""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from elysia_chat.configs.files import writing_errors
from elysia_chat.training.evaluate.report import read_report
from elysia_chat.training.handover_errors import PushError
from elysia_chat.training.model_card import CardFacts, contents_of, model_card, read_merge

Hub = Literal["huggingface", "modelscope"]
CARD = "README.md"
_TOKENS: dict[Hub, tuple[str, ...]] = {
    "huggingface": ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"),
    "modelscope": ("MODELSCOPE_API_TOKEN",),
}
_NAMES: dict[Hub, str] = {"huggingface": "Hugging Face", "modelscope": "ModelScope"}
_PUBLISHED = {"gemma-3-270m": "google/gemma-3-270m"}
_SENT = (".safetensors", ".json", ".jinja", ".model", ".txt", ".md", ".yaml", ".png", ".html", ".gguf")
_SENT_NAMES = ("NOTICE", "LICENSE", "LICENCE")
_LEFT_OUT = ("trainer_state.json", "merge.json")
_REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_MODELSCOPE = "modelscope-hub==0.5.1"


@dataclass(frozen=True)
class PushPlan:
    """What is published where.

    Attributes:
        repo: "owner/name".
        hub: the hub.
        files: name and size in bytes of each file, the card included.
        card: its text.
        url: of the result; None as long as nothing was sent.
    """

    repo: str
    hub: Hub
    files: list[tuple[str, int]]
    card: str
    url: str | None = None


def push(
    folder: Path,
    repo: str,
    *,
    hub: Hub = "huggingface",
    report: Path | None = None,
    base: str | None = None,
    licence: str | None = None,
    languages: Sequence[str] = ("zh", "en"),
    private: bool = True,
    dry_run: bool = False,
    endpoint: str | None = None,
) -> PushPlan:
    """Publish a folder.

    Args:
        folder: adapter, merged model or folder of GGUF files.
        repo: "owner/name"; it is created where it does not exist.
        hub: "huggingface" or "modelscope" (needs the package modelscope-hub).
        report: of the evaluation, file or folder; the card quotes it.
        base: published name of the base model; unset: as the folder says.
        licence: of the result; unset: that of Gemma where its terms lie in the folder.
        languages: of the model, for the card.
        private: who may see a repository that is created by this.
        dry_run: send nothing, and ask for no token; return what would be sent.
        endpoint: another address of the hub.

    Raises:
        PushError: the folder cannot be published as it is, the token is missing or refused, or the hub is not reached.
        EvaluationError: the report cannot be read.
    """
    if not _REPO.fullmatch(repo):
        msg = f"'{repo}' is no repository: write owner/name."
        raise PushError(msg)
    contents = contents_of(folder)
    facts = CardFacts(repo, contents, _published_base(folder, base), licence or _licence(folder), tuple(languages))
    card = model_card(facts, read_report(report) if report is not None else None, read_merge(folder))
    replaced = {CARD: card.encode(), **_adapter_settings(folder, facts.base)}
    files = sorted({**{name: (folder / name).stat().st_size for name in _files(folder)}, **_sizes(replaced)}.items())
    plan = PushPlan(repo, hub, files, card)
    if dry_run:
        return plan
    token = _token(hub)
    with _staged(folder, replaced) as stage:
        url = (_to_hugging_face if hub == "huggingface" else _to_modelscope)(stage, repo, token, private, endpoint)
    return PushPlan(repo, hub, files, card, url)


def _published_base(folder: Path, given: str | None) -> str:
    """Return the base's published name; a path of this machine means nothing to a reader."""
    name = given or _json_value(folder, "adapter_config.json", "base_model_name_or_path")
    name = name or _json_value(folder, "merge.json", "base")
    name = _PUBLISHED.get(name or "", name)
    if name is None or not _REPO.fullmatch(name):
        msg = f"The base of {folder} has no published name ({name or 'none given'}): give it as owner/name."
        raise PushError(msg)
    return name


def _licence(folder: Path) -> str:
    if any(folder.glob("GEMMA_TERMS*")):
        return "gemma"
    msg = "Say under which licence this is published (for example apache-2.0); the base model's licence decides."
    raise PushError(msg)


def _json_value(folder: Path, file: str, key: str) -> str | None:
    try:
        content = json.loads((folder / file).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    value = content.get(key) if isinstance(content, dict) else None
    return str(value) if value else None


def _adapter_settings(folder: Path, base: str) -> dict[str, bytes]:
    """Return the adapter's settings with the published name of its base."""
    file = "adapter_config.json"
    if not (folder / file).is_file():
        return {}
    settings = json.loads((folder / file).read_text(encoding="utf-8"))
    return {file: (json.dumps({**settings, "base_model_name_or_path": base}, indent=2) + "\n").encode()}


def _files(folder: Path) -> list[str]:
    return sorted(
        path.name
        for path in folder.iterdir()
        if path.is_file()
        and not path.name.startswith(".")
        and (path.suffix in _SENT or path.name.startswith(_SENT_NAMES))
        and path.name not in (*_LEFT_OUT, CARD)
    )


def _sizes(contents: dict[str, bytes]) -> dict[str, int]:
    return {name: len(content) for name, content in contents.items()}


def _token(hub: Hub) -> str:
    token = next((os.environ[name] for name in _TOKENS[hub] if os.environ.get(name)), None)
    if token is None:
        msg = f"There is no token: set {_TOKENS[hub][0]} to one that may write (or look first with --dry-run)."
        raise PushError(msg)
    return token


@contextmanager
def _staged(folder: Path, replaced: dict[str, bytes]) -> Iterator[Path]:
    """Give a folder with exactly what is sent: links to the files, and those that are written for it."""
    with writing_errors(folder, PushError), tempfile.TemporaryDirectory(prefix="elysia-chat-push-") as temporary:
        stage = Path(temporary) / "stage"
        stage.mkdir()
        for name in _files(folder):
            if name not in replaced:
                _link(folder / name, stage / name)
        for name, content in replaced.items():
            (stage / name).write_bytes(content)
        yield stage


def _link(source: Path, target: Path) -> None:
    try:
        target.symlink_to(source.resolve())
    except OSError:
        shutil.copyfile(source, target)


def _to_hugging_face(stage: Path, repo: str, token: str, private: bool, endpoint: str | None) -> str:
    import httpx
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    hub = HfApi(endpoint=endpoint, token=token)
    try:
        hub.create_repo(repo, private=private, exist_ok=True)
        hub.upload_folder(repo_id=repo, folder_path=stage, commit_message="Add the model and its card")
    except HfHubHTTPError as error:
        raise _refused(repo, hub="huggingface", status=error.response.status_code) from error
    except (httpx.TransportError, OfflineModeIsEnabled, ConnectionError) as error:
        raise _unreachable(hub="huggingface") from error
    return f"{hub.endpoint}/{repo}"


def _to_modelscope(stage: Path, repo: str, token: str, private: bool, endpoint: str | None) -> str:
    try:
        from modelscope_hub import HubApi
        from modelscope_hub.errors import AlreadyExistsError, APIError, HubError, NetworkError
    except ImportError as error:
        msg = f"ModelScope needs its client: pip install {_MODELSCOPE}"
        raise PushError(msg) from error
    try:
        hub: Any = HubApi(endpoint=endpoint, token=token)
        if not hub.repo_exists(repo, "model"):
            with suppress(AlreadyExistsError):
                hub.create_repo(repo, "model", visibility="private" if private else "public")
        hub.upload_folder(repo, "model", stage, commit_message="Add the model and its card", use_cache=False)
    except NetworkError as error:
        raise _unreachable(hub="modelscope") from error
    except APIError as error:
        raise _refused(repo, hub="modelscope", status=error.status_code) from error
    except HubError as error:
        msg = f"ModelScope did not take {repo}: {str(error).splitlines()[0]}"
        raise PushError(msg) from error
    return f"{(endpoint or 'https://modelscope.cn').rstrip('/')}/models/{repo}"


def _refused(repo: str, *, hub: Hub, status: int | None) -> PushError:
    if status in (401, 403):
        return PushError(f"{_NAMES[hub]} refuses the token for {repo}: {_TOKENS[hub][0]} must be one that may write.")
    return PushError(f"{_NAMES[hub]} did not take {repo} (HTTP {status}): try again later, or look at its status page.")


def _unreachable(*, hub: Hub) -> PushError:
    return PushError(f"{_NAMES[hub]} cannot be reached: check the network; --dry-run shows what would be sent.")
