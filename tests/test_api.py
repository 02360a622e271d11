"""The Python door: load, generate, chat, logits, perplexity, on a small random model."""

from __future__ import annotations

import asyncio
import gc
import math
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
import tiny

import edgeinfer
from edgeinfer import _native
from edgeinfer.config.table import KvType
from edgeinfer.engine.events import ReadingEvent, ShiftedEvent
from edgeinfer.engine.sampler import sample
from edgeinfer.engine.sampling import Sampling
from edgeinfer.errors import (
    ContextLengthExceeded,
    EdgeInferError,
    InvalidRequest,
    ModelFileChanged,
    NonFiniteLogits,
    NotEnoughMemory,
    NotFound,
    TemplateError,
)
from edgeinfer.options import Parameters

PROMPT = "one of the words that we know"


@pytest.fixture
def model(random_model: Path) -> Iterator[edgeinfer.Model]:
    with edgeinfer.load(random_model, threads=2, context_length=256) as loaded:
        yield loaded


def endless(model: edgeinfer.Model) -> dict[int, float]:
    """A bias that keeps the model from ending an answer by itself."""
    return dict.fromkeys(model.tokenizer.eog_ids, -math.inf)


def test_generate_is_sampling_from_the_logits(model: edgeinfer.Model) -> None:
    """The slow way: all logits of the text so far, for every token anew."""
    sampling = Sampling(temperature=1.2, top_k=20)
    ids = model.tokenizer.encode(PROMPT)
    tokens = list(model.generate(PROMPT, max_tokens=10, sampling=sampling, seed=7))
    for token in tokens:
        choice = sample(model.logits(ids)[-1], sampling, ids, seed=7)
        assert (token.id, token.logprob) == (choice.id, choice.logprob)
        ids.append(token.id)


def log_softmax(row: np.ndarray) -> np.ndarray:
    shifted = row.astype(np.float64) - row.max()
    return shifted - math.log(np.exp(shifted).sum())


def test_each_token_names_the_likeliest_in_its_place(model: edgeinfer.Model) -> None:
    ids = model.tokenizer.encode(PROMPT)
    tokens = list(model.generate(PROMPT, max_tokens=9, temperature=1.5, seed=7, top_logprobs=5))
    plain = list(model.generate(PROMPT, max_tokens=9, temperature=1.5, seed=7))
    assert [t.id for t in tokens] == [t.id for t in plain]
    assert {t.top for t in plain} == {()}
    rows = model.logits([*ids, *(t.id for t in tokens)])[len(ids) - 1 : -1]
    for token, row in zip(tokens, rows, strict=True):
        expected = log_softmax(row)
        best = np.argsort(-expected, kind="stable")[:5]
        assert [i for i, _ in token.top] == best.tolist()
        np.testing.assert_allclose([p for _, p in token.top], expected[best], atol=1e-6)
        assert dict(token.top).get(token.id, token.logprob) == token.logprob


@pytest.mark.parametrize("n", [-1, 21])
def test_more_alternatives_than_anybody_shows_are_refused(model: edgeinfer.Model, n: int) -> None:
    with pytest.raises(InvalidRequest, match="from 0 to 20"):
        model.generate(PROMPT, top_logprobs=n)


def test_a_prompt_may_be_scored_and_continued(model: edgeinfer.Model) -> None:
    ids = model.tokenizer.encode(PROMPT)
    expected = [None, *model.logprobs(ids).tolist()]
    stream = model.generate(PROMPT, max_tokens=6, seed=2, top_logprobs=3, score_prompt=True)
    assert [t.id for t in stream] == [t.id for t in model.generate(PROMPT, max_tokens=6, seed=2)]
    assert [t.id for t in stream.scored] == ids
    assert [t.logprob for t in stream.scored] == expected
    best = np.argsort(-model.logits(ids), axis=1, kind="stable")[:-1, :3]
    assert [[i for i, _ in t.top] for t in stream.scored] == [[], *best.tolist()]
    alone = model.generate(ids, max_tokens=0, score_prompt=True)
    assert list(alone) == []
    assert (alone.finish_reason, [t.logprob for t in alone.scored]) == ("length", expected)


def test_text_and_ids_give_the_same(model: edgeinfer.Model) -> None:
    by_text = list(model.generate(PROMPT, max_tokens=8, seed=3))
    by_ids = list(model.generate(model.tokenizer.encode(PROMPT), max_tokens=8, seed=3))
    assert by_text == by_ids


