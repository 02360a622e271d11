"""The port as Ollama's own client uses it, on a small random model, and as editors were seen to ask."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any

import ollama
import pytest
from serving import Served

from edgeinfer.text.infill import Infill

CHAT: list[Any] = [{"role": "user", "content": "one of the words that we know"}]


@pytest.fixture
def client(served: Served) -> Iterator[ollama.Client]:
    with ollama.Client(f"http://127.0.0.1:{served.port}") as client:
        yield client


def test_a_chat_is_what_the_model_says(served: Served, client: ollama.Client) -> None:
    options: Any = {"seed": 5, "num_predict": 12}
    stream = served.model.chat(CHAT, seed=5, max_tokens=12)
    text = "".join(token.text for token in stream)
    whole = client.chat("random", CHAT, options=options, keep_alive=-1)
    assert whole.message.content == text
    assert whole.done_reason == stream.finish_reason
    assert (whole.prompt_eval_count, whole.eval_count) == (stream.usage.n_prompt, stream.usage.n_generated)
    parts = list(client.chat("random", CHAT, options=options, stream=True, keep_alive="5m"))
    assert "".join(p.message.content or "" for p in parts) == text
    assert [p.done for p in parts] == [False] * (len(parts) - 1) + [True]
    assert parts[-1].eval_count == whole.eval_count


def test_raw_text_is_continued_and_other_text_is_answered(served: Served, client: ollama.Client) -> None:
    options: Any = {"seed": 3, "num_predict": 9}
    raw = "".join(t.text for t in served.model.generate("one of", seed=3, max_tokens=9))
    assert client.generate("random", "one of", raw=True, options=options).response == raw
    messages = [{"role": "system", "content": "a word"}, {"role": "user", "content": "one of"}]
    chat = "".join(t.text for t in served.model.chat(messages, seed=3, max_tokens=9))
    parts = client.generate("random", "one of", system="a word", options=options, stream=True)
    assert "".join(part.response for part in parts) == chat


def test_each_token_names_the_likeliest_in_its_place(served: Served, client: ollama.Client) -> None:
    options: Any = {"seed": 3, "num_predict": 9, "temperature": 1.5}
    asked: Any = {"raw": True, "options": options, "logprobs": True, "top_logprobs": 3}
    tokens = served.model.generate("one of", seed=3, max_tokens=9, temperature=1.5, top_logprobs=3)
    ends = served.model.tokenizer.eog_ids
    expected = [(t.logprob, [p for _, p in t.top]) for t in tokens if t.id not in ends]

    def told(entries: Any) -> list[Any]:
        return [(entry.logprob, [t.logprob for t in entry.top_logprobs]) for entry in entries or ()]

    assert told(client.generate("random", "one of", **asked).logprobs) == expected
    parts = client.generate("random", "one of", stream=True, **asked)
    assert [entry for part in parts for entry in told(part.logprobs)] == expected
    chat = client.chat("random", CHAT, options=options, logprobs=True)
    assert [entry.top_logprobs for entry in chat.logprobs or ()] == [[]] * (chat.eval_count or 0)


def test_nothing_asked_only_loads(client: ollama.Client) -> None:
    assert client.generate("random").done_reason == "load"
    assert client.chat("random").done_reason == "load"
    assert client.generate("random", keep_alive=0).done_reason == "unload"


@pytest.mark.parametrize("most", [0, -1, -2])
def test_less_than_one_token_is_as_many_as_there_are(
    served: Served, client: ollama.Client, most: int
) -> None:
    n = len(served.model.encode_chat(CHAT))
    answer = client.chat("random", CHAT, options={"num_predict": most, "num_ctx": n + 5, "seed": 1})
    assert (answer.eval_count, answer.done_reason) == (5, "length")


def test_num_ctx_caps_one_request(served: Served, client: ollama.Client) -> None:
    n = len(served.model.encode_chat(CHAT))
    answer = client.chat("random", CHAT, options={"num_ctx": n + 3, "num_predict": -2})
    assert (answer.eval_count or 0) <= 3
    with pytest.raises(
        ollama.ResponseError, match=f"{n} tokens, this model's maximum context length is {n}"
    ) as refused:
        client.chat("random", CHAT, options={"num_ctx": n})
    assert refused.value.status_code == 400


def test_the_models(served: Served, client: ollama.Client) -> None:
    facts = served.model.facts
    [listed] = client.list().models
    assert (listed.model, listed.size, listed.digest) == ("random", facts.n_bytes, facts.digest)
    assert listed.modified_at is not None
    assert listed.modified_at.timestamp() == pytest.approx(facts.modified_at, abs=1e-3)
    assert listed.details is not None
    assert (listed.details.family, listed.details.quantization_level) == ("llama", "Q8_0")
    [running] = client.ps().models
    assert (running.model, running.digest, running.size_vram) == ("random", facts.digest, 0)
    assert running.context_length == 256
    assert client.pull("random").status == "success"


def test_what_is_shown_of_a_model(served: Served, served_bundled: Served, client: ollama.Client) -> None:
    shown = client.show("random")
    assert shown.template == served.model.template.source
    assert shown.modelinfo is not None
    assert shown.modelinfo["general.architecture"] == "llama"
    assert shown.modelinfo["llama.context_length"] == served.model.facts.count("context_length")
    assert shown.modelinfo["tokenizer.ggml.tokens"] is None
    assert shown.capabilities == ["completion"]
    assert shown.parameters == "num_ctx 256"
    with ollama.Client(f"http://127.0.0.1:{served_bundled.port}") as other:
        bundled = other.show("edgeinfer-tiny")
    assert bundled.capabilities == ["completion", "insert"]
    assert ".Suffix" in (bundled.template or "")  # Continue looks for it
    status, whole = served.post(b'{"model": "random", "verbose": true}', "/api/show")
    assert (status, len(whole["model_info"]["tokenizer.ggml.tokens"])) == (200, served.model.n_vocab)


def test_the_middle_is_filled_in(served_bundled: Served) -> None:
    around = Infill("def add(a, b):\n    return ", "\n\nprint(add(1, 2))\n")
    text = "".join(t.text for t in served_bundled.model.generate(around, seed=1, max_tokens=6))
    with ollama.Client(f"http://127.0.0.1:{served_bundled.port}") as client:
        options: Any = {"seed": 1, "num_predict": 6}
        answer = client.generate("edgeinfer-tiny", around.prefix, suffix=around.suffix, options=options)
    assert answer.response == text


WRONG: list[tuple[str, dict[str, Any], int, str]] = [
    ("chat", {"model": "llama3"}, 404, "no model is called"),
    ("chat", {"options": {"temperature": -3}}, 400, "temperature"),
    ("chat", {"messages": [{"role": "user", "content": "word " * 900}]}, 400, "length is 256"),
    ("chat", {"messages": [{"role": "user", "content": "x", "images": ["aa"]}]}, 400, "images"),
    ("chat", {"tools": [{"type": "function"}]}, 400, "tools[0].function"),
    ("chat", {"format": "yaml"}, 400, "format"),
    ("generate", {"prompt": "x", "suffix": "y"}, 400, "no tokens for filling in"),
    ("generate", {"prompt": "x", "images": ["aa"]}, 400, "images"),
    ("generate", {"prompt": "x", "template": "{{ .Prompt }}"}, 400, "template"),
    ("generate", {"prompt": "x", "context": [1, 2]}, 400, "context"),
    ("show", {"model": "llama3"}, 404, "no model is called"),
    ("embed", {"input": "x"}, 400, "not an embedding model"),
    ("pull", {"model": "llama3"}, 400, "does not fetch"),
    ("copy", {"source": "random", "destination": "x"}, 400, "has no file"),
    ("copy", {"source": "../x", "destination": "x"}, 404, "no model is called"),
    ("create", {"model": "x", "from": "/etc/passwd"}, 404, "no model is called"),
    ("create", {"model": "x", "files": {"a": "b"}, "from": "random"}, 400, "files"),
    ("nothing", {}, 404, "there is no"),
]


@pytest.mark.parametrize(("path", "wrong", "status", "match"), WRONG)
@pytest.mark.parametrize("stream", [False, True])
def test_a_wrong_request_is_refused_in_ollamas_shape(
    served: Served, path: str, wrong: dict[str, Any], status: int, match: str, stream: bool
) -> None:
    request = {"model": "random", "messages": CHAT, "stream": stream, **wrong}
    found, answer = served.post(json.dumps(request).encode(), f"/api/{path}")
    assert (found, answer.keys()) == (status, {"error"})
    assert match in answer["error"]


def test_web_pages_are_refused_in_ollamas_shape(served: Served) -> None:
    status, answer = served.post(b"{}", "/api/chat", Origin="https://evil.example")
    assert (status, type(answer["error"])) == (403, str)


def test_a_body_without_content_type_or_with_the_older_name_is_read(served: Served) -> None:
    # litellm's ollama/ sends empty images, gen.nvim no content type; the older field is `name`
    body = {"name": "random", "prompt": "### User:\nhi\n\n", "images": [], "stream": False}
    status, answer = served.post(json.dumps(body).encode(), "/api/generate")
    assert (status, answer["done"]) == (200, True)


ZED = {"keep_alive": -1, "options": {"num_ctx": 8933, "num_predict": 3, "stop": [], "temperature": 0.2}}
AVANTE = {"keep_alive": "5m", "options": {"temperature": 0, "num_ctx": 20480, "num_predict": 3}}


@pytest.mark.parametrize("fields", [ZED, AVANTE])
def test_what_editors_send_besides_is_taken(served: Served, fields: dict[str, Any]) -> None:
    body = {"messages": CHAT, "tools": [], "think": False, "format": "", "stream": False, "new": 1, **fields}
    status, answer = served.post(json.dumps({"model": "random", **body}).encode(), "/api/chat")
    assert (status, answer.get("done")) == (200, True), answer


def test_who_is_here(served: Served) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    for method, text in (("HEAD", b""), ("GET", b"Ollama is running")):
        connection.request(method, "/")
        response = connection.getresponse()
        assert (response.status, response.read()) == (200, text)
    connection.request("GET", "/api/version")
    told = json.loads(connection.getresponse().read())
    connection.close()
    assert tuple(map(int, told["version"].split("."))) >= (0, 13, 4)
    assert told["server"].startswith("edgeinfer")
