"""A model of a server answers as the same one in this process does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
from gated import Gated
from serving import Served, eventually, serve

import edgeinfer
from edgeinfer.address import Address
from edgeinfer.engine.events import QueuedEvent, ReadingEvent, ShiftedEvent
from edgeinfer.errors import EdgeInferError, InvalidRequest, NotFound
from edgeinfer.remote.model import RemoteModel
from edgeinfer.remote.server import Server
from edgeinfer.remote.stream import RemoteStream
from edgeinfer.streaming import Stream, Token
from edgeinfer.text.conversation import Conversation

ASKED = [{"role": "user", "content": "How do I download a model?"}]
ODD = [{"role": "user", "content": "Lines\u2028of\u0085\x1call\r\nkinds, \U0001f600 and \x00"}]
NO_END = {0: -float("inf"), 2: -float("inf")}


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serve(None, context_length=256) as server:
        yield server


@pytest.fixture(scope="module")
def remote(served: Served) -> RemoteModel:
    return opened(served)


@pytest.fixture
def one_at_a_time(random_model: Path) -> Iterator[Gated]:
    with Gated(random_model, max_sequences=1) as server:
        yield server


def opened(served: Served, name: str | None = None) -> RemoteModel:
    return asyncio.run(RemoteModel.opened(Server(Address.read(f"127.0.0.1:{served.port}")), name))


def said(stream: Stream | RemoteStream, served: Served) -> list[tuple[int, str, str, float]]:
    """Tokens; of one that ends an answer only what it says: no dialect tells it."""
    tokens = [event for event in stream.events() if isinstance(event, Token)]
    ends = {-1, *served.model.tokenizer.eog_ids}
    known = [(t.id, t.text, t.reasoning, t.logprob) for t in tokens if t.id not in ends]
    return known + [(-1, t.text, t.reasoning, 0.0) for t in tokens if t.id in ends and t.parts]


@pytest.mark.parametrize(
    "options",
    [
        {"seed": 7},
        {"seed": 2**64 - 1, "temperature": 1.5, "top_k": 0, "min_p": 0.0, "repeat_penalty": 1.2},
        {"temperature": 0.0, "stop": ["model"]},
        {"seed": 3, "max_tokens": 5, "logit_bias": NO_END, "dry_multiplier": 0.8},
        {"seed": 4, "max_tokens": 300, "logit_bias": NO_END, "context_shift": True},
        {"temperature": 0.0, "timeout": None, "seed": None},
    ],
)
@pytest.mark.parametrize("messages", [ASKED, ODD])
def test_equal_seeds_give_equal_tokens(
    served: Served, remote: RemoteModel, messages: list[Any], options: dict[str, Any]
) -> None:
    conversation = Conversation([{"role": "system", "content": "Be short."}, *messages])
    here, there = served.model.chat(conversation, **options), remote.chat(conversation, **options)
    assert said(here, served) == said(there, served)
    assert here.finish_reason == there.finish_reason
    costs = [(s.usage.n_prompt, s.usage.n_generated, s.usage.n_dropped) for s in (here, there)]
    assert costs[0] == costs[1]


def test_what_thinks_thinks_there_too(tmp_path: Path) -> None:
    template = tiny.TEMPLATE.replace(
        "assistant\n{% endif %}", "assistant\n{% if enable_thinking %}<think>\n{% endif %}{% endif %}"
    )
    path = tiny.write_gguf(tmp_path / "thinks.gguf", "llama", "Q8_0", template=template)
    with serve(path, context_length=256) as served:
        remote = opened(served)
        for variables in ({}, {"enable_thinking": True}):
            asked = Conversation(ASKED, variables=variables)
            options = {"seed": 5, "max_tokens": 20}
            here = said(served.model.chat(asked, **options), served)
            assert here == said(remote.chat(asked, **options), served)
            assert any(reasoning for _, _, reasoning, _ in here) == bool(variables)


def test_costs_are_told_as_in_process(remote: RemoteModel) -> None:
    first, again = remote.chat(ASKED, seed=1), remote.chat(ASKED, seed=1)
    assert [e for e in first.events() if isinstance(e, Token)]
    assert [e for e in again.events() if isinstance(e, Token)]
    usage = again.usage
    assert usage.n_cached == usage.n_prompt - 1
    assert 0 <= usage.queue_s < usage.first_token_s < usage.total_s
    assert usage.generated_per_s > 0


def test_an_answer_whose_time_is_over_says_so(remote: RemoteModel) -> None:
    stream = remote.chat(ASKED, logit_bias=NO_END, context_shift=True, timeout=0.05)
    assert sum(isinstance(event, Token) for event in stream.events()) == stream.usage.n_generated
    assert stream.finish_reason == "deadline"


def test_a_full_context_is_told_when_it_happens(remote: RemoteModel) -> None:
    stream = remote.chat(ASKED, max_tokens=300, logit_bias=NO_END, context_shift=True)
    dropped = [event.n_dropped for event in stream.events() if isinstance(event, ShiftedEvent)]
    assert sum(dropped) == stream.usage.n_dropped > 0


def test_waiting_and_reading_are_told(one_at_a_time: Gated) -> None:
    long = [{"role": "user", "content": "one of the words that we know " * 40}]
    one_at_a_time.gate.pace_s = 0.01
    one_at_a_time.gate.set()
    other = one_at_a_time.send("/v1/chat/completions", "one of the words")
    eventually(lambda: one_at_a_time.model.stats().n_running == 1)
    stream = opened(one_at_a_time).chat(long, max_tokens=3, seed=1)
    events = iter(stream.events())
    assert next(events) == QueuedEvent(1)
    other.close()
    told = [*events]
    reading = [event for event in told if isinstance(event, ReadingEvent)]
    assert {event.n_prompt for event in reading} == {stream.usage.n_prompt}
    assert reading[0].n_read > 0
    assert sum(isinstance(event, Token) for event in told) == 3


def test_who_stops_is_computed_no_further(served: Served, remote: RemoteModel) -> None:
    async def scenario() -> None:
        stream = remote.chat(ASKED, logit_bias=NO_END, context_shift=True)
        n = 0
        async for event in stream.events():
            n += isinstance(event, Token)
            if n == 3:
                stream.cancel()
        assert stream.finish_reason == "cancelled"
        assert stream.usage.n_generated >= 3

    ended = served.model.stats().n_ended.get("cancelled", 0)
    asyncio.run(scenario())
    eventually(lambda: served.model.stats().n_ended["cancelled"] == ended + 1)
    stream = remote.chat(ASKED, logit_bias=NO_END, context_shift=True)
    next(iter(stream.events()))
    stream.close()
    eventually(lambda: served.model.stats().n_ended["cancelled"] == ended + 2)


def test_what_was_cancelled_before_it_began_asks_nothing(served: Served, remote: RemoteModel) -> None:
    stream = remote.chat(ASKED)
    stream.cancel()
    before = served.model.stats().n_ended
    assert [*stream.events()] == []
    assert served.model.stats().n_ended == before


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"temperature": 900.0}, "temperature must be a number from 0.0 to 100.0"),
        ({"max_tokens": 0}, "max_tokens must be at least 1"),
        ({"timeout": -1.0}, "timeout must be more than 0"),
    ],
)
def test_what_is_wrong_with_a_request_is_told(
    remote: RemoteModel, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(InvalidRequest, match=told):
        [*remote.chat(ASKED, **options).events()]


def test_a_long_prompt_is_refused_as_in_process(served: Served, remote: RemoteModel) -> None:
    long = [{"role": "user", "content": "word " * 5000}]
    told = []
    for model in (served.model, remote):
        with pytest.raises(EdgeInferError) as error:
            [*model.chat(long).events()]
        told.append((type(error.value), error.value.message))
    assert told[0] == told[1]


def test_options_that_a_server_does_not_know_are_no_secret(remote: RemoteModel) -> None:
    with pytest.raises(InvalidRequest, match="grammar, priority cannot be asked of a server"):
        remote.chat(ASKED, grammar=edgeinfer.Grammar.regex("a"), priority="batch")


def test_the_report_is_that_of_the_server(served: Served, remote: RemoteModel) -> None:
    report = asyncio.run(remote.report())
    stats = served.model.stats()
    assert (report.stats.n_generated, report.stats.kv) == (stats.n_generated, stats.kv)
    assert report.stats.first_token.p99 == stats.first_token.p99
    assert (remote.name, remote.context_length) == (served.model.name, served.model.context_length)
    assert remote.description == report.description == served.model.description


def test_an_unknown_model_is_not_found(served: Served) -> None:
    with pytest.raises(NotFound, match="no model is called 'nobody' here"):
        opened(served, "nobody")
