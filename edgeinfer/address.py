"""Where a server is, as people write it. Importing this is cheap."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from edgeinfer.errors import InvalidRequest

PORT = 8080  # of `edgeinfer serve`
_PORTS = {"http": 80, "https": 443}
_HINT = "as 127.0.0.1:8080, https://example.org, or unix:PATH"


def unix_path(host: str) -> Path | None:
    """The file of the Unix socket that is meant: `unix:PATH`, or as llama-server has it a name in .sock.

    Raises:
        InvalidRequest: the path is missing.
    """
    if host.startswith("unix:"):
        path = host.removeprefix("unix:").removeprefix("//")
        if not path:
            raise InvalidRequest(f"{host!r} names no socket", hint=_HINT)
        return Path(path)
    return Path(host) if host.endswith(".sock") else None


def is_loopback(host: str) -> bool:
    """Whether it is an address or name by which a machine means itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True)
class Address:
    """A server.

    Attributes:
        url: without a slash at its end.
        host, port: where it listens, unless
        socket: is the file of a Unix socket.
    """

    url: str
    host: str
    port: int
    socket: Path | None = None

    @classmethod
    def read(cls, text: str) -> Self:
        """host, host:port, a URL, or a Unix socket; without a scheme it is http, on port 8080.

        Raises:
            InvalidRequest: it is none of these.
        """
        if (path := unix_path(text)) is not None:
            return cls("http://localhost", "localhost", 0, path)
        has_scheme = "://" in text
        try:
            parts = urlsplit(text if has_scheme else f"http://{text}")
            host, port = parts.hostname or "", parts.port
        except ValueError:  # of the port, or of brackets
            raise InvalidRequest(f"{text!r} is no address of a server", hint=_HINT) from None
        if parts.username is not None:
            raise InvalidRequest(
                "an address has no user and no password",
                hint="the API key goes into EDGEINFER_API_KEY, or a file: --api-key-file",
            )
        if parts.scheme not in _PORTS or not _is_host(host) or parts.query or parts.fragment:
            raise InvalidRequest(f"{text!r} is no address of a server", hint=_HINT)
        if port is None:
            port = _PORTS[parts.scheme] if has_scheme else PORT
        bracketed = f"[{host}]" if ":" in host else host
        path_of_url = parts.path.rstrip("/").removesuffix("/v1")  # as clients of OpenAI want it
        return cls(f"{parts.scheme}://{bracketed}:{port}{path_of_url}", host, port)

    @property
    def is_here(self) -> bool:
        """Whether it is on this machine."""
        return self.socket is not None or is_loopback(self.host)

    def __str__(self) -> str:
        """As people like to read it."""
        return self.url.removeprefix("http://") if self.socket is None else f"unix:{self.socket}"


def _is_host(name: str) -> bool:
    return name != "" and not any(c.isspace() or not c.isprintable() or c in "/\\@'\"<>" for c in name)
