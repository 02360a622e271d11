"""Editors and agents as they really ask: their requests byte for byte, and what they read of the answers.

From the sources of the clients and from recordings; what is behind each is in the comment beside it.
"""

from __future__ import annotations

import json
import socket
import threading
from dataclasses import dataclass
from typing import Any

import pytest
from serving import Served

MODEL = "edgeinfer-tiny"  # has tokens for filling in the middle


@dataclass(frozen=True)
class Answered:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        assert self.status == 200, self.body
        return json.loads(self.body)

    def events(self) -> list[Any]:
        """Of a stream of server-sent events; every line of data begins with exactly `data: `."""
        assert self.status == 200, self.body
        lines = [line for line in self.body.decode().split("\n") if line and not line.startswith(":")]
        assert all(line.startswith("data: ") for line in lines)
        assert lines.pop() == "data: [DONE]"
        return [json.loads(line.removeprefix("data: ")) for line in lines]


def exchange(served: Served, request: bytes) -> Answered:
    """Send these bytes and read until the server closes."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=60) as client:
        client.sendall(request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
        received = b""
        while some := client.recv(65536):
            received += some
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        body = unchunked(body)
    return Answered(int(first.split()[1]), headers, body)


def unchunked(body: bytes) -> bytes:
    found = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        found, body = found + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return found


def get(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode()


def post(path: str, body: str | dict[str, Any], *headers: str) -> bytes:
    data = (body if isinstance(body, str) else json.dumps(body)).encode()
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1:8012", f"Content-Length: {len(data)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + data


JSON = "Content-Type: application/json"
CURL = ("User-Agent: curl/8.5.0", "Accept: */*")

# --- llama.vim: autoload/llama.vim

VIM = (
    '{"id_slot":0,"input_prefix":"def add(a, b):\\n","input_suffix":"\\nprint(add(1, 2))\\n","input_extra":'
    '[{"text":"def sub(a, b):\\n    return a - b\\n","time":[1795,271],"filename":"sub.py"}],"prompt":'
    '"    return ","n_predict":16,"stop":[],"n_indent":4,"top_k":40,"top_p":0.9,"stream":false,"samplers":'
    '["top_k","top_p","infill"],"cache_prompt":true,"t_max_prompt_ms":500,"t_max_predict_ms":1000,'
    '"response_fields":["content","timings/prompt_n","timings/prompt_ms","timings/prompt_per_token_ms",'
    '"timings/prompt_per_second","timings/predicted_n","timings/predicted_ms","timings/predicted_per_token_ms",'
    '"timings/predicted_per_second","truncated","tokens_cached"]}'
)
VIM_WARM_UP = (
    '{"id_slot":917,"input_prefix":"","input_suffix":"","input_extra":[{"text":"x = 1\\n","filename":"a.py"}'
    '],"prompt":"","n_predict":0,"temperature":0.0,"stream":false,"samplers":[],"cache_prompt":true,'
    '"t_max_prompt_ms":1,"t_max_predict_ms":1,"response_fields":[""]}'
)


def test_llama_vim_completes_and_warms_up(served_bundled: Served) -> None:
    answer = exchange(served_bundled, post("/infill", VIM, *CURL, JSON)).json()
    asked = json.loads(VIM)["response_fields"]
    assert list(answer) == asked
    assert isinstance(answer["content"], str)
    assert answer["timings/predicted_n"] > 0
    assert exchange(served_bundled, post("/infill", VIM_WARM_UP, *CURL, JSON)).json() == {}


# --- llama.vscode: src/llama-server.ts


def test_llama_vscode_finds_its_way(served_bundled: Served) -> None:
    [model] = exchange(served_bundled, get("/v1/models")).json()["data"]
    assert model["meta"]["n_ctx"] == 512
    assert exchange(served_bundled, get("/health")).json()["status"] == "ok"
    props = exchange(served_bundled, get("/props?model=&autoload=false")).json()
    assert props["default_generation_settings"]["n_ctx"] == 512
    assert props["total_slots"] > 0
    body = {"content": "def f", "add_special": False, "parse_special": True}
    assert exchange(served_bundled, post("/tokenize", body, JSON)).json()["tokens"]
    messages = {"messages": [{"role": "user", "content": "hi"}]}
    assert "hi" in exchange(served_bundled, post("/apply-template", messages, JSON)).json()["prompt"]
    infill = {**json.loads(VIM), "n_cmpl": 3, "lora": [], "response_fields": None}
    three = exchange(served_bundled, post("/infill", infill, JSON)).json()
    assert [answer["index"] for answer in three] == [0, 1, 2]


def test_llama_vscode_is_told_by_how_much_a_prompt_is_too_long(served_bundled: Served) -> None:
    body = {"messages": [{"role": "user", "content": "word " * 900}], "stream": True}
    refused = exchange(served_bundled, post("/v1/chat/completions", body, JSON))
    error = json.loads(refused.body)["error"]
    assert (refused.status, error["n_ctx"]) == (400, 512)
    assert error["n_prompt_tokens"] > 900


# --- Continue: core/llm/llms/Ollama.ts, LlamaCpp.ts, OpenAI.ts


def test_continue_reads_parameters_and_fills_in_where_the_template_has_a_suffix(
    served_bundled: Served,
) -> None:
    shown = exchange(served_bundled, post("/api/show", {"name": MODEL}, JSON)).json()
    assert ".Suffix" in shown["template"]
    parameters = dict(line.split() for line in shown["parameters"].split("\n"))
    assert parameters["num_ctx"] == "512"
    options = (
        '"temperature":0.01,"top_p":null,"top_k":null,"num_predict":6,"stop":["\\n\\n","/src/"],"num_ctx":8192,'
        '"mirostat":null,"num_thread":null,"use_mmap":null,"min_p":null,"num_gpu":null'
    )
    body = (
        f'{{"model":"{MODEL}","prompt":"def add(a, b):\\n    return ","suffix":"\\n","raw":true,"options":'
        f'{{{options}}},"keep_alive":1800,"stream":true}}'
    )
    answer = exchange(served_bundled, post("/api/generate", body, JSON, "Authorization: Bearer undefined"))
    lines = [json.loads(line) for line in answer.body.decode().split("\n") if line]
    assert [line["done"] for line in lines] == [False] * (len(lines) - 1) + [True]
    assert all(isinstance(line["response"], str) for line in lines)


def test_continue_streams_from_llama_cpp_with_a_key_that_is_none(served_bundled: Served) -> None:
    body = (
        '{"prompt":"def fib","n_predict":8,"stream":true,"top_k":40,"top_p":0.9,"min_p":0.05,"mirostat":0,'
        '"temperature":0.1,"stop":["\\n\\n"],"frequency_penalty":0,"presence_penalty":0}'
    )
    answer = exchange(served_bundled, post("/completion", body, JSON, "Authorization: Bearer undefined"))
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(e.removeprefix("data: ")) for e in answer.body.decode().split("\n\n") if e]
    assert "".join(event["content"] for event in events)
    assert events[-1]["stop"]


def test_continue_asks_openai_with_two_keys(served_bundled: Served) -> None:
    body = {
        "messages": [{"role": "user", "content": "hi"}],
        "model": MODEL,
        "max_tokens": 4,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    headers = (JSON, "Authorization: Bearer none", "api-key: none")
    *_, usage = exchange(served_bundled, post("/v1/chat/completions", body, *headers)).events()
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] > 0
    assert usage["timings"]["predicted_n"] == usage["usage"]["completion_tokens"]


def test_continue_fills_in_as_mistral_does(served_bundled: Served) -> None:
    body = {"model": MODEL, "prompt": "def add(a, b):\n", "suffix": "\nprint()", "max_tokens": 6, "stop": []}
    whole = exchange(served_bundled, post("/v1/fim/completions", {**body, "random_seed": 3}, JSON)).json()
    [choice] = whole["choices"]
    assert (whole["object"], choice["message"]["role"]) == ("chat.completion", "assistant")
    streamed = {**body, "random_seed": 3, "stream": True}
    events = exchange(served_bundled, post("/v1/fim/completions", streamed, JSON)).events()
    text = "".join(choice["delta"].get("content", "") for e in events for choice in e["choices"])
    assert text == choice["message"]["content"]


# --- Zed: crates/ollama, crates/lmstudio, crates/llama_cpp


def test_zed_reads_every_field_of_ollamas_lists(served: Served) -> None:
    [entry] = exchange(served, get("/api/tags")).json()["models"]
    assert {"name", "modified_at", "size", "digest", "details"} <= entry.keys()
    details = entry["details"]
    assert {"parent_model", "format", "family", "families", "parameter_size", "quantization_level"} <= (
        details.keys()
    )
    shown = exchange(served, post("/api/show", {"model": entry["name"]}, JSON)).json()
    assert isinstance(shown["capabilities"], list)
    assert shown["model_info"]["llama.context_length"] > 0


def test_zed_chats_with_ollama(served: Served) -> None:
    body = (
        '{"model":"random","messages":[{"role":"system","content":"a word"},{"role":"user","content":"one of"'
        ',"images":null}],"stream":true,"keep_alive":-1,"options":{"num_ctx":200,"num_predict":null,"stop":[],'
        '"temperature":1.0,"top_p":null},"tools":[],"think":null}'
    )
    answer = exchange(served, post("/api/chat", body, JSON))
    lines = [json.loads(line) for line in answer.body.decode().split("\n") if line]
    assert lines[-1]["done"]
    assert {"model", "created_at", "message", "done"} <= lines[0].keys()
    predict = {"num_predict": 6, "temperature": 0.2, "stop": ["\n\n"]}
    body_2 = {"model": "random", "prompt": "one of", "raw": True, "stream": False, "options": predict}
    assert exchange(served, post("/api/generate", body_2, JSON)).json()["response"]


def test_zed_reads_every_field_of_lm_studios_list(served_bundled: Served) -> None:
    answer = exchange(served_bundled, get("/api/v0/models")).json()
    [entry] = answer["data"]
    facts = served_bundled.model.facts
    assert entry == {
        "id": MODEL,
        "object": "model",
        "type": "llm",
        "publisher": "edgeinfer",
        "arch": "llama",
        "compatibility_type": "gguf",
        "quantization": "Q8_0",
        "state": "loaded",
        "max_context_length": facts.count("context_length"),
        "loaded_context_length": 512,
        "capabilities": [],
    }
    assert exchange(served_bundled, get(f"/api/v0/models/{MODEL}")).json() == entry
    missing = exchange(served_bundled, get("/api/v0/models/gpt"))
    assert (missing.status, "no model is called" in json.loads(missing.body)["error"]) == (404, True)


def test_zed_reads_llama_cpps_list_and_properties(served_bundled: Served) -> None:
    [model] = exchange(served_bundled, get("/v1/models")).json()["data"]
    assert model["meta"]["n_ctx"] == 512
    assert model["architecture"]["input_modalities"] == ["text"]
    assert model["status"]["value"] == "loaded"
    props = exchange(served_bundled, get("/props")).json()
    assert props["default_generation_settings"]["n_ctx"] == 512
    assert props["modalities"]["vision"] is False
    assert props["chat_template_caps"]["supports_tools"] is False


# --- minuet-ai.nvim: three identical requests at once


def test_what_minuet_asks_three_times_at_once_is_computed_once(served_bundled: Served) -> None:
    prompt = "".join(f"def add_{i}(a, b):\n    return a + b + {i}\n\n" for i in range(17))
    body = {"model": MODEL, "stream": True, "prompt": prompt, "suffix": "\n", "max_tokens": 5, "top_p": 0.9}
    request = post("/v1/completions", {**body, "n": 1}, JSON, *CURL, "Authorization: Bearer TERM")
    before = served_bundled.model.stats()
    answers: list[Answered] = []

    def ask() -> None:
        answers.append(exchange(served_bundled, request))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(answer.events()[0]["object"] == "text_completion" for answer in answers)
    after = served_bundled.model.stats()
    n_read = after.n_prompt - before.n_prompt
    assert n_read > 3 * 200
    assert n_read - (after.n_cached - before.n_cached) < n_read // 3 + 60


# --- gen.nvim: curl -d says that it is a form


def test_gen_nvim_sends_a_form_that_is_json(served: Served) -> None:
    body = {"model": "random", "messages": [{"role": "user", "content": "one"}], "stream": True}
    form = "Content-Type: application/x-www-form-urlencoded"
    few = {**body, "options": {"num_predict": 4}}
    assert exchange(served, post("/api/chat", few, *CURL, form)).status == 200
    without = exchange(served, post("/api/chat", few))
    assert json.loads(without.body.decode().rstrip("\n").split("\n")[-1])["done"]


# --- VS Code's own models (ollamaProvider.ts) and Codex ask for the version first


def test_vscode_and_codex_find_a_version_that_is_new_enough(served: Served) -> None:
    version = exchange(served, get("/api/version", JSON)).json()["version"]
    assert tuple(map(int, version.split("."))) >= (0, 13, 4)
    [entry] = exchange(served, get("/api/tags", JSON)).json()["models"]
    shown = exchange(served, post("/api/show", {"model": entry["model"]}, JSON)).json()
    info = shown["model_info"]
    assert info["general.basename"]
    assert info[f"{info['general.architecture']}.context_length"] > 0
    assert "completion" in shown["capabilities"]


def test_codex_pulls_a_model_that_is_there(served: Served) -> None:
    answer = exchange(served, post("/api/pull", {"model": "random", "stream": True}, JSON))
    assert [json.loads(line)["status"] for line in answer.body.splitlines()] == ["success"]


# --- litellm and aider: the older key, and another context length with every request


def test_aider_asks_for_another_context_each_time_and_gets_the_one_that_there_is(served: Served) -> None:
    for num_ctx in (8933, 9102, 8447):
        assert exchange(served, post("/api/show", {"name": "random"}, JSON)).json()["details"]
        messages = [{"role": "user", "content": "one of the words"}]
        options = {"temperature": 0, "num_ctx": num_ctx, "num_predict": 3}
        body = {"model": "random", "messages": messages, "options": options, "stream": False}
        assert exchange(served, post("/api/chat", body, JSON)).json()["eval_count"] > 0
        assert exchange(served, get("/api/ps")).json()["models"][0]["context_length"] == 256


# --- the Python client of Ollama: empty lists, and a content type on requests without a content


def test_ollama_py_sends_empty_lists(served: Served) -> None:
    body = (
        '{"model":"random","stream":false,"options":{"num_predict":3},"messages":[{"role":"user","content":"one"'
        ',"images":[]}],"tools":[]}'
    )
    assert exchange(served, post("/api/chat", body, JSON, "User-Agent: ollama-python/0.6.3")).json()["done"]
    assert exchange(served, get("/api/ps", JSON)).json()["models"]


# --- what any client of OpenAI's dialect may do

USER: dict[str, Any] = {"role": "user", "content": "one of"}
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
BIAS = {str(i): 1.0 for i in range(1025)}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}

CHATS: dict[str, dict[str, Any]] = {
    "no model": {"model": None},
    "an empty model": {"model": ""},
    "parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": "one"}]}]},
    "no content": {"messages": [USER, {"role": "assistant", "content": None}, USER]},
    "a developer": {"messages": [{"role": "developer", "content": "a word"}, USER]},
    "a tool's result": {
        "messages": [
            USER,
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "call_1", "content": "2"},
        ]
    },
    "a function's result": {"messages": [USER, {"role": "function", "name": "f", "content": "2"}]},
    "reasoning": {"messages": [USER, {"role": "assistant", "content": "x", "reasoning": "y"}, USER]},
    "reasoning content": {
        "messages": [USER, {"role": "assistant", "content": "x", "reasoning_content": "y"}, USER]
    },
    "thinking": {"messages": [USER, {"role": "assistant", "content": "x", "thinking": "y"}, USER]},
    "empty lists": {"tools": [], "stop": [], "functions": []},
    "an empty stop": {"stop": ""},
    "a choice of nothing": {"tool_choice": "auto", "parallel_tool_calls": False},
    "tools by name": {"tools": [TOOL], "tool_choice": "none"},
    "unknown fields": {"prompt_cache_key": "x", "service_tier": "auto", "store": False, "metadata": {}},
    "plain text": {"response_format": {"type": "text"}, "modalities": ["text"]},
    "a number without a fraction": {"temperature": 1, "top_p": 1},
    "nothing": dict.fromkeys(
        [
            *("stop", "n", "stream", "stream_options", "temperature", "top_p", "logit_bias", "seed", "tools"),
            *("tool_choice", "response_format", "presence_penalty", "frequency_penalty", "logprobs"),
            *("top_logprobs", "user", "functions", "max_completion_tokens", "parallel_tool_calls"),
        ]
    ),
}


@pytest.mark.parametrize("quirk", CHATS)
def test_a_chat_is_read_as_it_is_meant(served: Served, quirk: str) -> None:
    body = {"model": "random", "messages": [USER], "max_tokens": 3, **CHATS[quirk]}
    answer = exchange(served, post("/v1/chat/completions", body, JSON)).json()
    assert answer["choices"][0]["message"]["role"] == "assistant"
    assert 0 < answer["usage"]["completion_tokens"] <= 3


@pytest.mark.parametrize(
    "name", ["max_tokens", "max_completion_tokens", "max_new_tokens", "max_output_tokens", "n_predict"]
)
@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/v1/chat/completions", {"messages": [USER]}),
        ("/v1/completions", {"prompt": "one of"}),
        ("/completion", {"prompt": "one of"}),
    ],
)
def test_the_number_of_tokens_has_many_names(
    served: Served, path: str, asked: dict[str, Any], name: str
) -> None:
    ends = {str(i): -100 for i in served.model.tokenizer.eog_ids}
    answer = exchange(served, post(path, {**asked, name: 5, "logit_bias": ends}, JSON)).json()
    assert answer["timings"]["predicted_n"] == 5


def test_less_than_no_tokens_is_no_limit(served: Served) -> None:
    body = {"messages": [USER], "max_tokens": -1, "stop": None}
    ends = {str(i): -100 for i in served.model.tokenizer.eog_ids}
    answer = exchange(served, post("/v1/chat/completions", {**body, "logit_bias": ends}, JSON)).json()
    assert answer["usage"]["total_tokens"] == served.model.context_length


@pytest.mark.parametrize("prompt", ["one", ["one", "of"], [300, 301], [[300, 301], [302]]])
def test_a_prompt_may_be_text_or_tokens(served: Served, prompt: Any) -> None:
    body = {"prompt": prompt, "max_tokens": 2, "name": "random"}
    choices = exchange(served, post("/v1/completions", body, JSON)).json()["choices"]
    assert len(choices) == (2 if isinstance(prompt[0], (list, str)) and len(prompt) == 2 else 1)


@pytest.mark.parametrize("path", ["/v1/completions", "/completion"])
def test_nobody_gets_thousands_of_answers_to_one_request(served: Served, path: str) -> None:
    refused = exchange(served, post(path, {"prompt": ["one"] * 1025, "n": 2}, JSON))
    assert (refused.status, "2050 answers" in json.loads(refused.body)["error"]["message"]) == (400, True)
    assert served.model.stats().n_running == 0


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/responses", "/api/chat"])
@pytest.mark.parametrize("bias", [5, [1], {"5": "x"}])
def test_a_field_of_another_dialect_is_ignored(served: Served, path: str, bias: Any) -> None:
    said = {"messages": [{"role": "user", "content": "one"}], "input": "one"}
    body = {**said, "max_tokens": 2, "options": {"num_predict": 2}, "logit_bias": bias}
    assert exchange(served, post(path, body, JSON)).status == 200


MESSAGES = [{"role": "user", "content": "one"}] * 16_385
BIAS = {str(i): 1.0 for i in range(1025)}
TOOL = {"type": "function", "name": "f", "input_schema": {}, "function": {"name": "f"}}


@pytest.mark.parametrize(
    ("path", "fields", "wrong"),
    [
        ("/v1/chat/completions", {"logit_bias": BIAS}, "logit_bias: must have at most 1024, not 1025"),
        ("/completion", {"logit_bias": BIAS}, "logit_bias: must have at most 1024, not 1025"),
        ("/v1/chat/completions", {"messages": MESSAGES}, "messages: must have at most 16384, not 16385"),
        ("/v1/messages", {"messages": MESSAGES}, "messages: must have"),
        ("/api/chat", {"messages": MESSAGES}, "messages: must have"),
        ("/v1/responses", {"input": MESSAGES}, "input: must have"),
        ("/v1/chat/completions", {"tools": [TOOL] * 1025}, "tools: must have at most 1024, not 1025"),
        ("/v1/messages", {"tools": [{"name": "f", "input_schema": {}}] * 1025}, "tools: must have"),
        ("/api/chat", {"tools": [TOOL] * 1025}, "tools: must have"),
        ("/v1/responses", {"input": "one", "tools": [TOOL] * 1025}, "tools: must have"),
    ],
)
def test_nobody_brings_thousands_of_things(
    served: Served, path: str, fields: dict[str, Any], wrong: str
) -> None:
    body = {"max_tokens": 1, "messages": MESSAGES[:1], **fields}
    if path in ("/v1/completions", "/completion"):
        body["prompt"] = "one"
    refused = exchange(served, post(path, body, JSON))
    assert (refused.status, wrong in refused.body.decode()) == (400, True), refused.body


@pytest.mark.parametrize(
    "header",
    ["Authorization: Bearer x", "x-api-key: x", "api-key: x", "Authorization: Bearer", "Authorization: "],
)
def test_any_key_does_where_none_is_wanted(served: Served, header: str) -> None:
    assert exchange(served, get("/v1/models", header)).status == 200


@pytest.mark.parametrize(
    "path", ["/v1/models", "/v1/models/", "/v1/v1/models", "//v1/models", "/models", "/v1/models/random/"]
)
def test_a_path_is_read_as_it_is_meant(served: Served, path: str) -> None:
    answer = exchange(served, get(path)).json()
    assert (answer["data"][0] if "data" in answer else answer)["id"] == "random"


@pytest.mark.parametrize("path", ["/v1/chat/completions/", "/v1/v1/chat/completions", "/chat/completions"])
def test_a_chat_is_answered_wherever_it_is_sent(served: Served, path: str) -> None:
    assert exchange(served, post(path, {"messages": [USER], "max_tokens": 2})).json()["choices"]


@pytest.mark.parametrize("path", ["/", "/v1/models", "/v1/chat/completions", "/api/tags", "/api/chat"])
@pytest.mark.parametrize("method", ["HEAD", "OPTIONS"])
def test_looking_at_a_path_is_no_error(served: Served, method: str, path: str) -> None:
    answer = exchange(served, f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert (answer.status // 100, answer.body) == (2, b"")


@pytest.mark.parametrize("keep_alive", [0, -1, 1800, 0.5, "5m", "-1", "24h", None])
def test_a_model_is_kept_in_many_words(served: Served, keep_alive: Any) -> None:
    body = {"model": "random", "messages": [USER], "options": {"num_predict": 2}, "stream": False}
    answer = exchange(served, post("/api/chat", {**body, "keep_alive": keep_alive}, JSON)).json()
    assert answer["done_reason"] in ("stop", "length")


def test_avante_asks_for_more_than_there_is(served: Served) -> None:
    body = {
        "model": "random",
        "messages": [{"role": "developer", "content": "a word"}, USER],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_completion_tokens": 16384,
        "reasoning_effort": "medium",
        "temperature": 0.75,
    }
    *_, usage = exchange(served, post("/v1/chat/completions", body, JSON)).events()
    assert 0 < usage["usage"]["total_tokens"] <= 256


@pytest.mark.parametrize("half", ["\\ud83d", "\\ude00 \\ud83d"])
def test_half_an_emoji_is_one_character_that_is_none(served: Served, half: str) -> None:
    body = f'{{"prompt": "one {half}", "n_predict": 1, "stop": ["{half}"]}}'
    answer = exchange(served, post("/completion", body, JSON)).json()
    whole = "\N{REPLACEMENT CHARACTER}"
    assert answer["generation_settings"]["stop"] == [whole if len(half) < 9 else f"{whole} {whole}"]
    pair = exchange(served, post("/tokenize", '{"content": "\\ud83d\\ude00"}', JSON)).json()
    assert pair["tokens"] == served.model.tokenizer.encode("\N{GRINNING FACE}", add_special=False)
