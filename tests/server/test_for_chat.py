"""What `edgeinfer chat --connect` needs of a server beyond the dialects."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import pytest
from serving import Served

BIAS = {"0": -1e4, "2": -1e4}  # the bundled model does not end


def get(served: Served, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{served.port}{path}", timeout=20) as response:
        return json.load(response)


def chunks(served: Served, **body: Any) -> list[Any]:
    asked = {"messages": [{"role": "user", "content": "word " * 300}], "logit_bias": BIAS, **body}
    request = urllib.request.Request(
        f"http://127.0.0.1:{served.port}/v1/chat/completions",
        json.dumps({"stream": True, "max_tokens": 4, **asked}).encode(),
    )
    with urllib.request.urlopen(request, timeout=20) as response:
        lines = [line[6:] for line in response if line.startswith(b"data: {")]
    return [json.loads(line) for line in lines]


def test_a_chat_is_told_how_far_its_prompt_is(served_bundled: Served) -> None:
    with served_bundled.model.generate("x", logit_bias={0: -1e4, 2: -1e4}) as other:
        next(other)  # beside an answer a prompt is read in pieces
        told = chunks(served_bundled, return_progress=True)
    progress = [chunk["prompt_progress"] for chunk in told if "prompt_progress" in chunk]
    assert progress
    assert all(0 <= p["processed"] <= p["total"] for p in progress)
    assert "prompt_progress" not in json.dumps(chunks(served_bundled))


def test_timings_come_with_each_token_if_they_are_asked_for(served_bundled: Served) -> None:
    told = [c for c in chunks(served_bundled, timings_per_token=True) if "timings" in c]
    assert [c["timings"]["predicted_n"] for c in told][-1] == 4
    assert len(told) > 1
    last = told[-1]["timings"]
    assert (last["queue_ms"] >= 0, last["dropped_n"]) == (True, 0)
    assert len([c for c in chunks(served_bundled) if "timings" in c]) == 1


def test_a_full_context_goes_on_and_time_ends_an_answer_if_that_is_asked_for(served_bundled: Served) -> None:
    [*_, last] = chunks(served_bundled, context_shift=True, max_tokens=300)
    assert last["timings"]["dropped_n"] > 0
    assert last["timings"]["predicted_n"] == 300
    [*_, last] = chunks(served_bundled, context_shift=True, max_tokens=100_000, timeout=0.05)
    [choice] = last["choices"]
    assert (choice["finish_reason"], choice["stop_reason"]) == ("length", "deadline")


def test_stats_are_those_of_the_engine(served_bundled: Served) -> None:
    chunks(served_bundled)
    report, stats = get(served_bundled, "/stats?model=edgeinfer-tiny"), served_bundled.model.stats()
    assert report["description"] == served_bundled.model.description
    assert report["stats"]["n_generated"] == stats.n_generated
    assert report["stats"]["first_token"]["p99"] == stats.first_token.p99
    assert 0 < report["memory"]["available"] < report["memory"]["total"]
    assert 0 < report["resident_bytes"] < report["memory"]["total"]
    health = get(served_bundled, "/health")
    assert (health["server"].split()[0], health["models"]) == ("edgeinfer", ["edgeinfer-tiny"])
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get(served_bundled, "/stats?model=nobody")
