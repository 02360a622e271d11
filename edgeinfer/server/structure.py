"""What an answer has to be, as bodies of requests say it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from edgeinfer.errors import InvalidRequest
from edgeinfer.server.bodies import InvalidParameter
from edgeinfer.text.grammar import Grammar

Schema = dict[str, Any] | bool


class SchemaFields(BaseModel):
    """A schema and how exactly it is meant."""

    model_config = ConfigDict(strict=True)

    schema_: Schema | None = Field(default=None, alias="schema")
    strict: bool | None = None  # without it keywords that cannot be enforced are ignored


class ResponseFormat(SchemaFields):
    """OpenAI's `response_format`, and `text.format` of its responses, which has the schema's fields itself.

    A json_object may have a schema too, as in llama.cpp.
    """

    type: Literal["text", "json_object", "json_schema"]
    json_schema: SchemaFields | None = None

    def grammar(self) -> Grammar | None:
        """None: any text. Raises InvalidRequest."""
        asked = self.json_schema or self
        if self.type == "text":
            return None
        if self.type == "json_object":
            return json_grammar(asked.schema_)
        if asked.schema_ is None:
            raise InvalidRequest("the schema is missing")
        return Grammar.json_schema(asked.schema_, lenient=not asked.strict)


class ConstrainedBody(BaseModel):
    """The fields by which llama.cpp's clients say what an answer has to be, and a regex."""

    grammar: str | None = None  # GBNF; "": none
    json_schema: Schema | None = None
    regex: str | None = None

    def answer_grammar(self) -> Grammar | None:
        """The one that is asked for; None: any text. Raises InvalidParameter, which names the field."""
        found = [name for name in self._grammars() if getattr(self, name) not in (None, "")]
        if len(found) > 1:
            raise InvalidParameter(found[1], f"an answer cannot follow {found[0]} too")
        for name in found:
            with naming(name):
                return self._grammars()[name](getattr(self, name))
        return None

    def _grammars(self) -> dict[str, Callable[[Any], Grammar | None]]:
        """Field -> what makes a grammar of its value."""
        return {"grammar": Grammar.gbnf, "json_schema": json_grammar, "regex": Grammar.regex}


@contextmanager
def naming(field: str) -> Iterator[None]:
    """Whatever is wrong is wrong with this field."""
    try:
        yield
    except InvalidRequest as error:
        raise InvalidParameter(field, error.message, hint=error.hint) from None


def json_grammar(schema: Schema | None) -> Grammar:
    """A schema as far as it can be enforced; None: any object."""
    return Grammar.json_object() if schema is None else Grammar.json_schema(schema, lenient=True)
