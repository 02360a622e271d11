"""A Hugging Face hub on this machine: its real endpoints, and a server of files that can misbehave.

The hub lists repositories and redirects downloads, as huggingface.co does, to a second server on another
port: another origin, which must never see a token.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "a" * 40
REPO = "someone/random-GGUF"


@dataclass
class Fault:
    """What goes wrong with one answer of the file server."""

    until: int | None = None  # the byte of the file before which the connection ends
    then: Callable[[], None] | None = None  # called after them
    stall_s: float = 0.0  # silence after that
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None  # in place of the file
    claim: int | None = None  # Content-Length in place of the true one
    ranges: bool = True  # False: always the whole file
    chunked: bool = False  # True: no length is told (RFC 9112, section 7.1)


@dataclass
class Request:
    """What a server was asked."""

    path: str
    start: int
    headers: Mapping[str, str]  # names in lower case


class FakeHub:
    """Repositories of files, served under `endpoint` while the `with` statement lasts."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.listed_sha256: dict[str, str] = {}  # by file name, in place of the true one
        self.listed_bytes: dict[str, int] = {}  # likewise
        self.architecture = "llama"
        self.api_faults: deque[Fault] = deque()
        self.faults: deque[Fault] = deque()  # of the file server, one an answer
        self.asked: list[Request] = []  # of the hub
        self.fetched: list[Request] = []  # of the file server: whole files, and the rest of them
        self.parts: list[Request] = []  # likewise: pieces with a beginning and an end
        self.part_faults: deque[Fault] = deque()  # one an answer with such a piece
        self.pause_s = 0.0  # after each 16 KiB of a file
        self.sent_bytes = 0
        self.sent_part_bytes = 0
        self._servers: dict[str, ThreadingHTTPServer] = {}
        self._ports: dict[str, int] = {}

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._ports['hub']}"

    @property
    def files_url(self) -> str:
        return f"http://127.0.0.1:{self._ports['files']}"

    def __enter__(self) -> FakeHub:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.die()

    def start(self) -> None:
        """Listen, on the same ports as before."""
        for name, handler in (("hub", _HubHandler), ("files", _FileHandler)):
            server = _Server(("127.0.0.1", self._ports.get(name, 0)), handler)
            server.hub = self
            self._servers[name], self._ports[name] = server, server.server_port
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def die(self) -> None:
        """Stop listening, as if killed."""
        for server in self._servers.values():
            server.shutdown()
            server.server_close()
        self._servers.clear()

    def find(self, path: str) -> tuple[str, str, bytes] | None:
        """(repository, file, bytes) of user/repo/resolve/revision/file."""
        found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/(main|a{40})/(.+)", path)
        if found is None or found[3] not in self.repositories.get(found[1], {}):
            return None
        return found[1], found[3], self.repositories[found[1]][found[3]]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    hub: FakeHub

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that leaves is what is tested here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    @property
    def hub(self) -> FakeHub:
        return self.server.hub

    def lower_headers(self) -> Mapping[str, str]:
        return {name.lower(): value for name, value in self.headers.items()}

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def answer(self, status: int, headers: Mapping[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def fail(self, status: int, code: str) -> None:
        self.answer(status, {"X-Error-Code": code, "X-Error-Message": code})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        raise NotImplementedError


class _HubHandler(_Handler):
    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(Request(path, 0, self.lower_headers()))
        if self.hub.api_faults:
            fault = self.hub.api_faults.popleft()
            self.answer(fault.status or 200, fault.headers, fault.body or b"")
        elif path.startswith("/api/models/"):
            self._list(re.sub(r"/revision/.*", "", path.removeprefix("/api/models/")))
        else:
            self._redirect(path)

    def _list(self, repo: str) -> None:
        spelling = {name.lower(): name for name in self.hub.repositories}.get(repo.lower())
        if spelling is None:
            self.fail(401, "RepoNotFound")
        else:
            rows = [self._row(name, data) for name, data in self.hub.repositories[spelling].items()]
            header = {"architecture": self.hub.architecture, "context_length": 512}
            answer = {"id": spelling, "sha": COMMIT, "siblings": rows, "gguf": header}
            self.answer(200, {"Content-Type": "application/json"}, json.dumps(answer).encode())

    def _row(self, name: str, data: bytes) -> dict[str, Any]:
        row = {"rfilename": name, "size": len(data), "blobId": git_sha1(data)}
        if not name.endswith((".md", "-in-git.gguf")):
            digest = self.hub.listed_sha256.get(name) or hashlib.sha256(data).hexdigest()
            size = self.hub.listed_bytes.get(name, len(data))
            row["lfs"] = {"sha256": digest, "size": size, "pointerSize": 134}
        return row

    def _redirect(self, path: str) -> None:
        found = self.hub.find(path)
        if found is None:
            self.fail(404, "EntryNotFound")
            return
        repo, name, data = found
        digest = hashlib.sha256(data).hexdigest()
        linked = {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(data))}
        location = f"{self.hub.files_url}/{repo}/resolve/main/{name}"
        self.answer(302, {"X-Repo-Commit": COMMIT, "Location": location, **linked})


class _FileHandler(_Handler):
    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        is_part = asked is not None and asked[2] not in ("", "0")
        told = self.hub.parts if is_part else self.hub.fetched
        told.append(Request(path, start, self.lower_headers()))
        found = self.hub.find(path)
        if found is None:
            self.fail(404, "EntryNotFound")
            return
        faults = self.hub.part_faults if is_part else self.hub.faults
        fault = faults.popleft() if faults else Fault()
        data = found[2] if fault.body is None else fault.body
        if fault.status:
            self.answer(fault.status, fault.headers, fault.body or b"")
            return
        headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', **fault.headers}
        whole = asked is None or not fault.ranges or fault.body is not None
        end = len(data) if whole or not asked[2] else int(asked[2]) + 1
        part = data if whole else data[start:end]
        self.send_response(200 if whole else 206)
        if not whole:
            headers.setdefault("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
        if fault.chunked:
            headers["Transfer-Encoding"] = "chunked"
        else:
            headers.setdefault("Content-Length", str(len(part) if fault.claim is None else fault.claim))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            until = len(part) if fault.until is None else max(0, fault.until - (0 if whole else start))
            self._send(part[:until], fault, is_part)

    def _send(self, part: bytes, fault: Fault, is_part: bool) -> None:
        for piece in _pieces(part):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if fault.chunked else piece)
            if is_part:
                self.hub.sent_part_bytes += len(piece)
            else:
                self.hub.sent_bytes += len(piece)
            time.sleep(self.hub.pause_s)
        if fault.chunked and fault.until is None:
            self.wfile.write(b"0\r\n\r\n")
        if fault.then:
            fault.then()
        if fault.stall_s:
            time.sleep(fault.stall_s)
        if fault.until is not None or fault.claim is not None:
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True


def git_sha1(data: bytes) -> str:
    """The name that git gives to a file of these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _pieces(data: bytes) -> Iterator[bytes]:
    for i in range(0, len(data), 16 << 10):
        yield data[i : i + (16 << 10)]
