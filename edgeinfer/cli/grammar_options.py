"""Options that say what an answer has to be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeinfer.cli.options import Command
from edgeinfer.errors import InvalidRequest

if TYPE_CHECKING:
    from edgeinfer.text.grammar import Grammar


def grammar_options(command: Command) -> Command:
    """--json-schema, --grammar-file, --regex."""
    for option in (
        click.option("--regex", metavar="PATTERN", help="Answer what this matches as a whole."),
        click.option(
            "--grammar-file",
            type=click.Path(exists=True, dir_okay=False),
            metavar="FILE",
            help="Answer what a grammar in llama.cpp's format (GBNF) allows.",
        ),
        click.option(
            "--json-schema", metavar="SCHEMA", help="Answer JSON of this schema: a file, or itself."
        ),
    ):
        command = option(command)
    return command


def take_grammar(options: dict[str, Any]) -> Grammar | None:
    """Move what the answer has to be out of a command's options."""
    schema, file, regex = (options.pop(name) for name in ("json_schema", "grammar_file", "regex"))
    n_given = sum(value is not None for value in (schema, file, regex))
    if n_given == 0:
        return None
    if n_given > 1:
        raise InvalidRequest("--json-schema, --grammar-file and --regex exclude each other")
    from edgeinfer.text.grammar import Grammar

    if schema is not None:
        return Grammar.json_schema(_schema(schema))
    if file is not None:
        return Grammar.gbnf(Path(file).read_text(encoding="utf-8", errors="replace"))
    return Grammar.regex(regex)


def _schema(text: str) -> Any:
    """JSON, or what is in the file of that name."""
    try:
        if not text.lstrip().startswith(("{", "true", "false")):
            text = Path(text).read_text(encoding="utf-8")
        schema = json.loads(text)
        if not isinstance(schema, dict | bool):
            raise ValueError("it is no object")
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"--json-schema: {error}", hint="give a file, or the schema itself") from None
    return schema
