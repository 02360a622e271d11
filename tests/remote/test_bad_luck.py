"""Servers that are none, that fail, or that nobody should trust."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme
from serving import serve

from edgeinfer.address import Address
from edgeinfer.defaults import Defaults
from edgeinfer.errors import AccessDenied, InvalidRequest, NetworkError
from edgeinfer.keys import Key
from edgeinfer.remote import server as remote_server
from edgeinfer.remote.model import RemoteModel
from edgeinfer.remote.server import Server
from edgeinfer.server.guard import Rules
from edgeinfer.streaming import Token

OK = b"HTTP/1.1 200 OK\r\nContent-Type: "
STREAM = OK + b"text/event-stream\r\nConnection: close\r\n\r\n"
PIECE = (
    b'data: {"choices": [{"delta": {"content": "so far"}, "finish_reason": null,'
    b' "logprobs": {"content": [{"id": 5, "logprob": -1.0}]}}]}\n\n'
)
Answer = bytes | Callable[[socket.socket], None]


@contextmanager
def answering(answer: Answer) -> Iterator[Server]:
    """A port that gives each request this answer and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve_all() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                with client:
                    client.recv(1 << 16)
                    if callable(answer):
                        answer(client)
                    else:
                        client.sendall(answer)
                        client.shutdown(socket.SHUT_WR)
                        while client.recv(1 << 16):  # what is unread would cut off what was sent
                            pass

        thread = threading.Thread(target=serve_all, daemon=True)
        thread.start()
        yield Server(Address.read(f"127.0.0.1:{listener.getsockname()[1]}"))
        listener.shutdown(socket.SHUT_RDWR)


def asked(server: Server) -> tuple[str, NetworkError]:
    """What came of an answer, and how it ended."""
    stream = RemoteModel(server, "model", 100, "", Defaults()).chat([{"role": "user", "content": "Hi"}])
    came: list[str] = []
    with pytest.raises(NetworkError) as error:
        came += (event.text for event in stream.events() if isinstance(event, Token))
    return "".join(came), error.value


def json_answer(status: str, body: bytes, *headers: bytes) -> bytes:
    head = b"".join(header + b"\r\n" for header in headers)
    start = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return start.encode() + head + b"\r\n" + body


def reset(client: socket.socket) -> None:
    client.sendall(STREAM + PIECE)
    time.sleep(0.1)  # it would overtake what was sent
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


QUEUE_FULL = b'{"error": {"message": "9 requests wait for model", "code": "queue_full"}}'


@pytest.mark.parametrize(
    ("answer", "told", "hint"),
    [
        (b"", "is lost", "ask again"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", "is lost", ""),
        (OK + b"text/html\r\nContent-Length: 6\r\n\r\n<html>", "does not answer as edgeinfer does", ""),
        (b"HTTP/1.1 302 Found\r\nLocation: http://evil.example/\r\n\r\n", "sends on to http://evil", ""),
        (json_answer("503 No", QUEUE_FULL, b"Retry-After: 5"), "9 requests wait for model", "5 seconds"),
        (b"HTTP/1.1 503 No\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n", "answers 503", "5 seconds"),
        (json_answer("500 No", b"<html>"), "answers 500", ""),
        (json_answer("500 No", b'{"error": ["x"]}'), "answers 500", ""),
        (STREAM + PIECE, "has no end", "ask again"),
        (STREAM + b"data: nonsense\n\n", "does not answer as edgeinfer does", ""),
        (STREAM + b"data: 3\n\n", "does not answer as edgeinfer does", ""),
        (STREAM + b'data: {"choices": 3}\n\n', "does not answer as edgeinfer does", ""),
        (STREAM + PIECE.replace(b'"so far"', b"[5]"), "does not answer as edgeinfer does", ""),
        (STREAM + PIECE.replace(b"-1.0", b'"x"'), "does not answer as edgeinfer does", ""),
        (STREAM + b'data: {"timings": {"cache_n": "many"}}\n\n', "does not answer as edgeinfer does", ""),
        (STREAM + b"data: " + b"[" * 100_000 + b"\n\n", "does not answer as edgeinfer does", ""),
        (STREAM + PIECE + b'data: {"error": {"message": "broken", "code": "failed"}}\n\n', "broken", ""),
        (reset, "is lost", "ask again"),
    ],
)
def test_what_is_no_answer_is_told(answer: Answer, told: str, hint: str) -> None:
    with answering(answer) as server:
        came, error = asked(server)
    assert told in error.message
    assert hint in (error.hint or "")
    assert came == ("so far" if answer is reset or PIECE in answer else "")


def test_a_server_that_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_server, "_SILENCE_S", 0.2)

    def silence(client: socket.socket) -> None:
        client.sendall(STREAM)
        while client.recv(1 << 16):  # until it goes
            pass

    with answering(silence) as server:
        assert "nothing has come" in asked(server)[1].message
        with pytest.raises(NetworkError, match=r"has not answered within 0\.2 seconds"):
            asyncio.run(server.get("/health", within_s=0.2))


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(Address.read(f"127.0.0.1:{listener.getsockname()[1]}"))
    _, error = asked(server)
    assert "no server answers at 127" in error.message
    assert "edgeinfer serve" in str(error.hint)


