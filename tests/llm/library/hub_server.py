"""A hub on loopback with as much of Hugging Face's and ModelScope's API as downloads take; it breaks off when told."""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "a" * 40


class Hub:
    """What is on the hub, and what was asked of it.

    Attributes:
        repos: files by name, by repository.
        breaks: by file, how many bytes are sent before the connection ends: of the next request, the one after, …
        requests: method, path and Range header of each request.
        status: answered to everything, where it is set.
        lie: files whose SHA-256 is told wrongly.
    """

    def __init__(self) -> None:
        self.repos: dict[str, dict[str, bytes]] = {}
        self.breaks: dict[str, list[int]] = {}
        self.requests: list[tuple[str, str, str | None]] = []
        self.status: int | None = None
        self.lie: set[str] = set()
        self.url = ""

    def ranges(self, file: str) -> list[str | None]:
        return [asked for method, path, asked in self.requests if method == "GET" and path.endswith(f"/{file}")]

    def sibling(self, name: str, content: bytes) -> dict[str, Any]:
        found: dict[str, Any] = {"rfilename": name, "path": name, "type": "file", "size": len(content)}
        found["oid"] = found["blobId"] = hashlib.sha1(content).hexdigest()
        if name.endswith((".safetensors", ".bin")):
            digest = "0" * 64 if name in self.lie else hashlib.sha256(content).hexdigest()
            found["lfs"] = {"oid": digest, "sha256": digest, "size": len(content), "pointerSize": 130}
        return found


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        path, query = unquote(urlsplit(self.path).path), parse_qs(urlsplit(self.path).query)
        if path.startswith("/api/v1/"):
            return self.answer_as_modelscope(path, query)
        self.hub.requests.append((self.command, path, self.headers.get("Range")))
        if self.hub.status is not None:
            return self.send(self.hub.status, b"{}")
        api = re.fullmatch(r"/api/models/([^/]+/[^/]+)/?(revision|tree)?/?([^/]*)", path)
        resolve = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        files = self.hub.repos.get((api or resolve or [None, ""])[1])
        if files is None:
            return self.send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        if api is not None:
            return self.list_files(files, api[2], api[3], api[1])
        assert resolve is not None
        return self.send_file(files[resolve[3]], resolve[3])

    def answer_as_modelscope(self, path: str, query: dict[str, list[str]]) -> None:
        name = query.get("FilePath", [""])[0]
        self.hub.requests.append((self.command, f"{path}/{name}", self.headers.get("Range")))
        found = re.fullmatch(r"/api/v1/models/([^/]+/[^/]+)/repo(/files)?", path)
        files = self.hub.repos.get(found[1]) if found else None
        if files is None or (name and name not in files):
            return self.send(404, b'{"Code": 10010205001, "Message": "not found", "Success": false}')
        if name:
            return self.send_file(files[name], name)
        listed = [
            {"Path": name, "Name": name, "Size": len(content), "Type": "blob"}
            | {"Sha256": self.hub.sibling(name, content).get("lfs", {}).get("sha256", "")}
            for name, content in files.items()
        ]
        return self.send(200, json.dumps({"Code": 200, "Success": True, "Data": {"Files": listed}}).encode())

    def list_files(self, files: dict[str, bytes], what: str | None, revision: str, repo: str) -> None:
        if revision not in ("", "main", COMMIT):
            return self.send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        listed = [self.hub.sibling(name, content) for name, content in files.items()]
        if what == "tree":
            return self.send(200, json.dumps(listed).encode())
        return self.send(200, json.dumps({"id": repo, "modelId": repo, "sha": COMMIT, "siblings": listed}).encode())

    def send_file(self, content: bytes, name: str) -> None:
        etag = self.hub.sibling(name, content).get("lfs", {}).get("oid") or hashlib.sha1(content).hexdigest()
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        begin = re.match(r"bytes=(\d+)-", self.headers.get("Range") or "")
        part = content[int(begin[1]) :] if begin else content
        if begin:
            headers["Content-Range"] = f"bytes {begin[1]}-{len(content) - 1}/{len(content)}"
        cuts = self.hub.breaks.get(name)
        if self.command == "GET" and cuts:
            self.send(206 if begin else 200, part[: cuts.pop(0)], headers, length=len(part))
            self.close_connection = True
            return None
        return self.send(206 if begin else 200, part, headers)

    def send(self, status: int, body: bytes, headers: dict[str, str] | None = None, length: int | None = None) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@contextmanager
def serve() -> Iterator[Hub]:
    """Serve a hub on a free port of loopback."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
