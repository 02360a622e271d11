"""`edgeinfer chat` as a process in a real terminal, that of tmux."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import termios
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from terminal import CHAT, Terminal

from edgeinfer.sessions.store import SessionStore

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not here")
ASKED = "How do I download a model?"


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path)
    yield terminal
    terminal.close()


def settings(terminal: Terminal, mark: str) -> str:
    """What `stty -a` says now."""
    terminal.type(f"clear; stty -a; echo {mark}", "Enter")
    return terminal.until(lambda screen: f"\n{mark}" in screen).partition("\n")[2].partition(mark)[0]


def test_a_chat_leaves_the_terminal_as_it_was(terminal: Terminal) -> None:
    before = settings(terminal, "before")
    terminal.type(f"{CHAT} --temperature 0", "Enter")
    terminal.until(lambda screen: "edgeinfer-tiny" in screen.partition("\n")[0])
    terminal.type(ASKED, "Enter")
    terminal.until(lambda screen: "edgeinfer pull" in screen and "tokens" in screen)
    terminal.type("a draft", "C-z")
    terminal.until(lambda screen: "f1 Help" not in screen)
    assert settings(terminal, "asleep") == before
    terminal.type("fg", "Enter")
    terminal.until(lambda screen: "a draft" in screen and "f1 Help" in screen)
    terminal.type("", "C-q")
    terminal.until(lambda screen: "f1 Help" not in screen)
    assert settings(terminal, "after") == before
    terminal.type(f"{CHAT}", "Enter")
    terminal.until(lambda screen: "edgeinfer-tiny" in screen.partition("\n")[0])
    terminal.type("/bye", "Enter")
    terminal.until(lambda screen: "f1 Help" not in screen)
    assert settings(terminal, "then") == before


def test_a_megabyte_is_pasted_and_what_others_wrote_is_drawn_over(terminal: Terminal, tmp_path: Path) -> None:
    terminal.start()
    text = tmp_path / "large.txt"
    text.write_text("word word\n" * 100_000)
    terminal.run("load-buffer", str(text))
    terminal.run("paste-buffer", "-p")  # bracketed
    terminal.until(lambda screen: "+ pasted 976.6 KiB, 100,000 lines" in screen)
    terminal.type("", "BSpace")
    terminal.until(lambda screen: "100,000 lines" not in screen)
    with Path(terminal.run("display", "-p", "#{pane_tty}").strip()).open("wb") as screen:
        screen.write(b"\x1b[3;3Hsomething of another program")
    terminal.until(lambda screen: "of another program" in screen)
    terminal.type("", "C-l")
    terminal.until(lambda screen: "of another program" not in screen)


def test_without_colours_it_is_grey_and_ctrl_c_ends_it(terminal: Terminal) -> None:
    before = settings(terminal, "before")
    terminal.type(f"NO_COLOR=1 {CHAT}", "Enter")
    terminal.until(lambda screen: "edgeinfer-tiny" in screen.partition("\n")[0])
    terminal.type("/set", "Tab")
    terminal.until(lambda screen: "temperature" in screen)
    drawn = terminal.run("capture-pane", "-p", "-e")
    colours = {int(number) for number in re.findall(r"[34]8;5;(\d+)", drawn)}
    assert colours
    assert all(colour in (0, 15, 16, 231) or colour >= 232 for colour in colours)  # of xterm's, the grey ones
    assert not re.search(r"\x1b\[[\d;]*\b(?:3[1-6]|4[1-6]|9[1-6])m", drawn)
    terminal.type("", "C-c")
    terminal.until(lambda screen: "/set" not in screen)
    terminal.type("", "C-c")
    terminal.until(lambda screen: "Ctrl+C again ends" in screen)
    terminal.type("", "C-c")
    terminal.until(lambda screen: "f1 Help" not in screen)
    assert settings(terminal, "after") == before


def test_bytes_that_are_no_text_are_taken(terminal: Terminal) -> None:
    terminal.type(f"{CHAT} --system \"$(printf '\\377')\"", "Enter")
    terminal.until(lambda screen: "edgeinfer-tiny" in screen.partition("\n")[0])
    terminal.run("send-keys", "-H", "61", "ff", "c3", "28", "62")
    terminal.until(lambda screen: "a\ufffd\ufffd(b" in screen)


@pytest.mark.parametrize("ended_by", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it(terminal: Terminal, tmp_path: Path, ended_by: signal.Signals) -> None:
    process = terminal.start()
    terminal.type(ASKED, "Enter")
    terminal.until(lambda screen: "edgeinfer pull" in screen)
    os.kill(process, ended_by)
    for _ in range(200):
        if not Path(f"/proc/{process}").exists():
            break
        time.sleep(0.05)
    else:
        raise AssertionError("it goes on")
    with SessionStore(tmp_path / "edgeinfer" / "sessions.db") as store:
        assert store.branch(1)[0].content == ASKED


def test_a_terminal_that_goes_without_a_signal_ends_it(tmp_path: Path) -> None:
    """As where it controls no session. Nobody reads what is drawn, so that drawing waits when it goes."""
    folders = {name: str(tmp_path) for name in ("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME")}
    ours, its = os.openpty()
    termios.tcsetwinsize(its, (30, 100))
    ends = {"stdin": its, "stdout": its, "stderr": its, "env": {**os.environ, **folders}}
    chat = subprocess.Popen([*shlex.split(CHAT), "--context-shift"], **ends)
    os.close(its)
    try:
        drawn = b""
        while b"edgeinfer-tiny" not in drawn:
            drawn = drawn[-1000:] + os.read(ours, 1 << 16)
        os.write(ours, b"Tell me all about lists in Python\r")
        with SessionStore(tmp_path / "edgeinfer" / "sessions.db") as store:
            while not any(message.content for message in store.branch(1)[1:]):
                time.sleep(0.05)
        os.close(ours)
        assert chat.wait(20) == 128 + signal.SIGHUP
    finally:
        chat.kill()
        chat.wait()


def is_answered(asked: str, screen: str) -> bool:
    """Whether an answer to this has begun."""
    said, _, below = screen.rpartition(asked)
    return bool(said) and ("Answering" in below or "tokens \u00b7" in below)


@pytest.mark.slow
def test_a_killed_chat_loses_no_message(tmp_path: Path) -> None:
    """Twenty times in the middle of an answer; what was on the screen is there."""
    homes = [tmp_path / str(i) for i in range(4)]  # side by side: most of the time each only starts
    with ThreadPoolExecutor(len(homes)) as pool:
        assert any([*pool.map(killed_five_times, homes)])


def killed_five_times(home: Path) -> bool:
    """Whether anything of an answer was on the screen."""
    home.mkdir()
    seen: list[str] = []
    drawn: list[set[str]] = []
    for i in range(5):
        terminal = Terminal(home)
        try:
            process = terminal.start("--max-tokens", "60", "-C")
            seen.append(f"{ASKED} {i}")
            terminal.type(seen[-1], "Enter")
            screen = terminal.until(partial(is_answered, seen[-1]))
            os.kill(process, signal.SIGKILL)
            below = screen.rpartition(seen[-1])[2].partition("Answering")[0].partition(" tokens \u00b7")[0]
            drawn.append({word for word in below.split() if word.isalpha()})
        finally:
            terminal.close()
    with SessionStore(home / "edgeinfer" / "sessions.db") as store:
        said = [message for session in store.sessions() for message in store.branch(session.id)]
    assert store.damaged is None
    assert [m.content for m in said if m.role == "user"] == seen
    answers = [m.content for m in said if m.role == "assistant"]
    lost = [w for words, answer in zip(drawn, answers, strict=True) for w in words if w not in answer]
    assert lost == []
    return any(drawn)
