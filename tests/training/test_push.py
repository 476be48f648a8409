"""Publishing: what is sent, what is never sent, and what is said when it cannot be. The hubs are on the loopback."""

import base64
import json
import sys
import threading
import types
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from elysia_chat.training.handover_errors import EvaluationError, PushError
from elysia_chat.training.push import push

REPORT = {
    "persona": "elysia",
    "goals": {},
    "prompts": {"harbour/answerable/rag": 64},
    "runs": [
        {
            "label": "tuned",
            "arm": "rag",
            "figures": {
                "answered": 0.93,
                "refused": 0.88,
                "length": {"median_characters": 20, "p95_characters": 60, "truncated": 0.0, "looping": 0.0},
            },
        }
    ],
    "sweep": None,
}


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "base_model_name_or_path": "gemma-3-270m"})
    )
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    for name in ("optimizer.pt", "training_args.bin", "rng_state.pth", ".secret", "trainer_state.json", "merge.json"):
        (folder / name).write_text("{}")
    (folder / "README.md").write_text("peft's own")
    return folder


@pytest.fixture
def report(tmp_path: Path) -> Path:
    path = tmp_path / "report.json"
    path.write_text(json.dumps(REPORT))
    return path


@pytest.fixture(autouse=True)
def no_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "MODELSCOPE_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)


