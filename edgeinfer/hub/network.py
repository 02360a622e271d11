"""All that edgeinfer fetches comes through here, and is refused first when offline.

`huggingface_hub` gives the session (proxies, certificates), the token and the reading of the hub's errors.
The transfer is ours (`transfer.py`): its own neither resumes nor checks what arrives.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, urlsplit

import httpx2
from huggingface_hub import hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

import edgeinfer
from edgeinfer.errors import AccessDenied, DiskError, NetworkError, NotFound
from edgeinfer.hub.offline import refuse_if_offline

_CONNECT_S = 10.0
_MOST_METADATA = 8 << 20  # bytes of an answer that is not a file
_LONGEST_WAIT_S = 60.0  # that a server may ask for and we wait without a word
_METADATA_S = 60.0
_AGAIN = "run the same again later: it goes on where it stopped"
_CONNECTED = "is this machine connected? HTTPS_PROXY is honoured"
_PROXY = "look at HTTPS_PROXY, HTTP_PROXY and ALL_PROXY"
_MIRROR = "check HF_ENDPOINT, or a login page of the network that you are in"
_RETRIED = {408, 425, 429, 500, 502, 503, 504}
# File names become paths here, and on systems that know more than ours.
_SAFE_PART = re.compile(
    r"(?!(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|$))[\w(\[][\w .,+=@()\[\]-]*", re.IGNORECASE
)


class Transient(NetworkError):
    """What may pass: worth another attempt, after `retry_after` seconds if the server said so."""

    def __init__(self, message: str, *, hint: str = _AGAIN, retry_after: float = 0.0) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class NoSuchRange(Transient):
    """The server has no bytes where we want to go on: what is here is of another file, or it is shorter."""


@dataclass(frozen=True)
class RemoteFile:
    """A file that can be fetched."""

    name: str  # in its repository, with forward slashes
    url: str
    size_bytes: int
    sha256: str | None = None
    git_sha1: str | None = None  # of small files, which the hub keeps in git
    etag: str | None = None  # of a plain address: what its file is now


@dataclass(frozen=True)
class Repository:
    """What is in a repository of the hub, at one commit."""

    repo: str  # as the hub spells it
    commit: str
    architecture: str | None  # of its GGUF files, if the hub tells
    files: tuple[RemoteFile, ...]  # those whose names are safe as paths


@dataclass(frozen=True)
class Body:
    """The bytes of a file from `start` on."""

    start: int
    chunks: Iterator[bytes]


def endpoint() -> str:
    """Where the hub is: HF_ENDPOINT, or huggingface.co."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def read_repository(repo: str, revision: str = "main") -> Repository:
    """Ask the hub what is in a repository.

    Raises:
        NotFound, AccessDenied, Offline, NetworkError (Transient where trying again may help).
    """
    url = f"{endpoint()}/api/models/{repo}/revision/{quote(revision, safe='')}?blobs=true"
    answer = _json(url, repo)
    try:
        commit, rows = answer["sha"], answer["siblings"]
        if not re.fullmatch(r"[0-9a-f]{40}", commit):
            raise ValueError(commit)
        spelling = answer.get("id", "")
        found = spelling if spelling.lower() == repo.lower() else repo
        files = (_remote_file(found, commit, row) for row in rows if _is_safe(row["rfilename"]))
        known = tuple(file for file in files if file is not None)
        return Repository(found, commit, _architecture(answer), known)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NetworkError(f"{endpoint()} does not answer as the hub does", hint=_MIRROR) from error


def read_address(url: str) -> RemoteFile:
    """Ask a plain address for the size of its file. Raises like `read_repository`."""
    with _opened(url, url, {"Range": "bytes=0-0"}) as response:
        total = response.headers.get("content-range", "").rpartition("/")[2]
        size = total if response.status_code == 206 else response.headers.get("content-length", "")
        if not size.isdecimal():
            raise NetworkError(
                f"{url} does not tell its size", hint="fetch it with another program, then import it"
            )
        return RemoteFile(url, url, int(size), etag=response.headers.get("etag"))


