"""What operators see and do: metrics, the log, signals, limits of a connection."""

from __future__ import annotations

import http.client
import json
import logging
import re
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import openai
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families
from serving import Served, eventually, serve, serving

from edgeinfer.keys import Key
from edgeinfer.loading import load_tokenizer
from edgeinfer.server import exchange
from edgeinfer.server.app import Limits
from edgeinfer.server.connection import Connection
from edgeinfer.server.guard import Rules
from edgeinfer.server.metrics import Targets

CHAT: list[Any] = [{"role": "user", "content": "one of the words that we know"}]


def no_end(model: Path) -> dict[str, float]:
    """A logit bias with which an answer ends by its length only."""
    return {str(i): -10000 for i in load_tokenizer(model).eog_ids}


def metrics(served: Served) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """By name and labels."""
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_tell_what_clients_were_told(random_model: Path) -> None:
    generous = Limits(targets=Targets(first_token_s=1000, token_s=1000))
    with serve(random_model, limits=generous, context_length=256) as served:
        usages = [
            served.client()
            .chat.completions.create(
                model="random", messages=CHAT, max_tokens=8, seed=i, logit_bias=no_end(random_model)
            )
            .usage
            for i in range(3)
        ]
        with pytest.raises(openai.NotFoundError):
            served.client().chat.completions.create(model="secret", messages=CHAT)
        assert served.post(b"{}", "/nowhere/at/all")[0] == 404
        end = time.monotonic() + 10
        one = (("model", "random"),)
        while metrics(served)["edgeinfer_answers_total", one] < 3 and time.monotonic() < end:
            time.sleep(0.01)
        found = metrics(served)
    n_prompt = sum(u.prompt_tokens for u in usages if u)
    n_cached = sum(u.prompt_tokens_details.cached_tokens for u in usages if u)
    assert n_cached > 0
    assert found["edgeinfer_prompt_tokens_total", one] == n_prompt
    assert found["edgeinfer_cached_prompt_tokens_total", one] == n_cached
    assert found["edgeinfer_generated_tokens_total", one] == 24
    assert found["edgeinfer_good_answers_total", one] == 3
    for name, n in (("time_to_first_token", 3), ("queue", 3), ("end_to_end", 3), ("inter_token", 21)):
        assert found[f"edgeinfer_{name}_seconds_count", one] == n
        top = (("le", "+Inf"), *one)
        assert found[f"edgeinfer_{name}_seconds_bucket", top] == n
    chat = ("route", "/v1/chat/completions")
    assert found["edgeinfer_requests_total", (("model", "random"), ("outcome", "ok"), chat)] == 3
    assert found["edgeinfer_requests_total", (("model", ""), ("outcome", "refused"), chat)] == 1
    nowhere = (("model", ""), ("outcome", "refused"), ("route", ""))
    assert found["edgeinfer_requests_total", nowhere] == 1
    blocks = [found[f"edgeinfer_kv_blocks_{kind}", one] for kind in ("used", "free")]
    assert min(blocks) > 0


def test_metrics_need_the_key(random_model: Path) -> None:
    with serve(random_model, Rules(keys=[Key("ours")]), context_length=256) as served:
        assert served.post(b"", "/metrics")[0] == 401