def test_the_pieces_joined_are_the_decoded_ids(model: edgeinfer.Model) -> None:
    tokens = list(model.generate(PROMPT, max_tokens=60, temperature=2.0, top_k=0, seed=1))
    ids = [t.id for t in tokens]
    assert "".join(t.text for t in tokens) == model.tokenizer.decode(ids, continuation=True)


def test_many_streams_at_once_change_nothing(model: edgeinfer.Model) -> None:
    prompts = [PROMPT[: 3 + i] for i in range(12)]
    alone = [list(model.generate(p, max_tokens=12, seed=i)) for i, p in enumerate(prompts)]
    streams = [model.generate(p, max_tokens=12, seed=i) for i, p in enumerate(prompts)]
    assert [list(s) for s in streams] == alone


def test_chat_computes_only_what_is_new(model: edgeinfer.Model, random_model: Path) -> None:
    messages = [{"role": "user", "content": PROMPT}]
    first = model.chat(messages, max_tokens=6, seed=1)
    answer = "".join(t.text for t in first)
    messages += [{"role": "assistant", "content": answer}, {"role": "user", "content": "and the other"}]
    second = model.chat(messages, max_tokens=6, seed=1)
    with edgeinfer.load(random_model, context_length=256) as other:
        cold = other.chat(messages, max_tokens=6, seed=1)
        assert list(second) == list(cold)
    assert second.usage.n_cached >= first.usage.n_prompt
    assert cold.usage.n_cached == 0


def test_stats_count_what_was_found_again(model: edgeinfer.Model) -> None:
    for _ in range(2):
        list(stream := model.generate(PROMPT, max_tokens=2, temperature=0))
    n = stream.usage.n_prompt
    stats = model.stats()
    assert (stats.n_prompt, stats.n_cached, stats.n_kept) == (2 * n, n - 1, 1)
    model.close()
    with pytest.raises(EdgeInferError, match="closed"):
        model.stats()


def test_a_stop_string_ends_the_text_before_it(model: edgeinfer.Model) -> None:
    text = "".join(t.text for t in model.generate(PROMPT, max_tokens=40, temperature=0))
    stop = text[len(text) // 2 :][:3]
    stream = model.generate(PROMPT, max_tokens=40, temperature=0, stop=stop)
    tokens = list(stream)
    assert "".join(t.text for t in tokens) == text[: text.index(stop)]
    assert (tokens[-1].finish_reason, stream.finish_reason) == ("stop", "stop")
    assert stream.usage.n_generated == len(tokens)


def test_length_is_the_reason_when_max_tokens_is_reached(model: edgeinfer.Model) -> None:
    stream = model.generate(PROMPT, max_tokens=5, logit_bias=endless(model))
    assert [t.finish_reason for t in stream] == [None] * 4 + ["length"]
    assert stream.finish_reason == "length"


def test_leaving_early_frees_the_engine(model: edgeinfer.Model) -> None:
    for _ in range(300):  # 300 whole answers would take far longer and fill the cache
        for _token in model.generate(PROMPT, temperature=0):
            break
    gc.collect()
    assert len(list(model.generate(PROMPT, max_tokens=3, temperature=0))) == 3


def test_cancel_ends_the_iteration(model: edgeinfer.Model) -> None:
    stream = model.generate(PROMPT, logit_bias=endless(model))
    next(stream)
    stream.cancel()
    assert len(list(stream)) < 200
    assert stream.finish_reason == "cancelled"


def test_async_streams_give_what_plain_ones_give(model: edgeinfer.Model) -> None:
    async def read(seed: int) -> list[edgeinfer.Token]:
        return [token async for token in model.generate(PROMPT, max_tokens=10, seed=seed)]

    async def all_of_them() -> list[list[edgeinfer.Token]]:
        return list(await asyncio.gather(*(read(seed) for seed in range(5))))

    expected = [list(model.generate(PROMPT, max_tokens=10, seed=seed)) for seed in range(5)]
    assert asyncio.run(all_of_them()) == expected


def test_an_async_reader_that_leaves_cancels(model: edgeinfer.Model) -> None:
    async def read_one() -> str | None:
        stream = model.generate(PROMPT, logit_bias=endless(model))
        async for _ in stream:
            break
        for _ in stream:
            pass
        return stream.finish_reason

    assert asyncio.run(read_one()) in ("cancelled", "length")


def test_logits_have_a_row_for_every_token(model: edgeinfer.Model) -> None:
    ids = tiny.token_ids(20)
    rows = model.logits(ids)
    assert (rows.shape, rows.dtype) == ((20, model.n_vocab), np.float32)
    np.testing.assert_array_equal(model.logits(ids[:7]), rows[:7])


def test_a_text_is_no_list_of_token_ids(model: edgeinfer.Model) -> None:
    with pytest.raises(ValueError, match="int"):
        model.logprobs("text")
    assert len(list(model.generate(PROMPT, max_tokens=1))) == 1


def test_perplexity_is_exp_of_the_mean_surprise(model: edgeinfer.Model) -> None:
    ids = model.tokenizer.encode(PROMPT)
    rows = model.logits(ids)[:-1].astype(np.float64)
    logprobs = rows - np.log(np.exp(rows - rows.max(1, keepdims=True)).sum(1, keepdims=True))
    logprobs -= rows.max(1, keepdims=True)
    surprise = [-logprobs[i, token] for i, token in enumerate(ids[1:])]
    assert model.perplexity(PROMPT) == pytest.approx(math.exp(np.mean(surprise)), rel=1e-4)


def test_a_long_text_is_read_in_windows(random_model: Path) -> None:
    with edgeinfer.load(random_model, context_length=32) as small:
        assert math.isfinite(small.perplexity(PROMPT * 10))


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"temperature": -1}, "temperature must be a number from"),
        ({"tempreture": 1}, "tempreture is not a sampling parameter"),
        ({"max_tokens": 0}, "max_tokens must be at least 1"),
        ({"stop": ""}, "stop string is empty"),
        ({"stop": [7]}, "stop must be a string or several"),
        ({"seed": 1.5}, "seed must be an integer"),
    ],
)
def test_a_wrong_argument_is_refused_at_once(
    model: edgeinfer.Model, arguments: dict[str, object], match: str
) -> None:
    with pytest.raises(InvalidRequest, match=match):
        model.generate(PROMPT, **arguments)