@contextmanager
def open_file(file: RemoteFile, start: int, stall_s: float) -> Iterator[Body]:
    """Read a file from byte `start` on, or from its beginning if the server cannot do otherwise.

    Raises:
        Like `read_repository`; Transient also when no byte comes for `stall_s` seconds, NoSuchRange when
        there are none from `start` on.
    """
    headers = {"Range": f"bytes={start}-"} if start else {}
    if start and file.etag:
        headers["If-Range"] = file.etag
    with _opened(file.url, file.name, headers, stall_s) as response:
        yield Body(_start_of(response, file, start), response.iter_raw())


def read_range(file: RemoteFile, start: int, n_bytes: int, stall_s: float = _CONNECT_S) -> bytes:
    """At most so many bytes of a file from `start` on, fewer only at its end.

    Raises:
        Like `open_file`; NetworkError also when the server gives no parts of files.
    """
    end = min(start + n_bytes, file.size_bytes)
    headers = {"Range": f"bytes={start}-{end - 1}"} | ({"If-Range": file.etag} if file.etag else {})
    with _opened(file.url, file.name, headers, stall_s) as response:
        if response.status_code != 206 or _start_of(response, file, start) != start:
            raise NetworkError(f"{file.name}: the server gives no parts of files", hint="pull it, then ask")
        read = bytearray()
        for chunk in response.iter_raw():
            read += chunk[: end - start - len(read)]
            if len(read) == end - start:
                return bytes(read)
    raise Transient(f"{file.name} ends after {start + len(read)} of {file.size_bytes} bytes")


def _json(url: str, what: str) -> Any:
    with _opened(url, what, {}) as response:
        read, end = bytearray(), time.monotonic() + _METADATA_S
        for chunk in response.iter_raw():
            read += chunk
            if len(read) > _MOST_METADATA or time.monotonic() > end:
                raise NetworkError(f"the answer about {what} does not end", hint=_MIRROR)
    try:
        return json.loads(read)
    except (ValueError, RecursionError) as error:
        raise NetworkError(f"{endpoint()} does not answer as the hub does", hint=_MIRROR) from error


@contextmanager
def _opened(
    url: str, what: str, headers: dict[str, str], stall_s: float = _CONNECT_S
) -> Iterator[httpx2.Response]:
    """A successful answer whose body is still to be read, uncompressed."""
    refuse_if_offline(what)
    sent = _headers(url, headers)
    timeout = httpx2.Timeout(stall_s, connect=_CONNECT_S)
    try:
        with _session().stream("GET", url, headers=sent, timeout=timeout) as response:
            _check(response, what)
            yield response
    except httpx2.UnsupportedProtocol as error:
        raise NetworkError(f"{url} is no address of a server", hint=_MIRROR) from error
    except httpx2.TransportError as error:  # timeouts too
        said = f"{urlsplit(url).netloc}: {str(error) or type(error).__name__}"
        unreached = isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.ProxyError)
        raise Transient(said, hint=_CONNECTED if unreached else _AGAIN) from error
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise NetworkError(f"{what}: {error}", hint=_MIRROR) from error


def _session() -> httpx2.Client:
    """That of huggingface_hub. Raises NetworkError if the proxy that the environment names cannot be used."""
    try:
        return get_session()
    except (ValueError, ImportError) as error:  # no address; SOCKS, without the package for it
        raise NetworkError(f"the proxy cannot be used: {error}", hint=_PROXY) from error


def _headers(url: str, more: dict[str, str]) -> dict[str, str]:
    try:
        return build_hf_headers(
            token=None if _may_see_token(url) else False,
            library_name="edgeinfer",
            library_version=edgeinfer.__version__,
            headers={**more, "Accept-Encoding": "identity"},
        )
    except OSError as error:
        hint = "look at HF_HOME and HF_TOKEN_PATH"
        raise DiskError(f"cannot read the hub's token: {error.strerror or error}", hint=hint) from error


def _may_see_token(url: str) -> bool:
    """Only the hub that was configured, and only where nobody listens in between."""
    hub, asked = urlsplit(endpoint()), urlsplit(url)
    secret = asked.scheme == "https" or asked.hostname in ("localhost", "127.0.0.1", "::1")
    return secret and (hub.scheme, hub.netloc) == (asked.scheme, asked.netloc)


