"""The npm packages openai, @anthropic-ai/sdk and ollama, by the script smoke.cjs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def test_the_clients_of_npm(root: str) -> None:
    modules = os.environ.get("NODE_PATH", "")
    if shutil.which("node") is None or not Path(modules, "@anthropic-ai/sdk").is_dir():
        pytest.skip("needs node, and NODE_PATH where openai, @anthropic-ai/sdk and ollama are installed")
    script = str(Path(__file__).with_name("smoke.cjs"))
    done = subprocess.run(
        ["node", script, root], capture_output=True, text=True, check=False, timeout=120, env=os.environ
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "openai ok\nanthropic ok\nollama ok\n"
