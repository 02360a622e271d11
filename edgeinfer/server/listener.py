"""Where a server listens: an address and a port, or a Unix socket, a file that its owner alone may open."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import ipaddress
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from edgeinfer.address import unix_path
from edgeinfer.errors import PortTaken

_BACKLOG = 128
_HINTS = {
    errno.EADDRINUSE: "give another --port; 0 finds a free one",
    errno.EADDRNOTAVAIL: "no interface of this machine has this address",
    errno.EACCES: "ports below 1024 are for root: give another --port",
    errno.ENETUNREACH: "start the loopback (`ip link set lo up`), or take a Unix socket: --host unix:PATH",
}


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens there. Raises PortTaken."""
    path = unix_path(host)
    with _on_port(host, port) if path is None else _on_file(path) as listener:
        yield listener


@contextlib.contextmanager
def _on_port(host: str, port: int) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(_BACKLOG)
            _require_loopback(listener)
        except OSError as error:
            hint = _HINTS.get(error.errno or 0)
            raise PortTaken(f"cannot listen on {host}:{port}: {error.strerror}", hint=hint) from error
        yield listener


def _require_loopback(listener: socket.socket) -> None:
    """Raises OSError if one listens on it, and it is down, as in a network namespace: nobody gets there."""
    address = listener.getsockname()
    if ipaddress.ip_address(address[0]).is_loopback:
        with socket.socket(listener.family, socket.SOCK_DGRAM) as asked:
            asked.connect(address)  # only looks for a way


@contextlib.contextmanager
def _on_file(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        try:
            with _alone_in(path.parent):
                _remove_stale(path)
                listener.bind(str(path))
                path.chmod(0o600)  # before it listens: until then nobody gets in
                listener.listen(_BACKLOG)
                ours = path.lstat()
        except OSError as error:
            hint = "the path of a Unix socket has some 100 bytes at most" if error.errno is None else None
            raise PortTaken(f"cannot listen on {path}: {error.strerror or error}", hint=hint) from error
        try:
            yield listener
        finally:
            with contextlib.suppress(OSError):
                if os.path.samestat(path.lstat(), ours):
                    path.unlink()


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """While no other server starts there: it could take our file for a stale one."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)


def _remove_stale(path: Path) -> None:
    """The socket of a server that was killed. Raises PortTaken if anything else is there."""
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise PortTaken(f"{path} is there and is no socket", hint="choose another path")
    with socket.socket(socket.AF_UNIX) as asked:
        asked.setblocking(False)
        if asked.connect_ex(str(path)) != errno.ECONNREFUSED:
            raise PortTaken(f"another server listens on {path}", hint="choose another path")
    path.unlink()
