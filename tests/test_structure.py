"""Answers under random JSON schemas, judged by `jsonschema`; and the same answers in any company.

STRUCTURED_ANSWERS=1000 plays that many (60 by default).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

import edgeinfer
from edgeinfer import Grammar
from edgeinfer.streaming import Stream

N_ANSWERS = int(os.environ.get("STRUCTURED_ANSWERS", "60"))
N_BESIDE = 4  # answers at a time

names = st.text(alphabet='abcxyzé_ "', min_size=1, max_size=5)
small = st.integers(0, 4)


def bounds(low: str, high: str, values: st.SearchStrategy[Any] = small) -> st.SearchStrategy[dict[str, Any]]:
    """One, both or none of two keywords."""
    return st.tuples(values, values, st.booleans(), st.booleans()).map(
        lambda drawn: (
            ({low: min(drawn[:2])} if drawn[2] else {}) | ({high: max(drawn[:2])} if drawn[3] else {})
        )
    )


def typed(name: str, *keywords: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.tuples(*keywords).map(
        lambda found: {"type": name} | {k: v for some in found for k, v in some.items()}
    )


def objects(schemas: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    @st.composite
    def one(draw: st.DrawFn) -> dict[str, Any]:
        properties = draw(st.dictionaries(names, schemas, max_size=4))
        required = [name for name in properties if draw(st.booleans())]
        return {
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": draw(st.booleans() | schemas),
        }

    return one()


def arrays(schemas: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    prefix = st.lists(schemas, max_size=2).map(lambda some: {"prefixItems": some} if some else {})
    return typed("array", schemas.map(lambda items: {"items": items}), prefix, bounds("minItems", "maxItems"))


scalars = st.one_of(
    st.sampled_from([{"type": "null"}, {"type": "boolean"}, {"type": ["string", "null"]}]),
    typed("integer", bounds("minimum", "maximum", st.integers(-300, 300))),
    typed("number", bounds("minimum", "maximum", st.sampled_from([-2.5, 0, 0.25, 3, 1000]))),
    typed("string", bounds("minLength", "maxLength")),
    typed("string", st.sampled_from(["^[a-c]{2,4}$", r"^\d+$", "x"]).map(lambda p: {"pattern": p})),
    st.sampled_from(["uuid", "ipv4", "ipv6"]).map(lambda f: {"type": "string", "format": f}),
    st.lists(st.none() | st.booleans() | st.integers(-9, 99) | names, min_size=1, max_size=4).map(
        lambda values: {"enum": values}
    ),
    names.map(lambda value: {"const": value}),
)
schemas = st.recursive(
    scalars,
    lambda inner: st.one_of(
        objects(inner),
        arrays(inner),
        st.lists(inner, min_size=1, max_size=3).map(lambda some: {"anyOf": some}),
    ),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def models(random_model: Path) -> Iterator[list[edgeinfer.Model]]:
    """One that says anything, one that talks."""
    with edgeinfer.load(random_model, threads=2) as wild, edgeinfer.load(threads=2) as tame:
        yield [wild, tame]


def test_answers_under_random_schemas_are_valid(models: list[edgeinfer.Model]) -> None:
    n_whole = n_cut = 0

    @seed(5)
    @settings(
        max_examples=-(-N_ANSWERS // N_BESIDE),
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(schemas, st.integers(0, 2**32), st.integers(0, 1))
    def answers_are_valid(schema: Any, first_seed: int, which: int) -> None:
        nonlocal n_whole, n_cut
        options: dict[str, Any] = (
            {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0} if first_seed % 2 else {}
        )
        for stream in models[which].alternatives(
            "word", N_BESIDE, grammar=Grammar.json_schema(schema), seed=first_seed, max_tokens=150, **options
        ):
            text = "".join(token.text for token in stream)
            if stream.finish_reason == "stop":
                n_whole += 1
                jsonschema.validate(json.loads(text), schema, format_checker=jsonschema.FormatChecker())
            else:
                n_cut += 1
                assert stream.finish_reason == "length"

    answers_are_valid()
    print(f"{n_whole} whole answers, {n_cut} cut at max_tokens")
    assert n_whole > N_ANSWERS // 2


def test_the_same_answers_alone_and_in_a_batch(random_model: Path) -> None:
    grammar = Grammar.json_schema(
        {
            "type": "object",
            "properties": {"a": {"type": "string"}, "b": {"type": "array", "items": {"type": "number"}}},
        }
    )

    def ask(model: edgeinfer.Model, i: int) -> Stream:
        return model.generate(
            list(range(1, 40 + i)), grammar=grammar if i % 4 else None, seed=i, max_tokens=60
        )

    def read(stream: Stream) -> tuple[list[tuple[int, float]], str | None]:
        return [(token.id, token.logprob) for token in stream], stream.finish_reason

    with edgeinfer.load(random_model, threads=2, context_length=256) as model:
        together = [ask(model, i) for i in range(16)]
        found = [read(stream) for stream in together]
    with edgeinfer.load(random_model, threads=1, context_length=256) as model:
        assert [read(ask(model, i)) for i in range(16)] == found
