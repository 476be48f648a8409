"""A real HTTP server on the loopback interface that speaks OpenAI's chat protocol, and misbehaves on request."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from elysia_chat.llm.scripted import split_tokens

KEY = "secret-key"
MODEL = "parrot"


class ParrotServer(ThreadingHTTPServer):
    """Repeats the user's last message.

    Attributes:
        fault: how it misbehaves: '', 'slow', 'cut', 'no-end', 'error-event', 'error-500', 'busy', 'html', 'no-json'.
        requests: the body of every request.
        sent: the number of tokens sent, which stops growing where a client hangs up.
        delay_s: pause before each token.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.fault = ""
        self.requests: list[dict[str, Any]] = []
        self.sent = 0
        self.delay_s = 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing where a client hangs up: that is what some tests do."""


@contextmanager
def parrot_server() -> Iterator[ParrotServer]:
    with ParrotServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: ParrotServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(body)
        fault = self.server.fault
        if self.headers["Authorization"] != f"Bearer {KEY}":
            self._json(401, {"error": {"message": f"bad key {self.headers['Authorization']}"}})
        elif self.path != "/v1/chat/completions" or body["model"] not in (MODEL, "other"):
            self._json(404, {"error": {"message": "no such model"}})
        elif fault == "error-500":
            self._json(500, {"error": {"message": "out of memory\nTraceback"}})
        elif fault == "busy":
            self._json(429, {"error": {"message": "slow down"}})
        elif fault == "html":
            self._send(200, "text/html", b"<html>router login</html>")
        elif fault == "no-json":
            self._send(200, "application/json", b"{")
        elif body.get("stream"):
            self._stream(body, fault)
        else:
            if fault == "slow":
                time.sleep(1.5)
            self._whole(body)

    def _whole(self, body: dict[str, Any]) -> None:
        tokens, reason = _answer(body)
        message = {"role": "assistant", "content": "".join(tokens)}
        choice = {"index": 0, "message": message, "finish_reason": reason}
        usage = _usage(body, tokens)
        self._json(200, {"id": "1", "object": "chat.completion", "created": 1, "model": body["model"],
                         "choices": [choice], "usage": usage})  # fmt: skip

    def _stream(self, body: dict[str, Any], fault: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        tokens, reason = _answer(body)
        for number, token in enumerate(tokens):
            if number == 2 and fault == "slow":
                time.sleep(1.5)
            if number == 2 and fault == "cut":
                self.close_connection = True
                return
            if number == 2 and fault == "no-end":
                break
            if number == 2 and fault == "error-event":
                self._event({"error": {"message": "the model fell over"}})
                break
            time.sleep(self.server.delay_s)
            self._event(_chunk(body, {"content": token}))
            self.server.sent += 1
        if fault not in ("no-end", "error-event"):
            self._event(_chunk(body, {}, reason))
            self._event({**_chunk(body, {}), "choices": [], "usage": _usage(body, tokens)})
        self._chunked(b"data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def _event(self, data: dict[str, Any]) -> None:
        self._chunked(b"data: " + json.dumps(data).encode() + b"\n\n")

    def _chunked(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def _json(self, status: int, data: dict[str, Any]) -> None:
        self._send(status, "application/json", json.dumps(data).encode())

    def _send(self, status: int, kind: str, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _answer(body: dict[str, Any]) -> tuple[list[str], str]:
    text = next(_text(row) for row in reversed(body["messages"]) if row["role"] == "user")
    tokens, reason = split_tokens(text), "stop"
    stops = body.get("stop") or []
    found = [text.find(stop) for stop in ([stops] if isinstance(stops, str) else stops) if stop in text]
    if found:
        tokens = split_tokens(text[: min(found)])
    elif len(tokens) > body.get("max_tokens", 10_000):
        tokens, reason = tokens[: body["max_tokens"]], "length"
    return tokens, reason


def _text(row: dict[str, Any]) -> str:
    content = row["content"]
    return content if isinstance(content, str) else "".join(block["text"] for block in content)


def _usage(body: dict[str, Any], tokens: list[str]) -> dict[str, int]:
    prompt = sum(len(split_tokens(_text(row))) for row in body["messages"])
    return {"prompt_tokens": prompt, "completion_tokens": len(tokens), "total_tokens": prompt + len(tokens)}


def _chunk(body: dict[str, Any], delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"role": "assistant", **delta}, "finish_reason": reason}
    return {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": body["model"], "choices": [choice]}
