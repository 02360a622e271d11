"""`edgeinfer tokenize`: a text in a model's tokens."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from edgeinfer.cli import model_names, output
from edgeinfer.text.safe import safe_text

if TYPE_CHECKING:
    from edgeinfer.text.tokenizer import Tokenizer


@click.command("tokenize", short_help="Cut text into a model's tokens.")
@click.argument("text", required=False)
@model_names.option("Whose tokens; default: edgeinfer-tiny.")
@click.option("--ids", is_flag=True, help="Print only the ids.")
@click.option("--count", is_flag=True, help="Print only how many there are.")
@click.option("--json", "as_json", is_flag=True, help="Print ids and pieces as JSON.")
@click.option("--special/--no-special", default=True, help="Add the model's BOS and EOS.  [--special]")
@click.option("--parse-special", is_flag=True, help="Let texts like <|im_end|> be the tokens they name.")
def command(
    text: str | None,
    model: str | None,
    ids: bool,
    count: bool,
    as_json: bool,
    special: bool,
    parse_special: bool,
) -> None:
    """Print the tokens of TEXT, or of standard input, one a line: id and piece."""
    from edgeinfer.loading import load_tokenizer

    if text is None:
        text = sys.stdin.buffer.read().decode("utf-8", "replace")
    tokenizer = load_tokenizer(model)
    found = tokenizer.encode(text, add_special=special, parse_special=parse_special)
    if as_json:
        output.as_json({"count": len(found), "ids": found, "pieces": [_piece(tokenizer, i) for i in found]})
    elif count:
        output.data(str(len(found)))
    elif ids:
        output.data(" ".join(map(str, found)))
    else:
        for i in found:
            output.data(f"{i:>7}  {_shown(_piece(tokenizer, i))}")


def _piece(tokenizer: Tokenizer, token: int) -> str:
    """The text of a token; the bytes of a broken character as U+FFFD, control tokens by name."""
    if tokenizer.is_special(token):
        return tokenizer.token_text(token)
    return tokenizer.token_bytes(token).decode("utf-8", "replace")


def _shown(piece: str) -> str:
    """A piece on one line, its ends visible."""
    return safe_text(repr(piece))
