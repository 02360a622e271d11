"""Who is let in, who shares with whom, and what no request may be."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from installed import COMMAND
from serving import Served, serve

import edgeinfer
from edgeinfer.keys import Key, read_keys
from edgeinfer.server.guard import Rules

WORDS = "one of the words that we know and then some more of the words"
CHAT = [{"role": "user", "content": WORDS}]
BODY = json.dumps({"messages": CHAT, "max_tokens": 2, "seed": 1}).encode()
PAGE = "https://editor.example"
JSON = "application/json"


@pytest.fixture(scope="module")
def guarded(random_model: Path) -> Iterator[Served]:
    keys = read_keys("# of the team\nalpha-key alice\n\nbeta-key  bob\ngamma-key alice\ndelta-key\n")
    keys += [Key("k1", "carol"), Key("k2", "dan"), Key("k3", "carol"), Key("k4")]
    with serve(
        random_model, Rules(hosts=["box.local"], origins=[PAGE], keys=keys), context_length=256
    ) as server:
        yield server


def ask(served: Served, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    connection.putrequest(method, path, skip_host=True)
    for name, value in {"Host": "localhost", "Content-Length": str(len(body)), **headers}.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders(body)
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status, response.headers


OURS = [
    "localhost",
    "LOCALHOST:1",
    "127.0.0.1",
    "127.0.0.1:8080",
    "[::1]",
    "[::1]:8080",
    "127.8.8.8",
]
NOT_OURS = [
    "evil.example",
    "evil.example:8080",
    "localhost.evil.example",
    "0.0.0.0",
    "10.0.0.1",
    "",
    "[::2]",
    "127.1",
]


@pytest.mark.parametrize(("host", "status"), [*((h, 200) for h in OURS), *((h, 421) for h in NOT_OURS)])
def test_only_names_of_this_machine_are_answered(served: Served, host: str, status: int) -> None:
    assert ask(served, "GET", "/v1/models", Host=host)[0] == status


def test_a_listed_name_is_answered(guarded: Served) -> None:
    assert ask(guarded, "GET", "/v1/models", Host="box.local:1", api_key="k1")[0] == 200


def test_a_request_without_a_host_is_refused(served: Served) -> None:
    for version, status in ((b"1.0", b"421"), (b"1.1", b"400")):
        with socket.create_connection(("127.0.0.1", served.port), timeout=30) as client:
            client.sendall(b"GET /v1/models HTTP/" + version + b"\r\n\r\n")
            assert client.recv(1000).split(b" ")[1] == status


def test_two_hosts_are_refused(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as client:
        client.sendall(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")
        assert client.recv(1000).split(b" ")[1] == b"400"


FOREIGN: list[dict[str, str]] = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "https://editor.example.evil.example"},
    {"Origin": "http://editor.example"},
    {"Origin": "vscode-webview://1"},
    {"Sec_Fetch_Site": "cross-site"},
    {"Sec_Fetch_Site": "same-site"},
]


@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_other_pages_are_refused_and_told_nothing(
    guarded: Served, method: str, headers: dict[str, str]
) -> None:
    before = guarded.model.stats().n_prompt
    asked = {"Authorization": "Bearer alpha-key", "Access_Control_Request_Method": "POST", **headers}
    status, found = ask(guarded, method, "/v1/chat/completions", BODY, **asked)
    assert status == 403
    assert not [name for name in found if name.lower().startswith("access-control")]
    assert guarded.model.stats().n_prompt == before


def test_a_listed_page_may_ask_and_read(guarded: Served) -> None:
    asked = {
        "Origin": PAGE,
        "Sec_Fetch_Site": "cross-site",
        "Access_Control_Request_Method": "POST",
        "Access_Control_Request_Headers": "authorization,content-type,x-stainless-lang",
    }
    status, found = ask(guarded, "OPTIONS", "/v1/chat/completions", **asked)
    assert (status, found["access-control-allow-origin"]) == (200, PAGE)
    assert "x-stainless-lang" in found["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in found
    key = {"Origin": PAGE, "x_api_key": "alpha-key"}
    status, found = ask(guarded, "POST", "/v1/chat/completions", BODY, Content_Type=JSON, **key)
    assert (status, found["access-control-allow-origin"]) == (200, PAGE)
    status, found = ask(guarded, "GET", "/v1/models", Origin=PAGE)  # that it needs a key it may read
    assert (status, found["access-control-allow-origin"]) == (401, PAGE)
    assert ask(guarded, "POST", "/v1/chat/completions", BODY, Content_Type="text/plain", **key)[0] == 415


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer alpha-ke"}, 401),
        ({"Authorization": "Bearer alice"}, 401),
        ({"Authorization": "Basic alpha-key"}, 401),
        ({"Authorization": "Bearer alpha-key alice"}, 401),
        ({"x_api_key": "\xff\xfe"}, 401),
        ({"Authorization": "bearer beta-key"}, 200),
        ({"x_api_key": "gamma-key"}, 200),
        ({"api_key": "delta-key", "Authorization": "Bearer undefined"}, 200),
    ],
)
def test_one_of_the_keys_is_needed(guarded: Served, headers: dict[str, str], status: int) -> None:
    assert ask(guarded, "GET", "/v1/models", **headers)[0] == status


def test_what_one_computed_only_those_of_the_same_name_find(guarded: Served) -> None:
    def n_cached(key: str, text: str) -> int:
        body = json.dumps({"messages": [{"role": "user", "content": text}], "max_tokens": 2}).encode()
        status, answer = guarded.post(body, x_api_key=key)
        assert status == 200
        found: int = answer["usage"]["prompt_tokens_details"]["cached_tokens"]
        return found

    assert [n_cached(key, WORDS) for key in ("k1", "k2", "k4")] == [0, 0, 0]
    assert min(n_cached(key, WORDS) for key in ("k3", "k4")) > 0


def test_namespaces_stay_apart_on_disk_too(
    random_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("EDGEINFER_KV_DISK_BYTES", str(1 << 30))
    prompt = [3 + i % 200 for i in range(400)]
    with edgeinfer.load(random_model, threads=2, context_length=512) as model:
        list(model.apart("alice").generate(prompt, max_tokens=2))
    found = {}
    for name in ("bob", "", "alice"):
        with edgeinfer.load(random_model, threads=2, context_length=512) as model:
            stream = model.apart(name).generate(prompt, max_tokens=2)
            list(stream)
            found[name] = stream.usage.n_cached
    assert found.pop("alice") > 256
    assert set(found.values()) == {0}


def test_the_server_speaks_tls(random_model: Path, tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate, key, root = (tmp_path / name for name in ("server.pem", "key.pem", "root.pem"))
    issued = authority.issue_cert("localhost")
    issued.cert_chain_pems[0].write_to_path(str(certificate))
    issued.private_key_pem.write_to_path(str(key))
    authority.cert_pem.write_to_path(str(root))
    line = ["serve", str(random_model), "--port", "0", "--ssl-certfile", str(certificate)]
    with subprocess.Popen(
        [*COMMAND, *line, "--ssl-keyfile", str(key)], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        port = int(process.stderr.readline().split("https://127.0.0.1:")[1].split("/")[0])
        context = ssl.create_default_context(cafile=str(root))
        client = http.client.HTTPSConnection("localhost", port, timeout=30, context=context)
        client.request("POST", "/v1/chat/completions", BODY)
        assert client.getresponse().status == 200
        client.close()
        process.terminate()
        process.wait(timeout=30)


DEEP = b'{"messages": ' + b"[" * 100 + b"]" * 100 + b"}"
ODD: list[tuple[bytes, str]] = [
    (b'{"temperature": NaN, "messages": []}', "temperature"),
    (b'{"top_p": -Infinity}', "top_p"),
    (b'{"stop": ["a"], "x": {"y": [1, 1e999]}}', "x.y[1]"),
    (b'{"seed": 1, "messages": [], "seed": 2}', "seed"),
    (b'{"messages": [{"role": "user", "role": "system"}]}', "role"),
    (b'{"messages": [{"role": "user", "content": "\xff"}]}', "utf-8"),
    (b'{"seed": ' + b"9" * 5000 + b"}", "4300 digits"),
    (DEEP, "nested deeper"),
    (b"[" * 100_000, "nested deeper"),
    (b"[" + b"[]," * 300_000 + b"1]", "lists and objects"),
    (b"", "not JSON"),
    (b"\x00", "not JSON"),
    (b"nul", "not JSON"),
]
PATHS = ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages", "/api/chat", "/infill"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("body", "where"), ODD)
def test_odd_json_is_refused_and_said_where(served: Served, path: str, body: bytes, where: str) -> None:
    status, answer = served.post(body, path)
    assert status == 400
    assert where in json.dumps(answer)


def test_a_body_that_is_too_large_is_refused_before_it_is_read(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as client:
        client.sendall(
            b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1073741824\r\n\r\n"
        )
        assert client.recv(1000).split(b" ")[1] == b"413"


def test_brackets_within_a_text_are_no_nesting(served: Served) -> None:
    body = json.dumps({"prompt": "[{" * 100, "max_tokens": 1}).encode()
    assert served.post(body, "/v1/completions")[0] == 200


def test_keys_are_read_from_lines() -> None:
    assert read_keys("one\n# no\n\n two  the second \n") == [Key("one"), Key("two", "the second")]
