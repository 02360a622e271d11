"""A real terminal, that of tmux, with a shell in it that runs `edgeinfer chat`."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from installed import COMMAND

CHAT = shlex.join([*COMMAND, "chat"])


class Terminal:
    """A shell in a tmux of its own; `home` is where the sessions go."""

    def __init__(self, home: Path) -> None:
        socket = home / f"tmux{len(list(home.glob('tmux*')))}"  # one that was killed leaves it
        self._tmux = ["tmux", "-S", str(socket), "-f", os.devnull]
        folders = [f"{name}={home}" for name in ("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME")]
        nobody = "EDGEINFER_SERVE_PORT=9"  # listens there: no server is offered that happens to run here
        shell = shlex.join(["env", *folders, nobody, "sh"])
        self.run("new-session", "-d", "-x", "100", "-y", "30", shell)

    def run(self, *command: str) -> str:
        done = subprocess.run([*self._tmux, *command], capture_output=True, text=True, check=True)
        return done.stdout

    def type(self, text: str, *keys: str) -> None:
        self.run("send-keys", "-l", text)
        for key in keys:
            self.run("send-keys", key)

    def screen(self) -> str:
        return self.run("capture-pane", "-p")

    def until(self, happened: Callable[[str], bool]) -> str:
        for _ in range(600):
            screen = self.screen()
            if happened(screen):
                return screen
            time.sleep(0.05)
        raise AssertionError(f"it did not happen; the screen is\n{self.screen()}")

    def start(self, *options: str) -> int:
        """The process, once its model is open."""
        self.type(f"exec {CHAT} {shlex.join(options)}", "Enter")
        self.until(lambda screen: "edgeinfer-tiny" in screen.partition("\n")[0])
        return int(self.run("list-panes", "-F", "#{pane_pid}"))

    def close(self) -> None:
        subprocess.run([*self._tmux, "kill-server"], capture_output=True, check=False)
