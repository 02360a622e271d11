"""langchain-openai."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from questions import QUESTION, TINY, Weather

pytestmark = pytest.mark.filterwarnings("ignore")  # of the client's own


@pytest.fixture(scope="module")
def chat(v1: str) -> Any:
    from langchain_openai import ChatOpenAI

    options: dict[str, Any] = {"model": TINY, "base_url": v1, "api_key": "any"}
    return ChatOpenAI(**options, temperature=0.0, max_tokens=200, max_retries=0)


def test_an_answer(chat: Any) -> None:
    answer = chat.invoke(QUESTION)
    assert "edgeinfer pull" in answer.content
    assert answer.usage_metadata["output_tokens"] > 0


def test_a_stream_is_the_same_answer(chat: Any) -> None:
    chunks = list(chat.stream(QUESTION))
    assert "".join(chunk.content for chunk in chunks) == chat.invoke(QUESTION).content


def test_most_tokens_hold(chat: Any) -> None:
    answer = chat.bind(max_tokens=3).invoke(QUESTION)
    assert answer.response_metadata["finish_reason"] == "length"
    assert answer.usage_metadata["output_tokens"] == 3


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_output(chat: Any, method: str) -> None:
    assert isinstance(chat.with_structured_output(Weather, method=method).invoke(QUESTION), Weather)


def test_a_tool_that_has_to_be_called(chat: Any) -> None:
    [call] = chat.bind_tools([Weather], tool_choice="Weather").invoke(QUESTION).tool_calls
    assert call["name"] == "Weather"
    assert Weather.model_validate(call["args"])


def test_a_conversation_with_the_result_of_a_tool(chat: Any) -> None:
    from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

    called = AIMessage("", tool_calls=[{"name": "Weather", "args": {"day": "monday"}, "id": "call_1"}])
    said = [
        SystemMessage("Be short."),
        HumanMessage(QUESTION),
        called,
        ToolMessage("warm", tool_call_id="call_1"),
    ]
    assert chat.bind_tools([Weather], tool_choice="none").invoke(said).content


def test_no_embeddings_from_a_model_that_has_none(v1: str) -> None:
    from langchain_openai import OpenAIEmbeddings

    embeddings = OpenAIEmbeddings(model=TINY, base_url=v1, api_key="any", check_embedding_ctx_length=False)
    with pytest.raises(openai.BadRequestError, match="embedding"):
        embeddings.embed_query("text")
