"""The port as OpenAI's own client uses it, on a small random model."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
import tiny
from serving import Served, serve

from edgeinfer.keys import Key
from edgeinfer.server.guard import Rules

CHAT: list[Any] = [{"role": "user", "content": "one of the words that we know"}]
KEY = "a-key-of-ours"


def test_a_chat_is_what_the_model_says(served: Served) -> None:
    answer = served.client().chat.completions.create(model="random", messages=CHAT, seed=5, max_tokens=12)
    stream = served.model.chat(CHAT, seed=5, max_tokens=12)
    text = "".join(token.text for token in stream)
    assert answer.choices[0].message.content == text
    assert answer.choices[0].finish_reason == stream.finish_reason
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == stream.usage.n_prompt
    assert answer.usage.completion_tokens == stream.usage.n_generated


def test_a_streamed_chat_is_the_same_in_parts(served: Served) -> None:
    options: Any = {"model": "random", "messages": CHAT, "seed": 5, "max_tokens": 12, "n": 2}
    whole = served.client().chat.completions.create(**options)
    options |= {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(served.client().chat.completions.create(**options))
    parts: dict[int, list[str]] = {0: [], 1: []}
    reasons = {}
    for chunk in chunks:
        for choice in chunk.choices:
            parts[choice.index].append(choice.delta.content or "")
            if choice.finish_reason is not None:
                reasons[choice.index] = choice.finish_reason
    assert ["".join(parts[i]) for i in (0, 1)] == [c.message.content for c in whole.choices]
    assert [reasons[i] for i in (0, 1)] == [c.finish_reason for c in whole.choices]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_a_completion_and_its_stream(served: Served) -> None:
    options: Any = {"model": "random", "prompt": "one of", "seed": 3, "max_tokens": 9, "logprobs": 0}
    whole = served.client().completions.create(**options)
    chunks = list(served.client().completions.create(**options, stream=True))
    assert "".join(c.choices[0].text for c in chunks) == whole.choices[0].text
    told = [p for c in chunks if c.choices[0].logprobs for p in c.choices[0].logprobs.token_logprobs]
    assert told == whole.choices[0].logprobs.token_logprobs


def test_a_chat_names_the_likeliest_of_each_place(served: Served) -> None:
    options: Any = {"model": "random", "messages": CHAT, "seed": 5, "max_tokens": 9}
    options |= {"temperature": 1.5, "logprobs": True, "top_logprobs": 3}
    tokenizer = served.model.tokenizer
    expected = [
        (token.logprob, [(list(tokenizer.token_bytes(i)), logprob) for i, logprob in token.top])
        for token in served.model.chat(CHAT, seed=5, max_tokens=9, temperature=1.5, top_logprobs=3)
        if token.id not in tokenizer.eog_ids
    ]

    def told(entries: Any) -> list[Any]:
        return [(e.logprob, [(t.bytes, t.logprob) for t in e.top_logprobs]) for e in entries]

    whole = served.client().chat.completions.create(**options)
    assert told(whole.choices[0].logprobs.content) == expected
    chunks = list(served.client().chat.completions.create(**options, stream=True))
    streamed = [e for c in chunks if c.choices[0].logprobs for e in c.choices[0].logprobs.content]
    assert told(streamed) == expected


def test_a_prompt_is_scored_as_evaluation_harnesses_do_it(served: Served) -> None:
    prompts = [served.model.tokenizer.encode(text) for text in ("one of the words", "that we know")]
    options: Any = {"model": "random", "prompt": prompts, "max_tokens": 1, "temperature": 0, "logprobs": 1}
    answer = served.client().completions.create(**options, echo=True)
    for ids, choice in zip(prompts, answer.choices, strict=True):
        told = choice.logprobs
        assert told.token_logprobs[:-1] == [None, *served.model.logprobs(ids)]
        rows = served.model.logits(ids)
        greedy = [row.argmax() == i for row, i in zip(rows, [*ids[1:], rows[-1].argmax()], strict=True)]
        best = [max(top.values()) for top in told.top_logprobs[1:]]
        assert [p == b for p, b in zip(told.token_logprobs[1:], best, strict=True)] == greedy


@pytest.mark.parametrize("prompt", ["one of thé words", [285, 32, 111, 102]])
@pytest.mark.parametrize("n", [0, 4])
def test_an_echo_is_the_prompt_and_its_scores_before_the_answer(served: Served, prompt: Any, n: int) -> None:
    options: Any = {"model": "random", "prompt": prompt, "seed": 3, "max_tokens": n, "n": 2, "echo": True}
    whole = served.client().completions.create(**options, logprobs=2)
    text = prompt if isinstance(prompt, str) else served.model.tokenizer.decode(prompt)
    for i, choice in enumerate(whole.choices):
        stream = served.model.generate(prompt, seed=3 + i, max_tokens=n, score_prompt=True, top_logprobs=2)
        assert choice.text == text + "".join(t.text for t in stream)
        told = choice.logprobs
        assert len(told.tokens) == len(told.top_logprobs) == len(told.token_logprobs)
        for token, offset in zip(told.tokens, told.text_offset, strict=True):
            broken = "\ufffd" in token + choice.text[offset : offset + 1]  # counted with what follows
            assert broken or choice.text.startswith(token, offset)
    chunks = list(served.client().completions.create(**options, logprobs=2, stream=True))
    for i, choice in enumerate(whole.choices):
        parts = [c.choices[0] for c in chunks if c.choices[0].index == i]
        assert "".join(part.text for part in parts) == choice.text
        for name, expected in choice.logprobs.model_dump().items():
            pieces = [part.logprobs.model_dump()[name] for part in parts if part.logprobs]
            assert [item for piece in pieces for item in piece] == expected
    plain = served.client().completions.create(**options)
    assert [c.text for c in plain.choices] == [c.text for c in whole.choices]


def test_the_models(served: Served) -> None:
    assert [model.id for model in served.client().models.list()] == ["random"]
    assert served.client().models.retrieve("random").owned_by == "edgeinfer"
    with pytest.raises(openai.NotFoundError, match="no model is called 'gpt'"):
        served.client().models.retrieve("gpt")


WRONG: list[tuple[dict[str, Any], type[openai.APIStatusError], str]] = [
    ({"model": "gpt-4o"}, openai.NotFoundError, "no model is called"),
    ({"logit_bias": {"9" * 5000: 1}}, openai.BadRequestError, "is not a token id"),
    ({"temperature": -3}, openai.BadRequestError, "temperature"),
    ({"top_logprobs": 2}, openai.BadRequestError, "needs logprobs"),
    ({"logprobs": True, "top_logprobs": 21}, openai.BadRequestError, "top_logprobs"),
    ({"messages": []}, openai.BadRequestError, "messages"),
    ({"messages": [{"role": "king", "content": "x"}]}, openai.BadRequestError, r"messages\[0\].role"),
    ({"tools": [{"type": "function"}]}, openai.BadRequestError, r"tools\[0\].function"),
    ({"tool_choice": "required"}, openai.BadRequestError, "there is none"),
    (
        {"tool_choice": {"type": "function", "function": {"name": "f"}}},
        openai.BadRequestError,
        "wants 'f' to be called",
    ),
    ({"messages": [{"role": "user", "content": "word " * 900}]}, openai.BadRequestError, "length is 256"),
]


@pytest.mark.parametrize(("wrong", "kind", "match"), WRONG)
@pytest.mark.parametrize("stream", [False, True])
def test_a_wrong_request_is_refused_in_openais_shape(
    served: Served, wrong: dict[str, Any], kind: type[openai.APIStatusError], match: str, stream: bool
) -> None:
    request: Any = {"model": "random", "messages": CHAT, "max_tokens": 4, "stream": stream, **wrong}
    with pytest.raises(kind, match=match) as refused:
        served.client().chat.completions.create(**request)
    assert {"message", "type", "param", "code"} <= refused.value.body.keys()


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[1]", b"[" * 100_000, b'{"messages": 1}'])
def test_bytes_that_are_no_request_are_refused(served: Served, body: bytes) -> None:
    status, answer = served.post(body)
    assert status == 400
    assert answer["error"]["message"]


def test_the_body_is_read_whatever_its_content_type(served: Served) -> None:
    body = json.dumps({"messages": CHAT, "max_tokens": 2}).encode()
    assert served.post(body)[0] == 200
    assert served.post(body, Content_Type="text/plain")[0] == 200


def test_web_pages_are_not_answered(served: Served) -> None:
    body = json.dumps({"messages": CHAT, "max_tokens": 2}).encode()
    assert served.post(body, Origin="https://evil.example")[0] == 403
    assert served.post(body, Sec_Fetch_Site="cross-site")[0] == 403
    assert served.post(body, Host="evil.example")[0] == 421
    assert served.post(body, Host=f"localhost:{served.port}")[0] == 200


def test_who_brings_no_key_is_refused(random_model: Path) -> None:
    with serve(random_model, Rules(keys=[Key(KEY)]), context_length=256) as server:
        assert [m.id for m in server.client(KEY).models.list()] == ["random"]
        with pytest.raises(openai.AuthenticationError, match="wants an API key"):
            server.client("another").models.list()
        body = json.dumps({"messages": CHAT, "max_tokens": 2}).encode()
        assert server.post(body, x_api_key=KEY)[0] == 200
        assert server.post(body)[0] == 401


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_ends_its_request(served: Served, stream: bool) -> None:
    forbidden = {str(i): -10000 for i in served.model.tokenizer.eog_ids}
    request = {"messages": CHAT, "stream": stream, "n": 8, "logit_bias": forbidden}
    connection = http.client.HTTPConnection("127.0.0.1", served.port)
    connection.request("POST", "/v1/chat/completions", json.dumps(request))
    if stream:
        connection.getresponse().read(200)
    else:
        while served.model.stats().n_running == 0:
            time.sleep(0.001)
    connection.close()
    end = time.monotonic() + 20
    while served.model.stats().n_running and time.monotonic() < end:
        time.sleep(0.01)
    assert served.model.stats().n_ended.get("cancelled", 0) > 0


def test_a_client_that_leaves_within_its_request_is_no_failure(
    capfd: pytest.CaptureFixture[str], served: Served
) -> None:
    with socket.create_connection(("127.0.0.1", served.port)) as client:
        client.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{")
        time.sleep(0.1)  # until the server waits for the rest
    assert len(list(served.client().models.list())) == 1
    served.stop()
    assert capfd.readouterr().err == ""


def test_equal_requests_at_once_read_their_prompt_once(served: Served) -> None:
    words = ["how", "many", "of", "them", "were", "used", "for", "all", "these", "other", "words"]
    body: Any = {"prompt": " ".join(words * 6), "suffix": None, "max_tokens": 9, "seed": 2, "model": "random"}
    together = threading.Barrier(3)

    def ask() -> str:
        with served.client() as client:
            together.wait()
            return client.completions.create(**body).choices[0].text

    with ThreadPoolExecutor(3) as threads:  # as minuet asks
        texts = [answer.result() for answer in [threads.submit(ask) for _ in range(3)]]
    assert len(set(texts)) == 1
    n = len(served.model.tokenizer.encode(body["prompt"]))
    stats = served.model.stats()
    assert n > 60
    assert stats.n_prompt == 3 * n
    assert stats.n_prompt - stats.n_cached == n + 2  # the last token of each is computed for what follows it


def test_many_clients_get_what_each_gets_alone(served: Served) -> None:
    def ask(seed: int) -> str | None:
        answer = served.client().chat.completions.create(
            model="random", messages=CHAT, seed=seed, max_tokens=10, temperature=1.2
        )
        return answer.choices[0].message.content

    alone = {seed: ask(seed) for seed in range(12)}
    found: dict[int, str | None] = {}
    threads = [threading.Thread(target=lambda s=seed: found.update({s: ask(s)})) for seed in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == alone


TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather in a city",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]


def test_a_conversation_with_calls_and_results_is_answered(serve_template: Callable[[str], Served]) -> None:
    served = serve_template(tiny.TEMPLATE)
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": '}}
    messages: list[Any] = [
        *CHAT,
        {"role": "assistant", "content": None, "reasoning_content": "Hm.", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "sunny"}]},
    ]
    options: Any = {"model": "model", "messages": messages, "tools": TOOLS, "seed": 5, "max_tokens": 12}
    extra = {"chat_template_kwargs": {"enable_thinking": False}}
    whole = served.client().chat.completions.create(**options, reasoning_effort="low", extra_body=extra)
    assert whole.choices[0].message.content
    assert whole.choices[0].message.tool_calls is None
    chunks = served.client().chat.completions.create(**options, stream=True, tool_choice="none")
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
