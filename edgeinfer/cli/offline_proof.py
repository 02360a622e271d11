"""What `edgeinfer doctor --offline` tries, to say by its own experience that nothing gets out.

The address that is tried is of no machine (RFC 5737), so that nothing would be told to anybody.
"""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import sys

from edgeinfer.errors import Offline

_ELSEWHERE = ("192.0.2.1", 80)
_WAIT_S = 2.0
_CHILD = f"import socket; socket.create_connection({_ELSEWHERE!r}, {_WAIT_S})"


def python_is_refused() -> bool:
    """Whether a connection ends in an error of ours. To be asked first: later there is no socket for it."""
    try:
        with socket.socket() as asked:
            asked.settimeout(_WAIT_S)
            asked.connect(_ELSEWHERE)
    except Offline:
        return True
    except OSError:
        pass
    return False


def native_code_is_refused() -> bool:
    """Whether a call of the C library, of which Python knows nothing, gets no socket of any usual kind."""
    libc = ctypes.CDLL(None)
    for family in (socket.AF_INET, socket.AF_INET6):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            if (opened := libc.socket(int(family), int(kind), 0)) >= 0:
                os.close(opened)
                return False
    return True


def children_are_refused() -> bool:
    """Whether a program that is started, here a Python without any of our hooks, gets none either."""
    done = subprocess.run([sys.executable, "-I", "-S", "-c", _CHILD], capture_output=True, check=False)
    return b"PermissionError" in done.stderr
