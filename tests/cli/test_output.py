"""What reaches a terminal."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeinfer.cli import output
from edgeinfer.text.safe import safe_text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text\n\tstays", "plain text\n\tstays"),
        ("grüße 你好 🙂", "grüße 你好 🙂"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x9b31mred", "\\x9b31mred"),
        ("over\rwritten\r\n", "overwritten\n"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\x7f\x00", "\\x7f\\x00"),
    ],
)
def test_what_a_terminal_would_obey_is_shown_as_text(text: str, shown: str) -> None:
    assert safe_text(text) == shown


@given(st.text())
def test_safe_text_has_no_control_characters_and_always_encodes(text: str) -> None:
    safe = safe_text(text)
    assert not any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in safe if c not in "\n\t")
    safe.encode()


@given(st.lists(st.text()))
def test_pieces_are_as_safe_as_the_whole(pieces: list[str]) -> None:
    assert "".join(map(safe_text, pieces)) == safe_text("".join(pieces))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colour_only_for_terminals_and_never_with_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b[" in output.paint("x", "red", Terminal())
    assert output.paint("x", "red", io.StringIO()) == "x"
    monkeypatch.setenv("NO_COLOR", "1")
    assert output.paint("x", "red", Terminal()) == "x"


def test_an_error_is_one_line_and_its_hint_another(capsys: pytest.CaptureFixture[str]) -> None:
    output.error("bad\nname \x1b[2J", "try\nthis")
    assert capsys.readouterr().err == "error: bad name \\x1b[2J\nhint: try this\n"


@pytest.mark.parametrize(
    ("n", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 30, "5.0 GiB"), (3 << 40, "3072.0 GiB")],
)
def test_bytes_for_people(n: int, text: str) -> None:
    assert output.in_bytes(n) == text


def test_a_table_has_one_line_for_each_row(capsys: pytest.CaptureFixture[str]) -> None:
    output.table([("name", "a\nlicense  forged"), ("size", 12)])
    assert capsys.readouterr().out == "  name  a\\nlicense  forged\n  size  12\n"
