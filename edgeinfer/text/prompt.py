"""A conversation as the one text that a model goes on from."""

from __future__ import annotations

from edgeinfer.text.conversation import Conversation
from edgeinfer.text.headers import without_volatile_header
from edgeinfer.text.messages import one_call_each, uniform
from edgeinfer.text.template import ChatTemplate, refuse_reserved
from edgeinfer.text.toolcalls.families import family_of
from edgeinfer.text.toolcalls.told import knows_tools, told, with_calls_as_content


def chat_prompt(template: ChatTemplate, asked: Conversation, *, keep_headers: bool = False) -> str:
    """The conversation up to the answer; encode it with `parse_special=True` and `add_special=False`.

    Args:
        keep_headers: also those that change with every request, see `without_volatile_header`.

    Raises:
        TemplateError: the template refuses it.
        InvalidRequest: a variable has a fixed meaning.
    """
    refuse_reserved(asked.variables)  # before they meet the names of arguments
    said = asked.messages if keep_headers else without_volatile_header(asked.messages)
    said, tools = uniform(said), asked.callable_tools
    if not knows_tools(template.source):
        said, tools = told(said, tools), []
    elif "tool_calls" not in template.source:
        said = with_calls_as_content(said, family_of(template.source))
    elif "tool_calls[0]" in template.source:  # Llama 3 refuses more than the first, gpt-oss leaves them out
        said = one_call_each(said)
    return template.render(said, tools=tools or None, **asked.variables)
