"""`edgeinfer run`: one answer, or a conversation line by line."""

from __future__ import annotations

import os
import re
import stat
import sys
from typing import Any

import click

from edgeinfer.cli import model_names, output
from edgeinfer.cli.answer import one_shot
from edgeinfer.cli.grammar_options import grammar_options, take_grammar
from edgeinfer.cli.options import (
    chosen_model,
    model_options,
    sampling_options,
    take_generation,
    take_model,
    thinking_options,
)
from edgeinfer.errors import InvalidRequest, NotFound
from edgeinfer.hub.names import looks_like_model


@click.command("run", short_help="Answer a prompt, or talk line by line.")
@model_names.argument("words", nargs=-1, metavar="[MODEL] [PROMPT]", only_first=True)
@model_names.option("The model; then all arguments are the prompt.")
@click.option("--system", metavar="TEXT", help="What the model should know and be.")
@click.option("--raw", is_flag=True, help="Continue the prompt as it is, without the chat template.")
@click.option(
    "--best-of",
    type=click.IntRange(min=1),
    default=1,
    metavar="N",
    help="Answer N times at once, print what the model finds likeliest.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end.")
@click.option("-v", "--verbose", is_flag=True, help="Tell speeds on stderr.")
@thinking_options
@grammar_options
@sampling_options
@model_options
def command(words: tuple[str, ...], model: str | None, **options: Any) -> None:
    """Answer PROMPT with MODEL, or talk line by line when there is no prompt.

    The first argument is the model if it names one: a bundled model (edgeinfer-tiny, edgeinfer-nano), a
    name of `edgeinfer list`, a file, or anything that ends in .gguf. Otherwise it is the prompt, and the
    model that `edgeinfer config` sets answers, or the bundled edgeinfer-tiny.
    A prompt of `-`, or no prompt and no terminal, is read from standard input; `PROMPT -` puts standard
    input below the prompt, and so does `PROMPT < FILE`.

    \b
    edgeinfer run "How do I download a model?"
    edgeinfer run model.gguf "Why is the sky blue?" --temperature 0
    git diff | edgeinfer run model.gguf "Write a commit message:" -
    """
    named, prompt = read_words(words, model)
    model = chosen_model(named)
    if prompt is None and not output.is_terminal(sys.stdin):
        prompt = _standard_input()
    loading, generation, grammar = take_model(options), take_generation(options), take_grammar(options)
    if prompt is not None:
        generation["grammar"] = grammar
        one_shot(model, prompt, loading, generation, **options)
        return
    from edgeinfer.cli.repl import loaded_to_talk, talk_with

    if options["as_json"] or options["raw"] or options["best_of"] > 1 or grammar is not None:
        raise InvalidRequest("--json, --raw, --best-of and what the answer has to be need a prompt")
    asked = {name: options[name] for name in ("system", "think", "hide_thinking", "verbose")}
    with loaded_to_talk(model, loading) as loaded:
        talk_with(loaded, generation, **asked)


def read_words(words: tuple[str, ...], model: str | None) -> tuple[str | None, str | None]:
    """(model, prompt) that the arguments mean; None for what is not there.

    Raises:
        NotFound: a word that can only be meant as a model, but is none.
    """
    rest = list(words)
    if model is None and rest and looks_like_model(rest[0]):
        model = rest.pop(0)
    elif model is None and rest and (len([w for w in rest if w != "-"]) > 1 or _reads_like_model(rest[0])):
        raise NotFound(
            f"no model is called {rest[0]!r}",
            hint="quote the prompt if it is one; `edgeinfer list` tells which models are here",
        )
    if not rest:
        return model, None
    if "-" in rest:
        rest[rest.index("-")] = _standard_input()
        return model, "\n\n".join(rest)
    return model, "\n\n".join([" ".join(rest), *_redirected()])


def _reads_like_model(word: str) -> bool:
    """llama3.2, qwen3:8b, org/name: no spaces, and a digit or a separator inside."""
    return re.fullmatch(r"[\w.-]+([:/][\w.-]+)+|[A-Za-z][\w-]*\d[\w.-]*", word) is not None


def _redirected() -> list[str]:
    """The text of `< FILE`, if there is one.

    A pipe may never end; a file of which some has been read is that of a loop over its lines, and not meant.
    """
    try:
        descriptor = sys.stdin.fileno()
        is_whole = os.lseek(descriptor, 0, os.SEEK_CUR) == 0
        is_meant = is_whole and stat.S_ISREG(os.fstat(descriptor).st_mode)
    except (OSError, ValueError):  # a pipe, or nothing of the system's
        return []
    text = _read_input() if is_meant else ""
    return [text] if text.strip() else []


def _standard_input() -> str:
    text = _read_input()
    if not text.strip():
        raise InvalidRequest(
            "the prompt is empty", hint='give one: edgeinfer run "How do I download a model?"'
        )
    return text


def _read_input() -> str:
    return sys.stdin.buffer.read().decode("utf-8", "replace").rstrip("\n")
