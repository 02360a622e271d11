"""Prompts that do not fit, on every door: refused with figures and advice, at once, and never cut."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from serving import Served

TEXT = "What a prompt! " * 700_000
CHAT = [{"role": "user", "content": TEXT}]
DOORS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": CHAT},
    "/v1/completions": {"prompt": TEXT},
    "/v1/responses": {"input": TEXT},
    "/v1/messages": {"messages": CHAT, "max_tokens": 5},
    "/api/chat": {"messages": CHAT},
    "/api/generate": {"prompt": TEXT, "raw": True},
    "/completion": {"prompt": TEXT},
}


@pytest.mark.parametrize("path", DOORS)
@pytest.mark.parametrize("stream", [False, True])
def test_ten_megabytes_are_refused_with_figures_and_advice(served: Served, path: str, stream: bool) -> None:
    body = {"model": "random", "stream": stream, **DOORS[path]}
    status, answer = served.post(json.dumps(body).encode(), path)
    error = answer["error"]
    told = error if isinstance(error, str) else error["message"]
    assert status == 400
    found = re.search(r"at least (\d+) tokens, this model's maximum context length is 256; shorten", told)
    assert found
    if "n_ctx" in error:
        assert (error["n_prompt_tokens"], error["n_ctx"]) == (int(found[1]), 256)


def test_programs_read_the_figures(served: Served) -> None:
    n = len(served.model.tokenizer.encode("many words " * 200))
    body = {"model": "random", "prompt": "many words " * 200}
    for path in ("/v1/completions", "/completion"):
        status, answer = served.post(json.dumps(body).encode(), path)
        assert (status, answer["error"]["n_prompt_tokens"], answer["error"]["n_ctx"]) == (400, n, 256)


def test_more_tokens_than_fit_end_by_length(served: Served) -> None:
    forbidden = {str(i): -10000 for i in served.model.tokenizer.eog_ids}
    answer = served.client().completions.create(
        model="random", prompt="one of", max_tokens=100_000, logit_bias=forbidden
    )
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.total_tokens == 256
