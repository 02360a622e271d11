"""One answer on the terminal or in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgeinfer.cli import output
from edgeinfer.engine.events import QueuedEvent, ReadingEvent
from edgeinfer.errors import InvalidRequest
from edgeinfer.streaming import Answer, Token
from edgeinfer.text.conversation import Conversation, thinking
from edgeinfer.text.safe import safe_text

if TYPE_CHECKING:
    from edgeinfer.chat_model import ChatStream
    from edgeinfer.client import Model
    from edgeinfer.engine.events import Usage
    from edgeinfer.text.messages import Message


def one_shot(
    name: str | None,
    prompt: str,
    loading: dict[str, Any],
    generation: dict[str, Any],
    *,
    system: str | None,
    raw: bool,
    best_of: int,
    think: bool | None,
    hide_thinking: bool,
    as_json: bool,
    verbose: bool,
) -> None:
    """Load, answer, print, close."""
    import edgeinfer

    if raw and system is not None:
        raise InvalidRequest("--system has no meaning with --raw", hint="write it into the prompt")
    with edgeinfer.load(name, **loading) as model:
        asked = _asked(model, prompt, system=system, raw=raw, think=think)
        if best_of > 1:
            answer = model.best_of(asked, best_of, **generation)
            if not as_json:
                output.data(safe_text(answer.text), end="")
        else:
            [stream] = model.alternatives(asked, 1, **generation)
            answer = Answer([], stream)
            show(stream, answer.tokens, quiet=as_json, thoughts=not hide_thinking)
        if as_json:
            output.as_json(_report(model, answer))
        elif not answer.text.endswith("\n"):
            output.data()
        tell_cost(answer.stream.usage, verbose=verbose)


def _asked(
    model: Model, prompt: str, *, system: str | None, raw: bool, think: bool | None
) -> list[int] | Conversation:
    """Token ids for a text to go on with, or a chat."""
    if raw:
        return model.tokenizer.encode(prompt, add_special=True, parse_special=True)
    messages = [{"role": "user", "content": prompt}]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    return chat(messages, think=think)


def chat(messages: Sequence[Message], *, think: bool | None) -> Conversation:
    """These messages, for a model that thinks or not; None: as its template has it."""
    return Conversation(messages, variables=thinking(think))


def show(stream: ChatStream, tokens: list[Token], *, quiet: bool = False, thoughts: bool = True) -> None:
    """Print an answer as it comes, made safe for terminals; to people also what the model thinks before it.

    Its tokens are appended to `tokens`, those that came also when it is interrupted.
    """
    thought = False
    with output.Status() as status:
        for event in stream.events():
            if isinstance(event, Token):
                status.clear()
                tokens.append(event)
                if event.reasoning and thoughts and not quiet and output.is_terminal(sys.stderr):
                    output.talk(output.paint(safe_text(event.reasoning), "dim", sys.stderr), end="")
                    thought = True
                if event.text and not quiet:
                    if thought:
                        output.talk("\n")
                        thought = False
                    output.data(safe_text(event.text), end="")
            elif isinstance(event, QueuedEvent) and not tokens:
                status.show(f"waiting: number {event.position} in the queue")
            elif isinstance(event, ReadingEvent) and not tokens:
                status.show(f"reading: {event.n_read} of {event.n_prompt} tokens")


def tell_cost(usage: Usage, *, verbose: bool) -> None:
    """What an answer cost, and always what it forgot."""
    if usage.n_dropped:
        output.talk(f"the context was full: {usage.n_dropped} tokens behind the first ones were forgotten")
    if verbose:
        output.talk(speeds(usage))


def speeds(usage: Usage) -> str:
    """What an answer cost, on one line."""
    cached = f", {usage.n_cached} cached" if usage.n_cached else ""
    return (
        f"prompt {usage.n_prompt} tokens{cached}, {usage.prompt_per_s:.1f} tokens/s; "
        f"first token after {usage.first_token_s * 1000:.0f} ms; "
        f"answer {usage.n_generated} tokens, {usage.generated_per_s:.1f} tokens/s"
    )


def _report(model: Model, answer: Answer) -> dict[str, Any]:
    usage = answer.stream.usage
    return {
        "model": model.name,
        "text": answer.text,
        **({"reasoning": answer.reasoning} if answer.reasoning else {}),
        "finish_reason": answer.stream.finish_reason,
        "prompt_tokens": usage.n_prompt,
        "cached_tokens": usage.n_cached,
        "completion_tokens": usage.n_generated,
        "dropped_tokens": usage.n_dropped,
        "first_token_s": round(usage.first_token_s, 6),
        "total_s": round(usage.total_s, 6),
        "prompt_tokens_per_s": round(usage.prompt_per_s, 3),
        "tokens_per_s": round(usage.generated_per_s, 3),
    }