def test_the_log_has_one_line_a_request_and_no_words(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("edgeinfer").propagate = True
    with caplog.at_level(logging.INFO, "edgeinfer.access"):
        body = json.dumps({"messages": CHAT, "max_tokens": 3, "seed": 1}).encode()
        assert served.post(body, x_request_id="mine-1")[0] == 200
        assert served.post(body, x_request_id="not a sane\tone" + "x" * 200)[0] == 200
        end = time.monotonic() + 10
        while len(caplog.records) < 2 and time.monotonic() < end:
            time.sleep(0.01)
    first, second = (record.getMessage() for record in caplog.records)
    for fact in ("status=200", "outcome=ok", "request_id=mine-1", "model=random", "generated_tokens=3"):
        assert fact in first
    assert re.search(r"request_id=req-[0-9a-f]{32} ", second)
    assert "words" not in first + second


def test_every_response_carries_its_request_id(served: Served) -> None:
    response = served.client().models.with_raw_response.list(extra_headers={"x-request-id": "abc.7"})
    assert response.headers["x-request-id"] == "abc.7"
    with pytest.raises(openai.NotFoundError) as refused:
        served.client().models.retrieve("nothing")
    assert refused.value.request_id


def test_a_request_that_takes_too_long_is_ended_and_told_so(random_model: Path) -> None:
    with serve(random_model, limits=Limits(request_s=0.4), kv_window=64) as served:
        options: Any = {"model": "random", "messages": CHAT, "logit_bias": no_end(random_model)}
        with served.client() as client:
            with pytest.raises(openai.InternalServerError, match="took longer than") as late:
                client.chat.completions.create(**options)
            assert late.value.status_code == 504
            with (
                client.chat.completions.create(**options, stream=True) as stream,
                pytest.raises(openai.APIError, match="took longer than"),
            ):
                list(stream)


class Impatient(Connection):
    most = 3
    head_s = 0.3
    unread_s = 0.5


@pytest.fixture
def impatient(random_model: Path) -> Iterator[Served]:
    with serve(random_model, connection=Impatient, kv_window=64) as served:
        yield served


def test_who_never_finishes_to_ask_is_cut_off(impatient: Served) -> None:
    with socket.create_connection(("127.0.0.1", impatient.port), timeout=20) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n")
        assert client.recv(100) == b""
    with socket.create_connection(("127.0.0.1", impatient.port), timeout=20) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200 OK" in client.recv(1000)
        client.sendall(b"GET /health HTTP/1.1\r\nHost: lo")  # and again on the same connection
        while answer := client.recv(1000):
            assert b"HTTP/1.1" not in answer


def drip(client: socket.socket) -> None:
    """Sends a byte now and then, for long."""
    for _ in range(400):
        client.sendall(b" ")
        time.sleep(0.05)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/api/chat"])
def test_a_body_that_does_not_end_is_refused_and_waited_for_no_longer(
    impatient: Served, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(exchange, "MOST_BODY_S", 0.3)
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", impatient.port), timeout=20) as client:
        client.sendall(head.encode())
        response = http.client.HTTPResponse(client)
        response.begin()
        assert (response.status, b"the body took longer" in response.read()) == (408, True)
        with pytest.raises(OSError, match=r"reset|pipe"):
            drip(client)


def test_too_many_connections_are_told_to_come_again(impatient: Served) -> None:
    crowd = [socket.create_connection(("127.0.0.1", impatient.port), timeout=20) for _ in range(3)]
    with socket.create_connection(("127.0.0.1", impatient.port), timeout=20) as one_more:
        answer = one_more.recv(1000)
    assert b"503" in answer
    assert b"Retry-After" in answer
    for client in crowd:
        client.close()


@contextmanager
def never_reading(port: int, body: str) -> Iterator[None]:
    """A client that asks for a chat and leaves at the end."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        client.connect(("127.0.0.1", port))
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        client.sendall(head.encode() + body.encode())
        yield


def test_a_client_that_never_reads_holds_nobody_up_and_is_dropped(
    impatient: Served, random_model: Path
) -> None:
    body = json.dumps({"messages": CHAT, "stream": True, "n": 16, "logit_bias": no_end(random_model)})
    with never_reading(impatient.port, body):
        while impatient.model.stats().n_running == 0:
            time.sleep(0.001)
        other = impatient.client().chat.completions.create(model="random", messages=CHAT, max_tokens=5)
        assert other.choices
        end = time.monotonic() + 60
        while impatient.model.stats().n_running and time.monotonic() < end:
            time.sleep(0.01)
        assert impatient.model.stats().n_ended.get("cancelled", 0) > 0


def test_no_more_is_computed_for_a_client_that_never_reads_than_it_has_room_for(random_model: Path) -> None:
    wide = {"logprobs": True, "top_logprobs": 20}  # so that the buffers are soon full
    body = json.dumps({"messages": CHAT, "stream": True, "logit_bias": no_end(random_model), **wide})
    with serve(random_model, kv_window=64) as served:
        stats = served.model.stats
        with never_reading(served.port, body):
            n, more = 0, 1
            while more:
                time.sleep(0.3)
                n, more = stats().n_generated, stats().n_generated - n
                assert n < 20_000
            assert stats().n_running == 1  # it may read on
            other = served.client().chat.completions.create(model="random", messages=CHAT, max_tokens=5)
            assert other.choices
        eventually(lambda: stats().n_running == 0)
        assert stats().n_ended["cancelled"] == 1


@contextmanager
def streaming(port: int, **options: Any) -> Iterator[http.client.HTTPResponse]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = {"messages": CHAT, "stream": True, "seed": 3, "temperature": 2, **options}
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(body))
        with connection.getresponse() as response:
            yield response
    finally:
        connection.close()


def test_sigterm_lets_running_answers_finish_and_nobody_else_in(random_model: Path) -> None:
    with serving(str(random_model), "-c", "512") as (process, port), ExitStack() as stack:
        answers = [stack.enter_context(streaming(port, max_tokens=200, seed=i)) for i in range(4)]
        for answer in answers:
            answer.read(300)
        process.send_signal(signal.SIGTERM)
        texts = [answer.read() for answer in answers]
        assert all(text.endswith(b"data: [DONE]\n\n") for text in texts)
        assert all(b'"error"' not in text for text in texts)
        with pytest.raises(OSError, match=r"refused|reset"):
            stack.enter_context(streaming(port))
        assert process.wait(timeout=30) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_answers_that_take_longer_than_the_server_waits_are_told_so(random_model: Path) -> None:
    line = (str(random_model), "--kv-window", "64", "--drain-seconds", "1")
    with serving(*line) as (process, port), streaming(port, n=4, logit_bias=no_end(random_model)) as answer:
        answer.read(300)
        process.send_signal(signal.SIGTERM)
        text = answer.read().decode()
        last = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")][-1]
        assert last["error"]["code"] == "shutting_down"
        assert text.endswith("data: [DONE]\n\n")
        assert process.wait(timeout=30) == 0


def test_a_second_signal_ends_at_once(random_model: Path) -> None:
    line = (str(random_model), "--kv-window", "64")
    with serving(*line) as (process, port), streaming(port, logit_bias=no_end(random_model)) as answer:
        answer.read(300)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == -signal.SIGTERM


def test_a_log_that_nobody_reads_holds_up_nobody(random_model: Path) -> None:
    with serving(str(random_model), "-c", "512", "--log-level", "info") as (_, port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        for _ in range(200):  # with a line of 1000 characters each: three times what a pipe holds
            connection.request("GET", "/" + "x" * 1000)
            assert connection.getresponse().read()
        connection.close()


def test_an_idle_server_uses_no_processor(random_model: Path) -> None:
    with serving(str(random_model), "-c", "512") as (process, port):
        with streaming(port, max_tokens=4) as answer:
            answer.read()
        time.sleep(0.5)
        server = psutil.Process(process.pid)
        before, switches = sum(server.cpu_times()[:2]), server.num_ctx_switches().voluntary
        time.sleep(2)
        assert sum(server.cpu_times()[:2]) - before <= 0.02  # two ticks of the kernel's clock
        assert server.num_ctx_switches().voluntary - switches < 10
