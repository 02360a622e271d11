"""Where Markdown is cut while it grows, and that nothing of it is lost."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from textual.content import Content

from edgeinfer.tui.layout import laid_out
from edgeinfer.tui.pieces import Cutter, Piece

WORDS = st.lists(
    st.sampled_from(["word", "**bold**", "`code`", "a.", "end,", "naïve", "1.", "-", "日本"]), min_size=1
)
LINE = WORDS.map(" ".join)
LONG = st.integers(1, 900).map(lambda n: " ".join(f"w{i}" + "." * (i % 9 == 0) for i in range(n)))
ITEMS = st.lists(LINE, min_size=1, max_size=60).map(lambda lines: "\n".join(f"- {line}" for line in lines))
NUMBERED = st.integers(1, 80).map(lambda n: "\n".join(f"{i}. item {i}\n   - nested" for i in range(1, n)))
TABLE = st.integers(0, 150).map(
    lambda n: "| a | b |\n|---|---|" + "".join(f"\n| x{i} | some `y` {i} |" for i in range(n))
)
CODE = st.tuples(st.sampled_from(["```", "~~~~", "```python"]), st.integers(0, 150)).map(
    lambda x: "\n".join([x[0], *(f"x{i} = '``` no end'" for i in range(x[1])), re.sub(r"\w", "", x[0])])
)
QUOTE = LONG.map(lambda text: f"> {text}")
TEXT = st.lists(
    st.one_of(LINE, LONG, ITEMS, NUMBERED, TABLE, CODE, QUOTE, st.just("---"), st.just("# T")), max_size=8
)


def pieces(cutter: Cutter) -> list[Piece]:
    rest = cutter.rest(whole=True)
    return [*cutter.settled, *([rest] if rest is not None else [])]


@settings(max_examples=150, deadline=None)
@given(TEXT.map("\n\n".join), st.lists(st.integers(1, 3000)))
def test_how_a_text_comes_does_not_matter(text: str, lengths: list[int]) -> None:
    at_once, bit_by_bit = Cutter(), Cutter()
    at_once.add(text)
    start = 0
    for length in lengths:
        bit_by_bit.add(text[start : start + length])
        bit_by_bit.rest()
        start += length
    for character in text[start:][:2000]:
        bit_by_bit.add(character)
    bit_by_bit.add(text[start:][2000:])
    assert pieces(bit_by_bit) == pieces(at_once)


@settings(max_examples=50, deadline=None)
@given(TEXT.map("\n\n".join))
def test_nothing_is_lost_and_pieces_are_small(text: str) -> None:
    cutter = Cutter()
    cutter.add(text)
    found = pieces(cutter)
    shown = " ".join(piece.text for piece in found)
    for word in re.findall(r"(?:x|w|item )\d+", text):
        assert re.search(rf"{word}\b", shown)
    assert all(len(piece.text) < 4300 or piece.text.startswith(">") for piece in found)


def shown(text: str, width: int = 40) -> list[str]:
    return [line.rstrip() for line in laid_out(text, width).plain.split("\n")]


def test_long_tables_have_their_head_in_each_piece() -> None:
    cutter = Cutter()
    cutter.add("| name | n |\n|---|---|\n" + "".join(f"| row {i} | {i} |\n" for i in range(400)))
    found = pieces(cutter)
    assert len(found) > 1
    assert all(shown(piece.text)[0].split() == ["name", "\u2502", "n"] for piece in found)
    assert sum(len(shown(piece.text)) - 2 for piece in found) == 400


def test_backticks_that_may_begin_a_block_are_not_shown_yet() -> None:
    cutter = Cutter()
    cutter.add("Text\n\n``")
    assert cutter.rest() == Piece("Text\n\n")
    cutter.add("`py\nx")
    assert cutter.settled == [Piece("Text\n\n")]
    assert cutter.rest() == Piece("x", "py")
    cutter = Cutter()
    cutter.add("```" + " this opens no code" * 5)  # or not yet, and waiting would hide all of the line
    assert cutter.rest() is not None


def test_blocks_are_laid_out_in_the_columns_there_are() -> None:
    assert shown("# T\ntext") == ["T", "", "text"]
    assert shown("1. one two three four five six seven eight\n2. b\n   - c") == [
        "1. one two three four five six seven",
        "   eight",
        "2. b",
        "   \u25aa c",
    ]
    assert shown("> a\n> b\n\n---", 10) == ["\u258c a b", "", "\u2500" * 10]
    assert shown("<b>x</b> [t](https://a.b) ![p](c.png)") == ["<b>x</b> t (https://a.b) p (c.png)"]
    assert shown("|a|b|\n|-|-|\n|one two three|x|", 11) == [
        "a       \u2502 b",
        "\u2500" * 8 + "\u253c" + "\u2500" * 2,
        "one two \u2502 x",
        "three   \u2502",
    ]


def test_a_table_that_is_too_wide_is_told_row_by_row() -> None:
    table = "|name|size|here|\n|-|-|-|\n|first one|1 GB|yes|\n|second|2 GB|no|"
    assert shown(table, 14) == [
        *("name: first", "one", "size: 1 GB", "here: yes"),
        "\u2500" * 14,
        *("name: second", "size: 2 GB", "here: no"),
    ]
    assert max(map(len, shown("|" * 400 + "\n" + "|-" * 400 + "|"))) <= 40


@pytest.mark.parametrize("depth", [10, 48, 60, 3000])
def test_nothing_is_lost_however_deep_it_is(depth: int) -> None:
    quote = "> " * depth + "innermost"
    items = "\n".join("  " * i + f"- item{i}" for i in range(min(depth, 60)))
    for text in (quote, items):
        lines = [line[:40].lstrip("\u258c\u2022\u25aa\u2023\u2b51\u25e6>- ") for line in shown(text)]
        assert re.findall(r"[a-z]+\d*", "".join(lines)) == re.findall(r"[a-z]+\d*", text)


def test_characters_that_are_written_as_numbers_hide_nothing() -> None:
    [line] = shown("a&#x202e;b&#27;c")
    assert line == "a\\u202eb\ufffdc"


@settings(max_examples=50, deadline=None)
@given(TEXT.map("\n\n".join), st.integers(1, 120))
def test_no_line_is_wider_than_the_terminal(text: str, width: int) -> None:
    most = max(width, 30)  # of nested lists something is always seen
    lines = laid_out(re.sub(r"[`~]{3,}\w*", "", text), most).split("\n")
    assert all(Content(line.plain.rstrip()).cell_length <= most for line in lines)