class Hub:
    """The part of Hugging Face's API that an upload of small files uses."""

    def __init__(self) -> None:
        self.status = 200
        self.requests: list[tuple[str, dict[str, Any] | list[dict[str, Any]]]] = []
        self.tokens: set[str | None] = set()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                lines = [json.loads(line) for line in raw.splitlines() if line.strip()]
                hub.requests.append((self.path, lines if "/commit/" in self.path else lines[0]))
                hub.tokens.add(self.headers["Authorization"])
                answer = json.dumps(hub.answer(self.path, lines[0])).encode()
                self.send_response(hub.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_arguments: Any) -> None:
                """Stay silent."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def answer(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        if self.status != 200:
            return {"error": "no"}
        if path.endswith("/repos/create"):
            return {"url": f"{self.url}/me/elysia"}
        if "/preupload/" in path:
            return {
                "files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in body["files"]]
            }
        return {
            "commitUrl": f"{self.url}/me/elysia/commit/1",
            "commitOid": "1",
            "pullRequestUrl": None,
            "success": True,
        }

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def sent(self) -> dict[str, bytes]:
        commit = next(lines for path, lines in self.requests if "/commit/" in path)
        values = [line["value"] for line in commit if line["key"] == "file"]  # type: ignore[index]
        return {value["path"]: base64.b64decode(value["content"]) for value in values}


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub()
    yield server
    server.close()


class TestDryRun:
    def test_it_lists_the_files_and_shows_the_card_without_a_token(self, adapter: Path, report: Path) -> None:
        plan = push(adapter, "me/elysia", report=report, licence="gemma", dry_run=True)
        assert plan.url is None
        assert [name for name, _size in plan.files] == ["README.md", "adapter_config.json", "adapter_model.safetensors"]
        assert dict(plan.files)["README.md"] == len(plan.card.encode())
        assert "| right answers | 0.930 | ≥ 0.90 |" in plan.card
        assert "| refused where there is no answer | 0.880 ✗ | ≥ 0.90 |" in plan.card

    def test_the_head_of_the_card_is_what_the_hubs_read(self, adapter: Path) -> None:
        card = push(adapter, "me/elysia", licence="gemma", dry_run=True).card
        head = yaml.safe_load(card.split("---")[1])
        assert (head["license"], head["base_model"], head["library_name"]) == ("gemma", "google/gemma-3-270m", "peft")
        assert head["base_model_relation"] == "adapter"
        assert "has not been evaluated" in card

    def test_a_merged_model_tells_what_merging_changed(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text("{}")
        (tmp_path / "model.safetensors").write_bytes(b"w")
        (tmp_path / "GEMMA_TERMS.html").write_text("terms")
        difference = {"loss_adapter": 1.5, "loss_merged": 1.51, "mean_kl": 1e-6, "same_choice": 0.998, "tokens": 400}
        merged = {"base": "gemma-3-270m", "into": "16-bit", "dtype": "bfloat16", "difference": difference}
        (tmp_path / "merge.json").write_text(json.dumps(merged))
        plan = push(tmp_path, "me/elysia", dry_run=True)
        assert yaml.safe_load(plan.card.split("---")[1])["license"] == "gemma"
        assert "loss 1.5000 before and 1.5100 after, mean KL divergence 1.0e-06" in plan.card
        assert "GEMMA_TERMS.html" in dict(plan.files)

    def test_gguf_files(self, tmp_path: Path) -> None:
        (tmp_path / "elysia-q8_0.gguf").write_bytes(b"GGUF")
        plan = push(tmp_path, "me/elysia", base="google/gemma-3-270m", licence="gemma", dry_run=True)
        assert "llama-server -hf me/elysia" in plan.card


class TestHuggingFace:
    def test_what_arrives(self, adapter: Path, report: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        plan = push(adapter, "me/elysia", report=report, licence="gemma", endpoint=hub.url)
        assert plan.url == f"{hub.url}/me/elysia"
        sent = hub.sent()
        assert sorted(sent) == [name for name, _size in plan.files]
        assert {name: len(content) for name, content in sent.items()} == dict(plan.files)
        assert sent["README.md"].decode() == plan.card
        assert json.loads(sent["adapter_config.json"])["base_model_name_or_path"] == "google/gemma-3-270m"
        assert hub.requests[0][1]["visibility"] == "private"  # type: ignore[call-overload]
        assert hub.tokens == {"Bearer hf_secret"}
        assert b"hf_secret" not in b"".join(sent.values())
        assert json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"] == "gemma-3-270m"
        assert (adapter / "README.md").read_text() == "peft's own"

    @pytest.mark.parametrize(
        ("status", "said"), [(401, "refuses the token"), (403, "refuses the token"), (500, "HTTP 500")]
    )
    def test_a_refusal_is_one_line(
        self, adapter: Path, hub: Hub, status: int, said: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        hub.status = status
        with pytest.raises(PushError, match=said) as caught:
            push(adapter, "me/elysia", licence="gemma", endpoint=hub.url)
        assert "hf_secret" not in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_no_network(self, adapter: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        hub.server.server_close()
        with pytest.raises(PushError, match="Hugging Face cannot be reached"):
            push(adapter, "me/elysia", licence="gemma", endpoint="http://127.0.0.1:9")

    def test_no_token(self, adapter: Path) -> None:
        with pytest.raises(PushError, match="set HF_TOKEN"):
            push(adapter, "me/elysia", licence="gemma")


class TestModelScope:
    @pytest.fixture
    def client(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        """A stand-in for the client, with its names and its errors."""
        calls: list[tuple[Any, ...]] = []
        errors = types.ModuleType("modelscope_hub.errors")

        class HubError(Exception):
            pass

        class APIError(HubError):
            status_code: int | None = None

        class AlreadyExistsError(APIError):
            pass

        class NetworkError(HubError, ConnectionError):
            pass

        for kind in (HubError, APIError, AlreadyExistsError, NetworkError):
            setattr(errors, kind.__name__, kind)

        class HubApi:
            fails: Exception | None = None

            def __init__(self, *, endpoint: str | None, token: str) -> None:
                calls.append(("token", token))

            def repo_exists(self, repo: str, kind: str) -> bool:
                if self.fails is not None:
                    raise self.fails
                return False

            def create_repo(self, repo: str, kind: str, *, visibility: str) -> None:
                calls.append(("create", repo, kind, visibility))

            def upload_folder(self, repo: str, kind: str, folder: Path, **_settings: Any) -> None:
                calls.append(("upload", repo, {path.name: path.read_bytes() for path in Path(folder).iterdir()}))

        module = types.ModuleType("modelscope_hub")
        module.HubApi, module.errors, module.calls = HubApi, errors, calls  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "modelscope_hub", module)
        monkeypatch.setitem(sys.modules, "modelscope_hub.errors", errors)
        monkeypatch.setenv("MODELSCOPE_API_TOKEN", "ms-secret")
        return module

    def test_what_arrives(self, adapter: Path, client: Any) -> None:
        plan = push(adapter, "me/elysia", hub="modelscope", licence="gemma", private=False)
        assert plan.url == "https://modelscope.cn/models/me/elysia"
        assert client.calls[:2] == [("token", "ms-secret"), ("create", "me/elysia", "model", "public")]
        assert sorted(client.calls[2][2]) == [name for name, _size in plan.files]

    def test_errors_are_one_line(self, adapter: Path, client: Any) -> None:
        client.HubApi.fails = client.errors.NetworkError("[E1020] down")
        with pytest.raises(PushError, match="ModelScope cannot be reached"):
            push(adapter, "me/elysia", hub="modelscope", licence="gemma")
        client.HubApi.fails = client.errors.APIError("no")
        client.HubApi.fails.status_code = 401
        with pytest.raises(PushError, match="MODELSCOPE_API_TOKEN must be one that may write"):
            push(adapter, "me/elysia", hub="modelscope", licence="gemma")

    def test_without_the_client(self, adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MODELSCOPE_API_TOKEN", "ms-secret")
        monkeypatch.setitem(sys.modules, "modelscope_hub", None)
        with pytest.raises(PushError, match=r"pip install modelscope-hub==0\.5\.1"):
            push(adapter, "me/elysia", hub="modelscope", licence="gemma")


class TestBadInput:
    def test_a_name_without_an_owner(self, adapter: Path) -> None:
        with pytest.raises(PushError, match="write owner/name"):
            push(adapter, "elysia", licence="gemma", dry_run=True)

    def test_no_licence(self, adapter: Path) -> None:
        with pytest.raises(PushError, match="under which licence"):
            push(adapter, "me/elysia", dry_run=True)

    def test_a_base_that_is_a_folder_of_this_machine(self, adapter: Path) -> None:
        settings = {"peft_type": "LORA", "base_model_name_or_path": "/home/me/models/tiny"}
        (adapter / "adapter_config.json").write_text(json.dumps(settings))
        with pytest.raises(PushError, match="no published name"):
            push(adapter, "me/elysia", licence="gemma", dry_run=True)
        assert push(adapter, "me/elysia", base="me/tiny", licence="gemma", dry_run=True).card.count("/home/me") == 0

    def test_a_folder_without_a_model(self, tmp_path: Path) -> None:
        with pytest.raises(PushError, match="neither an adapter nor a model"):
            push(tmp_path, "me/elysia", licence="gemma", dry_run=True)

    def test_a_report_that_is_none(self, adapter: Path, tmp_path: Path) -> None:
        (tmp_path / "report.json").write_text("[]")
        with pytest.raises(EvaluationError, match="no evaluation report"):
            push(adapter, "me/elysia", licence="gemma", report=tmp_path, dry_run=True)
