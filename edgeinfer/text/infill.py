"""Prompts for filling in the middle: a model writes what belongs between two pieces of text.

The tokens that frame the pieces are named by the file or known by their texts (`Tokenizer.special`). Their
order is that of training: prefix, suffix, middle for all families but Mistral's, who end with the prefix
(Bavarian et al. 2022; Qwen2.5-Coder, Hui et al. 2024, for other files of the repository).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeinfer.errors import ContextLengthExceeded, InvalidRequest

if TYPE_CHECKING:
    from edgeinfer.text.tokenizer import Tokenizer

_SNIPPET = "\n\n--- snippet ---\n\n"  # before another file, where the model has no token for that


@dataclass(frozen=True)
class File:
    """Another piece of text that the model shall know."""

    name: str
    text: str


@dataclass(frozen=True)
class Infill:
    """What stands around the text that is wanted."""

    prefix: str
    suffix: str
    files: Sequence[File] = ()  # the most useful ones last
    beginning: str = ""  # of what is wanted
    n_answer: int = 128  # tokens that the files leave free for it


@dataclass(frozen=True)
class Framed:
    """A prompt.

    Attributes:
        n_files: how many of the files had room, the last ones.
    """

    ids: list[int]
    n_files: int


def can_infill(tokenizer: Tokenizer) -> bool:
    """Whether the vocabulary has the tokens for it."""
    return _frame(tokenizer) is not None


def frame(tokenizer: Tokenizer, infill: Infill, n_context: int) -> Framed:
    """The prompt, in less than `n_context` tokens. Of the files the first ones give way, whole.

    Raises:
        InvalidRequest: the model cannot do that.
        ContextLengthExceeded: the text around has no room.
    """
    tokens = _frame(tokenizer)
    if tokens is None:
        raise InvalidRequest(
            "this model has no tokens for filling in the middle",
            hint="take one that was trained for it, as Qwen2.5-Coder, or send no suffix",
        )
    bos = tokenizer.bos_id
    begin = [bos] if tokenizer.add_bos and bos is not None else []
    before, behind = infill.prefix + infill.beginning, infill.suffix
    around = tokens.around(_plain(tokenizer, before), _plain(tokenizer, behind))
    n = len(begin) + len(around)
    if n >= n_context:
        raise ContextLengthExceeded(n, n_context, hint="send less text around, or raise the context length")
    return _with_files(tokenizer, begin, infill.files, around, n_context - n - infill.n_answer)


@dataclass(frozen=True)
class _Frame:
    """Ids of the tokens before each piece; `middle` None: the prefix is last."""

    prefix: int
    suffix: int
    middle: int | None

    def around(self, prefix: list[int], suffix: list[int]) -> list[int]:
        if self.middle is None:
            return [self.suffix, *suffix, self.prefix, *prefix]
        return [self.prefix, *prefix, self.suffix, *suffix, self.middle]


def _frame(tokenizer: Tokenizer) -> _Frame | None:
    fim = tokenizer.special.fim
    if fim.prefix is not None and fim.suffix is not None and fim.middle is not None:
        return _Frame(fim.prefix, fim.suffix, fim.middle)
    prefix, suffix = tokenizer.find("[PREFIX]"), tokenizer.find("[SUFFIX]")
    return None if prefix is None or suffix is None else _Frame(prefix, suffix, None)


def _plain(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.encode(text, add_special=False)


def _with_files(
    tokenizer: Tokenizer, begin: list[int], files: Sequence[File], around: list[int], room: int
) -> Framed:
    repository, separator = tokenizer.special.fim.repository, tokenizer.special.fim.file_separator
    head = [repository, *_plain(tokenizer, "repository\n")] if repository is not None else []
    own = [separator, *_plain(tokenizer, "file\n")] if separator is not None else []
    pieces: list[list[int]] = []
    room -= len(head) + len(own)
    for file in reversed(files):
        if tokenizer.least_tokens([file.text]) > room:  # seconds of work for megabytes
            break
        piece = _piece(tokenizer, file, separator)
        room -= len(piece)
        if room < 0:
            break
        pieces.insert(0, piece)
    if not pieces:
        return Framed([*begin, *around], 0)
    return Framed([*begin, *head, *(i for piece in pieces for i in piece), *own, *around], len(pieces))


def _piece(tokenizer: Tokenizer, file: File, separator: int | None) -> list[int]:
    if separator is None:
        return _plain(tokenizer, _SNIPPET + file.text)
    return [separator, *_plain(tokenizer, f"{file.name}\n{file.text}")]
