"""Importing this makes sure that the installed edgeinfer is tested, not the folder of its sources.

`python -m pytest` puts the working directory first, where edgeinfer/ has no C++ part; so would `python -c`
in a test.
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != ROOT]
os.environ["PYTHONSAFEPATH"] = "1"  # for processes that tests start
COMMAND = (sys.executable, "-P", "-m", "edgeinfer")  # of this environment, as a process