def test_every_sampling_parameter_can_be_given_by_its_name() -> None:
    hints = get_type_hints(Sampling)
    assert get_type_hints(Parameters) == {name: hint | None for name, hint in hints.items()}


def test_a_prompt_beyond_the_context_raises_from_the_stream(model: edgeinfer.Model) -> None:
    with pytest.raises(ContextLengthExceeded, match="length is 256"):
        next(model.generate([1] * 300))


@pytest.mark.parametrize("ask", ["generate", "chat"])
@pytest.mark.parametrize("text", ["so many words " * 100_000, f"so{' ' * 1_000_000}many"])
def test_a_text_that_cannot_fit_is_refused_before_it_is_read(
    model: edgeinfer.Model, ask: str, text: str
) -> None:
    with pytest.raises(ContextLengthExceeded, match="at least") as refused:
        getattr(model, ask)(text if ask == "generate" else [{"role": "user", "content": text}])
    assert refused.value.n_prompt > refused.value.n_context == 256
    assert refused.value.n_prompt <= len(model.tokenizer.encode(text))


def test_most_context_caps_one_request(model: edgeinfer.Model) -> None:
    options: dict[str, Any] = {"logit_bias": endless(model), "seed": 3}
    n = len(model.tokenizer.encode(PROMPT))
    full = [token.id for token in model.generate(PROMPT, max_tokens=40, **options)]
    stream = model.generate(PROMPT, most_context=n + 7, **options)
    assert [token.id for token in stream] == full[:7]
    assert stream.finish_reason == "length"
    with pytest.raises(
        ContextLengthExceeded, match=f"has {n} tokens, this model's maximum context length is {n}.*"
    ) as refused:
        next(model.generate(PROMPT, most_context=n, **options))
    assert refused.value.hint is not None
    assert "up to 256" in refused.value.hint
    shifting = model.generate(PROMPT, most_context=n + 7, max_tokens=40, context_shift=True, **options)
    assert len(list(shifting)) == 40
    assert shifting.usage.n_dropped > 0
    with pytest.raises(InvalidRequest, match="most_context"):
        model.generate(PROMPT, most_context=0)


def test_a_closed_model_refuses_and_its_streams_end(random_model: Path) -> None:
    model = edgeinfer.load(random_model, context_length=256)
    stream = model.generate(PROMPT, logit_bias=endless(model))
    next(stream)
    model.close()
    list(stream)
    assert stream.finish_reason in ("cancelled", "length")
    with pytest.raises(EdgeInferError, match="closed"):
        model.generate(PROMPT)
    model.close()


