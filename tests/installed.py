"""Importing this makes sure that the installed edgeinfer is tested, not the folder of its sources.

`python -m pytest` puts the working directory first, where edgeinfer/ has no C++ part.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != ROOT]