def _check(response: httpx2.Response, what: str) -> None:
    """Raise the error of ours that an answer means."""
    if response.headers.get("content-encoding", "identity") != "identity":
        raise NetworkError(f"{what} comes compressed, which was not asked for", hint=_MIRROR)
    if response.status_code < 400:
        if response.headers.get("content-type", "").startswith("text/html"):
            raise NetworkError(f"a web page comes in place of {what}", hint=_MIRROR)
        return
    if response.status_code in _RETRIED:
        raise _passing(response, what)
    if response.status_code == 416:
        raise NoSuchRange(f"{what}: the server has no such part of it")
    try:
        hf_raise_for_status(response)
    except GatedRepoError:
        page = f"{endpoint()}/{what}"
        hint = f"accept its terms on {page}, then set HF_TOKEN or run `hf auth login`"
        raise AccessDenied(f"{what} is gated", hint=hint) from None
    except (RepositoryNotFoundError, RevisionNotFoundError, RemoteEntryNotFoundError):
        raise _missing(what) from None
    except HfHubHTTPError as error:
        raise _refused(response.status_code, what) from error


def _passing(response: httpx2.Response, what: str) -> NetworkError:
    status = f"{urlsplit(str(response.url)).netloc} answers {response.status_code} for {what}"
    seconds = _seconds(response.headers.get("retry-after", "0"))
    if seconds > _LONGEST_WAIT_S:
        return NetworkError(status, hint=f"it asks to try again in {seconds:.0f} seconds")
    return Transient(status, retry_after=seconds)


def _seconds(retry_after: str) -> float:
    """From now on; a number of them or a date (RFC 9110, section 10.2.3), 0 for anything else."""
    if retry_after.isdecimal():
        return float(retry_after)
    try:
        date = parsedate_to_datetime(retry_after)
    except ValueError:
        return 0.0
    return max(0.0, date.timestamp() - time.time())


def _refused(status: int, what: str) -> NetworkError | NotFound:
    if status == 404:
        return _missing(what)
    if status == 401:
        return AccessDenied(f"{what}: the token is not accepted", hint="set HF_TOKEN or run `hf auth login`")
    if status == 403:
        return AccessDenied(f"{what}: access is denied", hint="ask its owner, or set another HF_TOKEN")
    return NetworkError(f"{what}: the server answers {status}", hint=_MIRROR)


def _missing(what: str) -> NotFound:
    hint = "look at the spelling; a private repository needs HF_TOKEN or `hf auth login`"
    return NotFound(f"{endpoint()} has no {what}", hint=hint)


def _start_of(response: httpx2.Response, file: RemoteFile, start: int) -> int:
    """Where the bytes of an answer belong."""
    if file.etag is not None and response.headers.get("etag", file.etag) != file.etag:
        raise NetworkError(f"{file.name} has changed meanwhile", hint="pull it again")
    if response.status_code != 206:
        return 0
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("content-range", ""))
    if found is None or (int(found[1]), int(found[2])) != (start, file.size_bytes):
        answer = response.headers.get("content-range", "no Content-Range")
        asked = f"bytes {start}- of {file.size_bytes}"
        raise NetworkError(f"{file.name}: asked for {asked}, the server sends {answer!r:.60}", hint=_MIRROR)
    return start


def _architecture(answer: dict[str, Any]) -> str | None:
    header = answer.get("gguf")
    found = header.get("architecture") if isinstance(header, dict) else None
    return found if isinstance(found, str) else None


def _remote_file(repo: str, commit: str, row: dict[str, Any]) -> RemoteFile | None:
    """One row of the hub's list; None if it tells no size or no checksum."""
    name, lfs = row["rfilename"], row.get("lfs") or {}
    sha256, git_sha1 = lfs.get("sha256"), row.get("blobId")
    size = lfs.get("size", row.get("size"))
    if not isinstance(size, int) or size < 0:
        return None
    url = hf_hub_url(repo, name, revision=commit, endpoint=endpoint())
    if isinstance(sha256, str) and re.fullmatch(r"[0-9a-f]{64}", sha256):
        return RemoteFile(name, url, size, sha256=sha256)
    if not lfs and isinstance(git_sha1, str) and re.fullmatch(r"[0-9a-f]{40}", git_sha1):
        return RemoteFile(name, url, size, git_sha1=git_sha1)
    return None


def _is_safe(name: str) -> bool:
    """Whether the name of a remote file can be a path below a folder, on any system."""
    return len(name) <= 400 and all(
        _SAFE_PART.fullmatch(part) and part[-1] not in " ." for part in name.split("/")
    )
