"""One answer on the terminal or in a pipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeinfer.cli import output
from edgeinfer.errors import InvalidRequest

if TYPE_CHECKING:
    from edgeinfer.client import Model
    from edgeinfer.engine.events import Usage
    from edgeinfer.streaming import Stream


def one_shot(
    name: str | None,
    prompt: str,
    loading: dict[str, Any],
    generation: dict[str, Any],
    *,
    system: str | None,
    raw: bool,
    as_json: bool,
    verbose: bool,
) -> None:
    """Load, answer, print, close."""
    import edgeinfer

    if raw and system is not None:
        raise InvalidRequest("--system has no meaning with --raw", hint="write it into the prompt")
    with edgeinfer.load(name, **loading) as model:
        stream = open_stream(model, prompt, generation, system=system, raw=raw)
        text = show(stream, quiet=as_json)
        if as_json:
            output.as_json(_report(model, text, stream))
        elif not text.endswith("\n"):
            output.data()
        if verbose:
            output.talk(speeds(stream.usage))


def open_stream(
    model: Model, prompt: str, generation: dict[str, Any], *, system: str | None, raw: bool
) -> Stream:
    """Start the answer to one prompt."""
    if raw:
        ids = model.tokenizer.encode(prompt, add_special=True, parse_special=True)
        return model.generate(ids, **generation)
    messages = [{"role": "user", "content": prompt}]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    return model.chat(messages, **generation)


def show(stream: Stream, *, quiet: bool = False, keep: list[str] | None = None) -> str:
    """Print an answer as it comes, made safe for terminals; returns it as the model wrote it.

    Its pieces are also appended to `keep`, for callers who need them even when it is interrupted.
    """
    parts = [] if keep is None else keep
    for token in stream:
        parts.append(token.text)
        if token.text and not quiet:
            output.data(output.safe_text(token.text), end="")
    return "".join(parts)


def speeds(usage: Usage) -> str:
    """What an answer cost, on one line."""
    cached = f", {usage.n_cached} cached" if usage.n_cached else ""
    return (
        f"prompt {usage.n_prompt} tokens{cached}, {usage.prompt_per_s:.1f} tokens/s; "
        f"first token after {usage.first_token_s * 1000:.0f} ms; "
        f"answer {usage.n_generated} tokens, {usage.generated_per_s:.1f} tokens/s"
    )


def _report(model: Model, text: str, stream: Stream) -> dict[str, Any]:
    usage = stream.usage
    return {
        "model": model.name,
        "text": text,
        "finish_reason": stream.finish_reason,
        "prompt_tokens": usage.n_prompt,
        "cached_tokens": usage.n_cached,
        "completion_tokens": usage.n_generated,
        "first_token_s": round(usage.first_token_s, 6),
        "total_s": round(usage.total_s, 6),
        "prompt_tokens_per_s": round(usage.prompt_per_s, 3),
        "tokens_per_s": round(usage.generated_per_s, 3),
    }