@pytest.mark.parametrize(
    "body",
    [
        *(b"[]", b'{"build_info": "b4567"}', b'{"build_info": 3}', b"null", b"{"),
        b'{"build_info": "edgeinfer-1", "model_alias": "x", "default_generation_settings": {"n_ctx": null}}',
    ],
)
def test_another_program_is_told_apart(body: bytes) -> None:
    with answering(json_answer("200 OK", body)) as server, pytest.raises(NetworkError, match="edgeinfer"):
        asyncio.run(RemoteModel.opened(server, None))


def test_keys_are_shown_and_asked_for(random_model: Path) -> None:
    with serve(random_model, Rules(keys=[Key("s\u00e9same")])) as served:
        address = Address.read(f"127.0.0.1:{served.port}")
        with pytest.raises(AccessDenied, match="wants an API key"):
            asyncio.run(RemoteModel.opened(Server(address), None))
        with pytest.raises(AccessDenied, match="does not know this API key") as error:
            asyncio.run(RemoteModel.opened(Server(address, "wrong"), None))
        assert "EDGEINFER_API_KEY" in str(error.value.hint)
        assert asyncio.run(RemoteModel.opened(Server(address, "s\u00e9same"), None)).name == "random"


def test_proxies_are_not_for_this_machine(random_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serve(random_model) as served:
        for host in ("127.0.0.1", "localhost"):
            server = Server(Address.read(f"http://{host}:{served.port}/v1/"))
            assert asyncio.run(RemoteModel.opened(server, "random")).name == "random"
        with pytest.raises(NetworkError):
            asyncio.run(Server(Address.read("http://example.invalid")).get("/health"))


def test_certificates_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority, root = trustme.CA(), tmp_path / "root.pem"
    authority.cert_pem.write_to_path(str(root))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    def speak_tls(client: socket.socket) -> None:
        with context.wrap_socket(client, server_side=True) as safe:
            safe.recv(1 << 16)
            safe.sendall(json_answer("200 OK", b'{"status": "ok"}'))

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve_all() -> None:
            for _ in range(3):
                client, _ = listener.accept()
                try:
                    speak_tls(client)
                except OSError:
                    client.close()

        thread = threading.Thread(target=serve_all, daemon=True)
        thread.start()
        port = listener.getsockname()[1]
        with pytest.raises(NetworkError, match="no safe connection") as error:
            asyncio.run(Server(Address.read(f"https://127.0.0.1:{port}")).get("/health"))
        assert "SSL_CERT_FILE" in str(error.value.hint)
        with pytest.raises(NetworkError):
            asyncio.run(Server(Address.read(f"http://127.0.0.1:{port}")).get("/health"))
        monkeypatch.setenv("SSL_CERT_FILE", str(root))
        found = asyncio.run(Server(Address.read(f"https://127.0.0.1:{port}")).get("/health"))
        assert found == {"status": "ok"}
        thread.join()


@pytest.mark.parametrize(
    ("text", "url", "is_here"),
    [
        ("127.0.0.1:8080", "http://127.0.0.1:8080", True),
        ("localhost", "http://localhost:8080", True),
        ("box.lan", "http://box.lan:8080", False),
        ("http://Box.lan/", "http://box.lan:80", False),
        ("https://example.org/v1", "https://example.org:443", False),
        ("https://example.org/models/v1/", "https://example.org:443/models", False),
        ("[::1]:9000", "http://[::1]:9000", True),
        ("192.0.2.7:1", "http://192.0.2.7:1", False),
    ],
)
def test_addresses_are_read_as_people_write_them(text: str, url: str, is_here: bool) -> None:
    address = Address.read(text)
    assert (address.url, address.is_here) == (url, is_here)


@pytest.mark.parametrize(
    "text",
    ["", "qwen3:4b", "http://", "ftp://box", "box:99999", "http://me:secret@box", "a b", "[::1", "box?x=1"],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        Address.read(text)
    assert "secret" not in error.value.message
