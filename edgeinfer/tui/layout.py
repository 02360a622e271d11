"""Markdown as lines of text with styles, as wide as the terminal.

Styles are names of component classes, which the style sheet gives colours. A line that was broken at a space
keeps it at its end, so that selected text can be put together again.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from itertools import chain, zip_longest

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode
from textual.content import Content

from edgeinfer.text.safe import safe_text

STYLES = {
    *("h1", "h2", "h3", "h4", "h5", "h6", "strong", "em", "s", "code", "link", "bullet", "quote", "rule"),
    *("table-head", "block"),
}
_BULLETS = ("\u2022 ", "\u25aa ", "\u2023 ", "\u2b51 ", "\u25e6 ")
_LEAST = 8  # columns of text, however deep it is nested
_DEEPEST = 100  # levels of nesting; a list in a list is two, and takes two columns of each line
_LEAST_CELL = 4  # columns of a table's cells; with less, rows are shown one below the other
Lines = list[Content]


def laid_out(text: str, width: int) -> Content:
    """A text without code blocks of its own, as it was written if it is too deep; `width` in columns."""
    width = max(width, _LEAST)
    tokens = _parser().parse(text)
    if max((token.level for token in tokens), default=0) >= min(width // 2, _DEEPEST):
        return Content("\n").join(_wrapped(Content(text.rstrip("\n").expandtabs(4)), width))
    return Content("\n").join(_blocks(SyntaxTreeNode(tokens).children, width))


@functools.cache
def _parser() -> MarkdownIt:
    options = {
        "html": False,  # tags are shown as they were written
        "maxNesting": _DEEPEST + 2,  # what is deeper it leaves out
    }
    return MarkdownIt("gfm-like", options)


def _blocks(nodes: Iterable[SyntaxTreeNode], width: int, depth: int = 0, tight: bool = False) -> Lines:
    lines: Lines = []
    for node in nodes:
        if lines and not tight:
            lines.append(Content())
        lines += _block(node, width, depth)
    return lines


def _block(node: SyntaxTreeNode, width: int, depth: int) -> Lines:
    if node.type == "heading":
        return [line.stylize(f".{node.tag}") for line in _wrapped(_inline(node.children), width)]
    if node.type == "paragraph":
        return _wrapped(_inline(node.children), width)
    if node.type in ("bullet_list", "ordered_list"):
        return _list(node, width, depth)
    if node.type == "blockquote":
        bar = Content.styled("\u258c ", ".quote")
        return [bar + line for line in _blocks(node.children, max(width - 2, _LEAST), depth)]
    if node.type == "table":
        return _table(node, width)
    if node.type == "hr":
        return [Content.styled("\u2500" * width, ".rule")]
    lines = _wrapped(Content(node.content.rstrip("\n").expandtabs(4)), width)  # code within an item
    return [line.stylize(".block") for line in lines]


def _list(node: SyntaxTreeNode, width: int, depth: int) -> Lines:
    """Tight as Markdown means it: paragraphs of tight lists are hidden, and have no lines between them."""
    first = int(node.attrs.get("start", 1))
    marks = [f"{first + i}. " for i in range(len(node.children))]
    if node.type == "bullet_list":
        marks = [_BULLETS[depth % len(_BULLETS)]] * len(node.children)
    indent = max(map(len, marks))
    is_tight = all(
        child.hidden for item in node.children for child in item.children if child.type == "paragraph"
    )
    lines: Lines = []
    for mark, item in zip(marks, node.children, strict=True):
        if lines and not is_tight:
            lines.append(Content())
        inner = _blocks(item.children, max(width - indent, _LEAST), depth + 1, is_tight) or [Content()]
        lines.append(Content.styled(mark.rjust(indent), ".bullet") + inner[0])
        lines += [line.pad_left(indent) for line in inner[1:]]
    return lines


def _table(node: SyntaxTreeNode, width: int) -> Lines:
    """Columns as wide as they need to be; if that is too wide, the widest give."""
    rows = [
        [_inline(cell.children) for cell in row.children] for part in node.children for row in part.children
    ]
    needed = [max(cell.cell_length for cell in column) for column in zip(*rows, strict=True)]
    room = width - 3 * (len(needed) - 1)
    widths = _fitted(needed, room)
    head, *body = rows
    if sum(widths) > room or any(w < min(n, _LEAST_CELL) for w, n in zip(widths, needed, strict=True)):
        return _records(head, body, width)
    rule = Content.styled("\u2500\u253c\u2500".join("\u2500" * w for w in widths), ".rule")
    lines = [line.stylize(".table-head") for line in _row(head, widths)]
    return [*lines, rule, *chain.from_iterable(_row(row, widths) for row in body)]


def _records(head: Sequence[Content], rows: Sequence[Sequence[Content]], width: int) -> Lines:
    """A table that is too wide: for each row a list of what it has under each head."""
    lines: Lines = []
    for row in rows or [[Content()] * len(head)]:
        if lines:
            lines.append(Content.styled("\u2500" * width, ".rule"))
        for name, cell in zip(head, row, strict=True):
            lines += _wrapped(name.stylize(".table-head") + Content(": ") + cell, width)
    return lines


def _row(cells: Sequence[Content], widths: Sequence[int]) -> Lines:
    columns = [_wrapped(cell, width) for cell, width in zip(cells, widths, strict=True)]
    lines = []
    for parts in zip_longest(*columns, fillvalue=Content()):
        padded = [_padded(part.rstrip(), width) for part, width in zip(parts, widths, strict=True)]
        lines.append(Content.styled(" \u2502 ", ".rule").join(padded))
    return lines


def _padded(cell: Content, width: int) -> Content:
    return cell.pad_right(max(0, width - cell.cell_length))


def _fitted(needed: Sequence[int], width: int) -> list[int]:
    """Columns that are at most this wide together, as long as each has one."""
    most = max(needed, default=1)
    while most > 1 and sum(min(n, most) for n in needed) > width:
        most -= 1
    return [max(1, min(n, most)) for n in needed]


def _wrapped(content: Content, width: int) -> Lines:
    lines: Lines = []
    for paragraph in content.split("\n", allow_blank=True):
        *broken, last = paragraph.wrap(width)
        lines += [line.pad_right(1) for line in broken]
        lines.append(last)
    return lines


def _inline(nodes: Iterable[SyntaxTreeNode]) -> Content:
    return Content("").join(_run(node) for node in nodes)


def _run(node: SyntaxTreeNode) -> Content:
    if node.type in ("softbreak", "hardbreak"):
        return Content(" " if node.type == "softbreak" else "\n")
    if node.type == "code_inline":
        return Content.styled(node.content, ".code")
    if node.type == "link":
        text, address = _inline(node.children), str(node.attrs["href"])
        shown = text.stylize(".link")
        return shown if address.endswith(text.plain) else shown + f" ({address})"
    if node.type == "image":
        return Content.styled(f"{node.content} ({node.attrs['src']})", ".link")
    if node.children:
        inner = _inline(node.children)
        return inner.stylize(f".{node.type}") if node.type in STYLES else inner
    return Content(safe_text(node.content))  # again: &#x202e; has become the character
