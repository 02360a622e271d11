"""The port as clients of llama.cpp use it, beside what llama.cpp's own server answers for the same model."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from goldens import llama_server
from serving import Served

RECORDED = json.loads((Path(llama_server.__file__).with_suffix(".json")).read_text(encoding="utf-8"))
# what has to be the same of an answer; of what is not named here only the keys
EQUAL = {
    *("index", "content", "tokens", "stop", "tokens_predicted", "tokens_evaluated", "prompt", "has_new_line"),
    *("truncated", "stop_type", "stopping_word", "tokens_cached", "n_prompt_tokens", "n_ctx", "code", "type"),
    *("role", "finish_reason", "usage", "completion_tokens", "prompt_tokens", "total_tokens", "n_vocab"),
    *("bos_token", "eos_token", "chat_template", "model_ftype", "status", "id_task", "token", "bytes"),
    *("top_k", "top_p", "min_p", "typical_p", "repeat_penalty", "dry_base", "xtc_threshold", "piece"),
    *("n_ctx_train", "n_embd", "n_params", "ftype", "generation_settings/top_k"),
}
# of llama.cpp's inside; nobody reads them
NOT_OURS = {
    *("media_marker", "ui", "ui_settings", "cors_proxy_enabled", "aliases", "tags", "models", "vocab_type"),
    *("dynatemp_range", "dynatemp_exponent", "top_n_sigma", "mirostat_tau", "mirostat_eta", "min_keep"),
    *("adaptive_target", "adaptive_decay", "n_keep", "n_discard", "chat_format", "reasoning_format"),
    *("reasoning_in_content", "generation_prompt", "speculative.types", "timings_per_token", "lora"),
    *("post_sampling_probs", "backend_sampling", "grammar", "grammar_lazy", "grammar_triggers"),
    *("preserved_tokens", "dry_sequence_breakers", "supports_object_arguments", "params"),
    *("supports_preserve_reasoning", "supports_reasoning_effort"),
}


def differences(ours: Any, theirs: Any, at: str = "") -> list[str]:
    """Where our answer lacks a field of theirs, or has another value where it must be the same."""
    if isinstance(theirs, dict):
        if not isinstance(ours, dict):
            return [f"{at}: {ours!r}"]
        found = [f"{at}.{key} is missing" for key in theirs.keys() - ours.keys() - NOT_OURS]
        both = [key for key in theirs if key in ours]
        return found + [d for key in both for d in differences(ours[key], theirs[key], f"{at}.{key}")]
    if isinstance(theirs, list) and isinstance(ours, list):
        if len(ours) != len(theirs) and not at.endswith("samplers"):
            return [f"{at}: {len(ours)} for {len(theirs)}"]
        pairs = zip(ours, theirs, strict=False)
        return [d for i, (a, b) in enumerate(pairs) for d in differences(a, b, f"{at}[{i}]")]
    same = ours == theirs if not isinstance(theirs, float) else ours == pytest.approx(theirs, rel=1e-6)
    key = at.rpartition(".")[2].partition("[")[0]
    return [] if same or key not in EQUAL else [f"{at}: {ours!r} for {theirs!r}"]


@pytest.mark.parametrize("i", range(len(RECORDED)))
def test_llama_server_answers_the_same(served_bundled: Served, i: int) -> None:
    asked = RECORDED[i]
    ours = llama_server.ask(f"http://127.0.0.1:{served_bundled.port}", asked["path"], asked["body"])
    theirs = asked["answer"]
    if asked["path"] == "/slots":
        ours, theirs = (ours[0], ours[1][:1]), theirs[:1]
    if asked["path"].startswith("/v1/") and "error" in theirs:  # code and type are OpenAI's there
        theirs["error"] = {name: theirs["error"][name] for name in ("n_prompt_tokens", "n_ctx")}
    assert ours[0] == asked["status"]
    assert differences(ours[1], theirs) == []


def complete(served: Served, path: str = "/completion", **body: Any) -> Any:
    status, answer = served.post(json.dumps(body).encode(), path)
    assert status == 200, answer
    return answer


def test_one_seed_is_one_text_whichever_way_it_comes(served: Served) -> None:
    body: dict[str, Any] = {"prompt": "one of", "seed": 7, "n_predict": 9}
    ids = served.model.tokenizer.encode("one of")
    text = "".join(token.text for token in served.model.generate(ids, seed=7, max_tokens=9))
    assert complete(served, **body)["content"] == text
    address = f"http://127.0.0.1:{served.port}"
    events = llama_server.ask(address, "/completion", {**body, "stream": True})[1]
    assert "".join(event["content"] for event in events) == text
    assert [event["stop"] for event in events] == [False] * (len(events) - 1) + [True]
    both = complete(served, **body, n_cmpl=2)
    assert [answer["index"] for answer in both] == [0, 1]
    assert both[0]["content"] == text
    any_seed = [complete(served, **{**body, "seed": -1})["content"] for _ in range(4)]
    assert len(set(any_seed)) > 1


def test_samplers_that_are_not_named_do_nothing(served: Served) -> None:
    body = {"prompt": "one of", "seed": 3, "n_predict": 9, "temperature": 0.1, "min_p": 0.9, "top_k": 3}
    ids = served.model.tokenizer.encode("one of")
    plain: Any = {"seed": 3, "max_tokens": 9, "temperature": 1.0, "top_p": 1.0, "min_p": 0.0}
    text = "".join(token.text for token in served.model.generate(ids, **plain, top_k=3))
    assert complete(served, **body, samplers=["top_k"])["content"] == text
    text = "".join(token.text for token in served.model.generate(ids, **plain, top_k=0))
    assert complete(served, **body, samplers=[])["content"] == text


def test_a_prompt_that_is_only_read_is_found_again(served: Served) -> None:
    prompt = "one of the words that we know " * 4
    warm = complete(served, prompt=prompt, n_predict=0)
    assert (warm["content"], warm["tokens_predicted"]) == ("", 0)
    again = complete(served, prompt=prompt, n_predict=1)
    assert again["timings"]["prompt_n"] == 1
    assert again["timings"]["cache_n"] == again["tokens_evaluated"] - 1


def test_files_without_room_are_left_out_and_that_is_told(served_bundled: Served) -> None:
    body = {"input_prefix": "def f():", "input_suffix": "\n", "n_predict": 8}
    extras = [{"text": f"x = {i}\n" * 60, "filename": f"{i}.py"} for i in range(4)]
    answer = complete(served_bundled, "/infill", **body, input_extra=extras)
    assert answer["truncated"]
    assert "x = 3" in answer["prompt"]
    assert "x = 0" not in answer["prompt"]
    assert not complete(served_bundled, "/infill", **body, input_extra=extras[:1])["truncated"]


def test_time_ends_an_answer_with_a_line(served: Served) -> None:
    [line] = served.model.tokenizer.encode("\n", add_special=False)[-1:]
    few = {"temperature": 0, "n_predict": 200, "ignore_eos": True, "t_max_predict_ms": 1}
    stopped = complete(served, prompt="one", **few, logit_bias=[[line, 100]])
    assert stopped["tokens_predicted"] < 200
    assert (stopped["stop_type"], stopped["has_new_line"]) == ("limit", True)
    assert complete(served, prompt="one", **few, logit_bias=[[line, False]])["tokens_predicted"] == 200


@pytest.mark.parametrize("n_indent", [1, 4, 8, 9])
def test_an_answer_ends_before_a_line_that_is_less_indented(served_bundled: Served, n_indent: int) -> None:
    body: dict[str, Any] = {
        "prompt": "def add(a, b):\n    ",
        "n_predict": 100,
        "temperature": 0,
        "ignore_eos": True,
    }
    whole = complete(served_bundled, **body)["content"]
    first, *lines = whole.split("\n")
    inside = list(itertools.takewhile(lambda line: line.startswith(" " * n_indent), lines))
    assert len(inside) < len(lines)
    answer = complete(served_bundled, **body, n_indent=n_indent)
    assert answer["content"].rstrip(" \t").removesuffix("\n") == "\n".join([first, *inside])
    assert answer["stop_type"] == "limit"


def test_reading_a_prompt_is_told_to_who_asks(served_bundled: Served) -> None:
    with served_bundled.model.generate("x", logit_bias={0: -1e4, 2: -1e4}) as other:
        next(other)  # beside an answer a prompt is read in pieces
        body = {"prompt": "word " * 400, "n_predict": 2, "stream": True, "return_progress": True}
        events = llama_server.ask(f"http://127.0.0.1:{served_bundled.port}", "/completion", body)[1]
    told = [event["prompt_progress"] for event in events if "prompt_progress" in event]
    assert told
    assert all(0 <= p["processed"] <= p["total"] == events[-1]["tokens_evaluated"] for p in told)


def test_nobody_is_told_where_a_file_is(served_bundled: Served) -> None:
    props = llama_server.ask(f"http://127.0.0.1:{served_bundled.port}", "/props", None)[1]
    assert props["model_path"] == props["model_alias"] == "edgeinfer-tiny"


def test_slots_tell_how_many_are_computing(served: Served) -> None:
    address = f"http://127.0.0.1:{served.port}"
    n = llama_server.ask(address, "/props", None)[1]["total_slots"]
    with served.model.generate(
        "one", max_tokens=200, logit_bias=dict.fromkeys(served.model.tokenizer.eog_ids, -1e4)
    ) as stream:
        next(stream)
        slots = llama_server.ask(address, "/slots", None)[1]
    assert [slot["is_processing"] for slot in slots] == [True] + [False] * (n - 1)


WRONG: list[tuple[str, dict[str, Any], int, str, str]] = [
    ("/completion", {}, 400, "invalid_request_error", "prompt: is missing"),
    ("/completion", {"prompt": {"prompt_string": "x"}}, 400, "invalid_request_error", "prompt"),
    ("/completion", {"prompt": []}, 400, "invalid_request_error", "prompt"),
    ("/completion", {"prompt": "x", "n_predict": -2}, 400, "invalid_request_error", "n_predict"),
    ("/completion", {"prompt": "x", "mirostat": 2}, 400, "invalid_request_error", "mirostat"),
    ("/completion", {"prompt": "x", "top_n_sigma": 1}, 400, "invalid_request_error", "top_n_sigma"),
    ("/completion", {"prompt": "x", "logit_bias": [[1]]}, 400, "invalid_request_error", "logit_bias"),
    ("/completion", {"prompt": "x", "logit_bias": {"": 1}}, 400, "invalid_request_error", "logit_bias"),
    ("/completion", {"prompt": [99999999]}, 400, "invalid_request_error", "token id 99999999"),
    ("/completion", {"prompt": "x", "temperature": "hot"}, 400, "invalid_request_error", "temperature"),
    ("/completion", {"prompt": "x", "model": "llama3"}, 404, "not_found_error", "no model is called"),
    ("/infill", {"input_suffix": "x"}, 400, "invalid_request_error", "input_prefix: is missing"),
    ("/infill", {"input_prefix": "", "input_suffix": ""}, 400, "invalid_request_error", "no tokens for"),
    (
        "/infill",
        {"input_prefix": "", "input_suffix": "", "input_extra": [{}]},
        400,
        "",
        "input_extra[0].text",
    ),
    ("/detokenize", {"tokens": [-1]}, 400, "invalid_request_error", "tokens[0]"),
    ("/detokenize", {"tokens": [10**20]}, 400, "invalid_request_error", "tokens[0]"),
    ("/detokenize", {"tokens": [10**8]}, 400, "invalid_request_error", "100000000"),
    ("/detokenize", {"tokens": "x"}, 400, "invalid_request_error", "tokens"),
    ("/tokenize", {"content": {"a": 1}}, 400, "invalid_request_error", "content"),
    ("/apply-template", {"messages": []}, 400, "invalid_request_error", "messages"),
]


@pytest.mark.parametrize(("path", "body", "status", "kind", "match"), WRONG)
def test_a_wrong_request_is_refused_in_llama_cpps_shape(
    served: Served, path: str, body: dict[str, Any], status: int, kind: str, match: str
) -> None:
    found, answer = served.post(json.dumps(body).encode(), path)
    error = answer["error"]
    assert (found, error["code"], error["type"]) == (status, status, kind or error["type"]), error
    assert match in error["message"]
