"""The one switch that keeps this machine to itself: `--offline`, or EDGEINFER_OFFLINE=1.

`refuse_if_offline` is asked before anything that would fetch. `forbid_connections` makes sure: every Python
library of this process asks the interpreter to connect, and the interpreter refuses all but this machine.
`forbid_sockets` leaves no way at all, to nobody: the kernel refuses.
"""

from __future__ import annotations

import functools
import ipaddress
import os
import sys
from typing import Any

from edgeinfer.config.sources import read_settings
from edgeinfer.errors import Offline

_HINT = "leave out --offline, or unset EDGEINFER_OFFLINE, HF_HUB_OFFLINE, or offline in `edgeinfer config`"
_TRUE = {"1", "on", "yes", "true"}  # as huggingface_hub reads it


def is_offline() -> bool:
    """Whether nothing may be fetched: by our own setting, or by huggingface_hub's."""
    return read_settings().offline or os.environ.get("HF_HUB_OFFLINE", "").lower() in _TRUE


def refuse_if_offline(what: str) -> None:
    """Raises Offline, naming what cannot be fetched."""
    if is_offline():
        raise Offline(f"offline: {what} is not fetched", hint=_HINT)


@functools.cache
def forbid_connections() -> None:
    """From here on no Python code of this process reaches another machine; nothing can undo it (PEP 578)."""
    sys.addaudithook(_refuse_others)


@functools.cache
def forbid_sockets() -> bool:
    """From here on this process and those that it starts reach nobody, whatever they are written in.

    Returns False where only Python can be held back: the system has no filters of system calls.
    """
    from edgeinfer.hub.kernel_filter import refuse_sockets

    return refuse_sockets()


def _refuse_others(event: str, arguments: tuple[Any, ...]) -> None:
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[1]
        host = (
            address[0] if isinstance(address, tuple) else None
        )  # text or bytes: a socket in the file system
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        host = None if _is_address(arguments[0]) else arguments[0]  # a name is looked up elsewhere
    else:
        return
    if host is not None and not _is_here(host):
        raise Offline(f"offline: no connection to {host!r:.100}", hint=_HINT)


def _is_address(host: object) -> bool:
    try:
        ipaddress.ip_address(_text(host))
    except ValueError:
        return False
    return True


def _is_here(host: object) -> bool:
    name = _text(host).partition("%")[0]
    return name in ("", "localhost") or (_is_address(name) and ipaddress.ip_address(name).is_loopback)


def _text(host: object) -> str:
    return host.decode("ascii", "replace") if isinstance(host, bytes) else str(host)
