"""What the tests of downloads share."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from fake_hub import REPO
from installed import COMMAND

from edgeinfer.hub.pull import plan_pull, pull
from edgeinfer.hub.store import local_models
from edgeinfer.hub.transfer import Patience

NAME = f"{REPO}:Q8_0"
HASTY = Patience(attempts=3, first_delay_s=0.001)


def fetch(name: str = NAME, patience: Patience = HASTY) -> Path:
    return pull(plan_pull(name, patience), patience)


def nothing_is_offered() -> bool:
    return local_models() == []


def edgeinfer(*args: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **more}
    return subprocess.run([*COMMAND, *args], capture_output=True, text=True, env=environment, timeout=60)
