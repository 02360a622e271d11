"""Requests made from our own OpenAPI document, right and wrong ones: none is more than the server can answer.

SCHEMA_CASES=2000 makes as many as it was meant to be run with by hand.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import schemathesis
from schemathesis.generation import GenerationMode
from serving import Served, serve

from edgeinfer.server.app import Limits

N_CASES = int(os.environ.get("SCHEMA_CASES", "150"))


@pytest.fixture(scope="module")
def limited(random_model: Path) -> Iterator[Served]:
    with serve(random_model, limits=Limits(request_s=20), context_length=64) as server:
        yield server


def test_no_request_is_more_than_the_server_can_answer(limited: Served) -> None:
    schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{limited.port}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    each = max(1, N_CASES // len(operations))
    for operation in operations:
        strategy = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
        wrong = operation.as_strategy(generation_mode=GenerationMode.NEGATIVE) if operation.body else strategy

        @hypothesis.settings(
            max_examples=each,
            deadline=None,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(case=strategy | wrong)
        def answers(case: schemathesis.Case) -> None:
            response = case.call(timeout=30)
            assert response.status_code < 500, f"{case.as_curl_command()}\n{response.text}"

        answers()
    assert limited.post(b'{"prompt": "one", "max_tokens": 1}', "/v1/completions")[0] == 200
