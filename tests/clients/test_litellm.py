"""litellm, by each of the dialects that it speaks."""

from __future__ import annotations

import json
from typing import Any

import pytest
from questions import CHAT, DAY

pytestmark = pytest.mark.filterwarnings("ignore")  # of the client's own

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a day",
        "parameters": DAY,
    },
}


@pytest.fixture(scope="module")
def litellm() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # no list of prices from the network
        import litellm

        yield litellm


@pytest.fixture(params=["openai", "lm_studio", "ollama_chat", "ollama", "anthropic"])
def target(request: pytest.FixtureRequest, v1: str, root: str) -> dict[str, Any]:
    provider = request.param
    base = v1 if provider in ("openai", "lm_studio") else root
    return {"model": f"{provider}/edgeinfer-tiny", "api_base": base, "api_key": "any", "temperature": 0.0}


def test_an_answer(litellm: Any, target: dict[str, Any]) -> None:
    answer = litellm.completion(messages=CHAT, max_tokens=40, **target)
    assert "edgeinfer pull" in answer.choices[0].message.content
    assert answer.usage.completion_tokens > 0


def test_a_stream_is_the_same_answer(litellm: Any, target: dict[str, Any]) -> None:
    whole = litellm.completion(messages=CHAT, max_tokens=40, **target)
    chunks = list(litellm.completion(messages=CHAT, max_tokens=40, stream=True, **target))
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert said == whole.choices[0].message.content


def test_a_tool_that_has_to_be_called(litellm: Any, v1: str) -> None:
    answer = litellm.completion(
        model="openai/edgeinfer-tiny",
        api_base=v1,
        api_key="any",
        messages=CHAT,
        tools=[WEATHER],
        tool_choice={"type": "function", "function": {"name": "weather"}},
    )
    [call] = answer.choices[0].message.tool_calls
    assert call.function.name == "weather"
    assert json.loads(call.function.arguments)["day"] in ("monday", "sunday")
    assert answer.choices[0].finish_reason == "tool_calls"


def test_a_prompt_that_does_not_fit_is_known_as_such(litellm: Any, v1: str) -> None:
    long = [{"role": "user", "content": "word " * 3000}]
    with pytest.raises(litellm.ContextWindowExceededError):
        litellm.completion(model="openai/edgeinfer-tiny", api_base=v1, api_key="any", messages=long)


def test_a_model_that_is_not_here(litellm: Any, v1: str) -> None:
    with pytest.raises(litellm.NotFoundError, match="no model is called"):
        litellm.completion(model="openai/nobody", api_base=v1, api_key="any", messages=CHAT)


def test_no_embeddings_from_a_model_that_has_none(litellm: Any, v1: str) -> None:
    with pytest.raises(litellm.BadRequestError, match="embedding"):
        litellm.embedding(model="openai/edgeinfer-tiny", api_base=v1, api_key="any", input=["text"])
