"""pydantic-ai: agents with typed results and tools."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from questions import QUESTION, TINY, Weather

pytestmark = pytest.mark.filterwarnings("ignore")  # of the client's own


@pytest.fixture(scope="module")
def model(v1: str) -> Any:
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    return OpenAIChatModel(TINY, provider=OpenAIProvider(base_url=v1, api_key="any"))


def agent(model: Any, **options: Any) -> Any:
    from pydantic_ai import Agent

    return Agent(model, model_settings={"temperature": 0.0, "max_tokens": 100}, **options)


def test_an_answer(model: Any) -> None:
    result = asyncio.run(agent(model).run(QUESTION))
    assert "edgeinfer pull" in result.output
    assert result.usage.output_tokens > 0


def test_a_typed_result(model: Any) -> None:
    assert isinstance(asyncio.run(agent(model, output_type=Weather).run(QUESTION)).output, Weather)


def test_a_typed_result_by_a_schema(model: Any) -> None:
    from pydantic_ai import NativeOutput

    asking = agent(model, output_type=NativeOutput(Weather))
    assert isinstance(asyncio.run(asking.run(QUESTION)).output, Weather)


async def _streamed(asking: Any) -> str:
    async with asking.run_stream(QUESTION) as result:
        return "".join([text async for text in result.stream_text(delta=True)])


def test_a_stream_is_the_same_answer(model: Any) -> None:
    whole = asyncio.run(agent(model).run(QUESTION))
    assert asyncio.run(_streamed(agent(model))) == whole.output
