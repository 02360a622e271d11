"""llm, the command line program, with this server among its models."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from questions import DAY, QUESTION


@pytest.fixture
def ask(v1: str, tmp_path: Path) -> list[str]:
    listed = f"- model_id: tiny\n  model_name: edgeinfer-tiny\n  api_base: {v1}\n  supports_schema: true\n"
    (tmp_path / "extra-openai-models.yaml").write_text(listed)
    return [sys.executable, "-m", "llm", "prompt", "-m", "tiny", "--key", "any", "-o", "temperature", "0"]


def run(command: list[str], home: Path) -> str:
    environment = {**os.environ, "LLM_USER_PATH": str(home), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_answer_streamed_and_whole(ask: list[str], tmp_path: Path) -> None:
    streamed = run([*ask, QUESTION], tmp_path)
    assert "edgeinfer pull" in streamed
    assert run([*ask, "--no-stream", QUESTION], tmp_path) == streamed


def test_a_schema(ask: list[str], tmp_path: Path) -> None:
    answer = json.loads(run([*ask, "--no-stream", "--schema", json.dumps(DAY), QUESTION], tmp_path))
    assert answer in ({"day": "monday"}, {"day": "sunday"})