def test_a_model_without_a_template_still_continues_text(random_model: Path, tmp_path: Path) -> None:
    data = random_model.read_bytes()
    bare = tmp_path / "bare.gguf"
    bare.write_bytes(data.replace(b"tokenizer.chat_template", b"tokenizer.chat_templaxe"))
    with edgeinfer.load(bare, context_length=64) as model:
        assert len(list(model.generate(PROMPT, max_tokens=2, temperature=0))) == 2
        with pytest.raises(TemplateError, match="no chat template"):
            model.chat([{"role": "user", "content": "hi"}])


def test_loading_says_what_is_wrong_with_its_arguments(random_model: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        edgeinfer.load(tmp_path / "nothing.gguf")
    with pytest.raises(NotFound, match="is a folder"):
        edgeinfer.load(tmp_path)
    for arguments in ({"backend": "x"}, {"threads": 0}, {"context_length": 10**9}, {"kv_type": "f32"}):
        with pytest.raises(InvalidRequest):
            edgeinfer.load(random_model, **arguments)


def test_too_little_memory_is_told_before_anything_is_taken(
    random_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeinfer import machine

    monkeypatch.setattr(machine, "memory", lambda: machine.Memory(8 << 30, 32 << 20))
    with pytest.raises(NotEnoughMemory, match=r"needs .* GB KV .* 0.0 GB are available"):
        edgeinfer.load(random_model, context_length=256)


def test_every_kind_of_kv_answers(random_model: Path) -> None:
    for kv_type in get_args(KvType):
        with edgeinfer.load(random_model, kv_type=kv_type, context_length=64) as model:
            assert kv_type in model.description
            assert len(list(model.generate(PROMPT, max_tokens=2, temperature=0))) == 2


def test_nan_in_the_weights_ends_the_request_with_a_typed_error(random_model: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.gguf"
    data = bytearray(random_model.read_bytes())
    info = _native.gguf_open(str(random_model)).tensor("output_norm.weight")
    vector = _native.gguf_open(str(random_model)).tensor_bytes("output_norm.weight")
    at = data.index(vector)
    assert info["bytes"] == len(vector)
    data[at : at + 4] = np.float32(np.nan).tobytes()
    damaged.write_bytes(data)
    with edgeinfer.load(damaged, context_length=64) as model, pytest.raises(NonFiniteLogits, match="NaN"):
        list(model.generate(PROMPT, max_tokens=3))


def test_a_file_that_shrinks_ends_requests_with_a_typed_error(random_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "shrinks.gguf"
    path.write_bytes(random_model.read_bytes())
    with edgeinfer.load(path, context_length=64) as model:
        list(model.generate(PROMPT, max_tokens=3))
        os.truncate(path, 4096)
        with pytest.raises(ModelFileChanged):
            list(model.generate(PROMPT, max_tokens=3))


def test_a_forgotten_model_gives_its_thread_back_when_its_streams_are_gone(random_model: Path) -> None:
    before = threading.active_count()
    stream = edgeinfer.load(random_model, context_length=64).generate(PROMPT, max_tokens=4)
    assert len(list(stream)) >= 1
    assert threading.active_count() == before + 1
    del stream
    gc.collect()
    assert threading.active_count() == before


def test_a_conversation_is_found_again_after_a_restart(
    random_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEINFER_KV_DISK_BYTES", str(1 << 30))
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *names, **options: tmp_path)
    prompt = [i % 50 + 3 for i in range(400)]

    def answer(**options: str) -> tuple[list[edgeinfer.Token], int]:
        with edgeinfer.load(random_model, threads=1, context_length=512, **options) as model:
            stream = model.generate(prompt, max_tokens=5, seed=2)
            return list(stream), stream.usage.n_cached

    first, again = answer(), answer()
    assert first[0] == again[0]
    assert (first[1], again[1]) == (0, 399)
    for kv_type in ("q8_0", "iq4_nl"):  # other keys and values
        first, again = answer(kv_type=kv_type), answer(kv_type=kv_type)
        assert first[0] == again[0]
        assert (first[1], again[1]) == (0, 399)
    os.utime(random_model)
    assert answer()[1] == 0  # perhaps another model


def test_events_tell_how_far_a_prompt_is_read_and_then_the_tokens(random_model: Path) -> None:
    ids = tiny.token_ids(20) * 40
    with edgeinfer.load(random_model, context_length=1024) as model:
        events = list(model.generate(ids, max_tokens=3, seed=1).events())
        kinds = [type(event).__name__ for event in events]
        assert kinds == ["ReadingEvent", "Token", "Token", "Token"]
        assert events[0] == ReadingEvent(512, 800)
        assert events[1:] == list(model.generate(ids, max_tokens=3, seed=1))


def test_async_events_are_the_same(model: edgeinfer.Model) -> None:
    async def read() -> list[object]:
        return [event async for event in model.generate(PROMPT, max_tokens=5, seed=3).events()]

    assert asyncio.run(read()) == list(model.generate(PROMPT, max_tokens=5, seed=3))


def test_a_timeout_ends_an_answer(model: edgeinfer.Model) -> None:
    stream = model.generate(PROMPT, timeout=1e-6, logit_bias=endless(model))
    assert len(list(stream)) <= 1
    assert stream.finish_reason == "deadline"
    with pytest.raises(InvalidRequest, match="timeout must be more than 0"):
        model.generate(PROMPT, timeout=0)


def test_context_shift_goes_on_and_keeps_the_system_message(random_model: Path) -> None:
    messages = [{"role": "system", "content": "abc"}, {"role": "user", "content": "Hello"}]
    with edgeinfer.load(random_model, context_length=64) as model:
        full = list(model.chat(messages, seed=4, logit_bias=endless(model)))
        stream = model.chat(messages, seed=4, logit_bias=endless(model), context_shift=True, max_tokens=100)
        events = list(stream.events())
        tokens = [event for event in events if isinstance(event, edgeinfer.Token)]
        shifts = [event for event in events if isinstance(event, ShiftedEvent)]
        assert len(tokens) == 100 > len(full)
        assert [t.id for t in tokens[: len(full)]] == [t.id for t in full]
        assert stream.usage.n_dropped == sum(shift.n_dropped for shift in shifts) > 0
        # The next token is that of a prompt of what is left: the system message and the newer half.
        ids = model.encode_chat(messages) + [t.id for t in tokens[: len(full)]]
        other = model.encode_chat([messages[0], {"role": "user", "content": ""}])
        n_first = next(i for i, (a, b) in enumerate(zip(ids, other, strict=False)) if a != b)
        left = ids[:n_first] + ids[n_first + shifts[0].n_dropped :]
        row = model.logits(left)[-1]
        bias = Sampling(logit_bias=endless(model))
        expected = sample(row, bias, left, 4, n_dropped=shifts[0].n_dropped).id
        assert tokens[len(full)].id == expected


def test_alternatives_share_their_prompt(random_model: Path) -> None:
    ids = tiny.token_ids(20) * 20
    with edgeinfer.load(random_model, context_length=1024) as model:
        before = model.stats().room
        alternatives = model.alternatives(ids, 4, seed=9, max_tokens=10, logit_bias=endless(model))
        texts = [list(stream) for stream in alternatives]
        assert texts[0] == list(model.generate(ids, seed=9, max_tokens=10, logit_bias=endless(model)))
        assert len({tuple(t.id for t in text) for text in texts}) == 4
        assert [s.usage.n_cached for s in alternatives] == [0, 399, 399, 399]
        used = before - model.stats().room
        assert used <= 400 // 32 * 32 + 4 * 32, "each holds its own tail, the prompt is there once"


def test_the_best_alternative_is_the_likeliest(model: edgeinfer.Model) -> None:
    best = model.best_of(PROMPT, 5, seed=2, max_tokens=8, logit_bias=endless(model))
    answers = [
        list(s) for s in model.alternatives(PROMPT, 5, seed=2, max_tokens=8, logit_bias=endless(model))
    ]
    assert best.tokens == max(answers, key=lambda tokens: np.mean([t.logprob for t in tokens]))
    assert best.text == "".join(t.text for t in best.tokens)


def test_alternatives_of_a_chat_are_chats(model: edgeinfer.Model) -> None:
    messages = [{"role": "user", "content": "Hello"}]
    first = model.alternatives(messages, 2, seed=5, max_tokens=6)[0]
    assert list(first) == list(model.chat(messages, seed=5, max_tokens=6))
    with pytest.raises(InvalidRequest, match="at least one"):
        model.alternatives(messages, 0)
