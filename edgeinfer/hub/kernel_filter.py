"""The kernel refuses sockets to this process and to all that it starts: seccomp, on Linux.

What Python refuses, native code may still try. A filter is asked at each system call, whoever makes it, and
cannot be taken off again. It sees numbers, not what pointers lead to: the family of a new socket, but not the
address of a connection. So none is let through.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import socket
import struct
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class _Calls:
    """Numbers of system calls, and of the architecture that they are of (linux/audit.h)."""

    architecture: int
    seccomp: int
    socket: int
    connect: int
    sendto: int
    sendmsg: int
    sendmmsg: int
    io_uring_setup: int = 425  # it would connect past any filter


_CALLS = {
    "x86_64": _Calls(0xC000003E, 317, 41, 42, 44, 46, 307),
    "aarch64": _Calls(0xC00000B7, 277, 198, 203, 206, 211, 269),
}
_X32 = 0x40000000  # x86-64 has its calls a second time from here on
_NO_NEW_PRIVILEGES, _SET_FILTER, _ALL_THREADS = 38, 1, 1  # linux/prctl.h, linux/seccomp.h
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in what a filter sees (struct seccomp_data)
_LOAD, _IF_EQUAL, _IF_AT_LEAST, _IF_ANY, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # classic BPF
_FAST_OPEN = 0x20000000  # MSG_FASTOPEN: connect first, then send

_Step = tuple[int, int, int, int]  # operation, steps to skip if it holds, if not, operand
_ALLOW: _Step = (_RETURN, 0, 0, 0x7FFF0000)
_KILL: _Step = (_RETURN, 0, 0, 0x80000000)
_REFUSE: _Step = (_RETURN, 0, 0, 0x00050000 | errno.EACCES)


def refuse_sockets() -> bool:
    """From here on nothing connects, and only Unix sockets can be made. What listens goes on accepting.

    Returns False where the system has no such filters.
    """
    calls = _CALLS.get(platform.machine()) if sys.platform == "linux" and sys.maxsize > 1 << 32 else None
    if calls is None:
        return False
    steps = _program(calls)
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = struct.pack("HP", len(steps), ctypes.addressof(code))  # struct sock_fprog
    libc = ctypes.CDLL(None)
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        return False
    return int(libc.syscall(calls.seccomp, _SET_FILTER, _ALL_THREADS, program)) == 0


def _program(calls: _Calls) -> list[_Step]:
    """Each call that leads out, and what is said to it; all others are let through."""
    return [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_IF_EQUAL, 1, 0, calls.architecture),
        _KILL,  # a program of another kind, whose calls have other numbers
        (_LOAD, 0, 0, _NUMBER),
        (_IF_AT_LEAST, 0, 1, _X32),
        _REFUSE,
        *_on(calls.socket, [_argument(0), (_IF_EQUAL, 0, 1, socket.AF_UNIX), _ALLOW, _REFUSE]),
        *_on(calls.connect, [_REFUSE]),
        *_on(calls.sendto, _no_fast_open(3)),
        *_on(calls.sendmsg, _no_fast_open(2)),
        *_on(calls.sendmmsg, _no_fast_open(3)),
        *_on(calls.io_uring_setup, [_REFUSE]),
        _ALLOW,
    ]


def _on(call: int, steps: list[_Step]) -> list[_Step]:
    """Steps for one call; they end with a verdict."""
    return [(_IF_EQUAL, 0, len(steps), call), *steps]


def _argument(i: int) -> _Step:
    return (_LOAD, 0, 0, _ARGUMENTS + 8 * i)  # its lower half: these processors are little-endian


def _no_fast_open(i_flags: int) -> list[_Step]:
    """What listens could be shut down and then connect so."""
    return [_argument(i_flags), (_IF_ANY, 0, 1, _FAST_OPEN), _REFUSE, _ALLOW]
