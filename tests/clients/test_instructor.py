"""instructor: typed answers, by tools and by schemas."""

from __future__ import annotations

from typing import Any, Literal

import openai
import pytest
from pydantic import BaseModel, Field

pytestmark = pytest.mark.filterwarnings("ignore")  # of the client's own

ASKED: list[dict[str, Any]] = [{"role": "user", "content": "Name a city and say how warm it is."}]


class Report(BaseModel):
    """The weather of a place."""

    city: Literal["Oslo", "Rome", "Quito"]
    degrees: int = Field(ge=-20, le=40)
    clouds: list[Literal["few", "many"]] = Field(max_length=3)


@pytest.mark.parametrize("mode", ["TOOLS", "TOOLS_STRICT", "JSON", "JSON_SCHEMA"])
def test_a_typed_answer(v1: str, mode: str) -> None:
    import instructor

    client = instructor.from_openai(
        openai.OpenAI(base_url=v1, api_key="any", max_retries=0), mode=instructor.Mode[mode]
    )
    ask: Any = client.chat.completions.create
    options: dict[str, Any] = {"model": "edgeinfer-tiny", "messages": ASKED, "max_retries": 0}
    if mode == "JSON":  # any JSON object is valid there, and instructor asks again until the type fits
        with pytest.raises(Exception, match=r"validation error|incomplete"):
            ask(response_model=Report, **options, max_tokens=60, seed=1)
        return
    report = ask(response_model=Report, **options, seed=1)
    assert isinstance(report, Report)
