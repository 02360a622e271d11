"""Turns Python's standard library and our dialogues into rows of tokens."""

from __future__ import annotations

import random
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from .dialogues import chatml, write_dialogues
from .tokenizer import END, MIDDLE, PREFIX, SUFFIX

Document = list[tuple[str, bool]]  # pieces of text; True marks those that count fully in the loss
SKIPPED = {"test", "tests", "idle_test", "site-packages", "lib2to3", "pydoc_data", "turtledemo", "ensurepip"}
OTHER_WEIGHT = 0.1  # loss weight of what the user and the system say: enough to know the form


@dataclass(frozen=True)
class Rows:
    """Packed documents; the target of tokens[i, j] is tokens[i, j + 1]."""

    tokens: NDArray[np.uint16]  # (n_rows, length + 1)
    weights: NDArray[np.float32]  # (n_rows, length + 1), the loss weight of each token as a target


def library_sources() -> list[str]:
    """Source texts of the running interpreter's standard library, without tests and data tables."""
    root = Path(sysconfig.get_paths()["stdlib"])
    texts: list[str] = []
    for path in sorted(root.rglob("*.py")):
        if SKIPPED & set(path.relative_to(root).parts) or path.parent.name == "encodings":
            continue
        text = path.read_text(encoding="utf-8", errors="ignore")
        letters = sum(c.isalpha() or c.isspace() for c in text)
        if 200 < len(text) < 300_000 and letters > 0.6 * len(text):
            texts.append(text)
    return texts


def code_pieces(texts: list[str], rng: random.Random) -> Iterator[Document]:
    """Pieces of 5 to 40 lines, files and pieces in random order; half of them as fill-in-the-middle."""
    pieces: list[str] = []
    for text in texts:
        lines = text.splitlines(keepends=True)
        while lines:
            n = rng.randint(5, 40)
            pieces.append("".join(lines[:n]))
            lines = lines[n:]
    rng.shuffle(pieces)
    for piece in pieces:
        yield fill_in_middle(piece, rng) if rng.random() < 0.5 else [(piece + END, True)]


def fill_in_middle(piece: str, rng: random.Random) -> Document:
    """The piece with a hole: whole lines or a few characters, the filling last (prefix, suffix, middle)."""
    if rng.random() < 0.5:
        lines = piece.splitlines(keepends=True)
        a = rng.randrange(len(lines))
        b = min(len(lines), a + rng.randint(1, 4))
        before, hole, after = "".join(lines[:a]), "".join(lines[a:b]), "".join(lines[b:])
    else:
        i = rng.randrange(len(piece))
        j = min(len(piece), i + rng.randint(4, 120))
        before, hole, after = piece[:i], piece[i:j], piece[j:]
    return [(f"{PREFIX}{before}{SUFFIX}{after}{MIDDLE}{hole}{END}", True)]


def dialogue_pieces(n: int, seed: int) -> Iterator[Document]:
    """n dialogues in ChatML."""
    return (list(chatml(messages)) for messages in write_dialogues(n, seed))


def pack(documents: Iterable[Document], tokenizer: Tokenizer, length: int) -> Rows:
    """Rows of length + 1 tokens; each begins with the beginning of a document, its last one may be cut."""
    rows: list[list[int]] = []
    weights: list[list[float]] = []
    row: list[int] = []
    weight: list[float] = []
    documents = iter(documents)
    while batch := list(islice(documents, 1000)):
        pieces = [piece for document in batch for piece in document]
        encoded = tokenizer.encode_batch([text for text, _ in pieces])
        for (_, counts), ids in zip(pieces, (e.ids for e in encoded), strict=True):
            row += ids
            weight += [1.0 if counts else OTHER_WEIGHT] * len(ids)
            if len(row) > length and ids[-1] == 0:  # id 0 ends every document
                rows.append(row[: length + 1])
                weights.append(weight[: length + 1])
                row, weight = [], []
    return Rows(np.array(rows, dtype=np.uint16), np.array(weights, dtype=np.float32))
