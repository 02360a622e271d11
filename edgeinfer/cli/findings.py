"""What `edgeinfer doctor` looks at: one function a subject, each finding with what to do about it."""

from __future__ import annotations

import errno
import http.client
import json
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeinfer import machine
from edgeinfer.cli.output import in_bytes
from edgeinfer.errors import EdgeInferError, PortTaken
from edgeinfer.server.listener import listening

_LITTLE_MEMORY = 2 << 30  # bytes: less than a model of 3 billion parameters takes
_LITTLE_DISK = 5 << 30
_SLOW_BYTES_PER_S = 10e9  # one channel of DDR4 gives twice that
_ANOTHER = "use another: `edgeinfer serve --port N`"
_ANSWER_S = 2.0


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    value: str
    advice: str | None = None  # None: all is well


def findings() -> Iterator[Finding]:
    """All of them, in the order to read them."""
    yield from _versions()
    yield from _processor()
    yield _memory()
    yield from _speed()
    yield from _backends()
    yield _bundled_model()
    yield from _folders()
    yield _port()
    yield _config_file()
    yield _network()


def _versions() -> Iterator[Finding]:
    import edgeinfer

    yield Finding("edgeinfer", edgeinfer.__version__)
    yield Finding("python", platform.python_version())
    yield Finding("system", f"{platform.system()} {platform.release()} {platform.machine()}")


def _processor() -> Iterator[Finding]:
    from edgeinfer import _native

    yield Finding("processor", machine.processor())
    features = machine.processor_features()
    yield Finding("features", " ".join(features) or "not told by this system")
    best, used = _native.targets()[-1], _native.target()
    advice = None
    if used != best:
        advice = f"EDGEINFER_TARGET chooses it: without that, {best} would be used"
    elif best == "scalar":
        advice = "this processor has no SIMD that we know: models run, many times slower"
    yield Finding("kernels", f"{used} of {', '.join(_native.targets())}", advice)
    cores = machine.cores()
    told = f"{cores.performance} performance, {cores.efficiency} efficiency"
    few = None
    if cores.quota is not None and cores.quota < cores.performance:
        few = f"this container may use {cores.quota}: give it more (`docker run --cpus`)"
    yield Finding("cores", told, few)
    yield Finding("threads", f"{machine.n_threads()}")


def _memory() -> Finding:
    memory = machine.memory()
    told = f"{in_bytes(memory.available)} available of {in_bytes(memory.total)}"
    advice = "close other programs, or take small models: `edgeinfer fit NAME` tells what fits"
    return Finding("memory", told, advice if memory.available < _LITTLE_MEMORY else None)


def _speed() -> Iterator[Finding]:
    from edgeinfer.bench.speed import machine_speed

    speed = machine_speed()
    slow = speed.read_bytes_per_s < _SLOW_BYTES_PER_S
    told = f"{speed.read_bytes_per_s / 1e9:.0f} GB/s; an answer reads the whole model for each token"
    advice = "close other programs and measure again (`edgeinfer fit NAME --remeasure`); two modules help"
    yield Finding("memory bandwidth", told, advice if slow else None)


def _backends() -> Iterator[Finding]:
    from edgeinfer.backends.choose import BACKENDS

    for name in BACKENDS:
        yield Finding(f"backend {name}", "available")


def _bundled_model() -> Finding:
    from edgeinfer.hub.names import find_model

    try:
        return Finding("bundled model", str(find_model()))
    except EdgeInferError as missing:
        return Finding("bundled model", missing.message, missing.hint)


def _folders() -> Iterator[Finding]:
    from edgeinfer.hub import folders
    from edgeinfer.paths import cache_folder, data_folder

    for name, find in (("models", data_folder), ("caches", cache_folder)):
        try:
            yield _written(name, find())
        except EdgeInferError as homeless:
            yield Finding(f"folder of {name}", homeless.message, homeless.hint)
    yield _written("downloads", folders.huggingface_cache())
    for name, places in (
        ("Ollama", folders.ollama()),
        ("LM Studio", folders.lm_studio()),
        ("llama.cpp", [folders.llama_cpp()]),
    ):
        found = [str(place) for place in places if place.is_dir()]
        yield Finding(f"models of {name}", ", ".join(found) or "none here")


def _written(name: str, folder: Path) -> Finding:
    """A folder that we write, or will."""
    there = folder
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    advice = None
    if not os.access(there, os.W_OK | os.X_OK):
        advice = f"{there} cannot be written: change its owner or its permissions"
    elif free < _LITTLE_DISK:
        advice = "little is free: remove models (`edgeinfer rm`), or name a folder on another disk"
    told = f"{folder}{'' if there == folder else ' (not there yet)'}, {in_bytes(free)} free"
    return Finding(f"folder of {name}", told, advice)


def _port() -> Finding:
    """Who answers where `serve` listens if nothing else is said."""
    from edgeinfer.config.sources import read_settings
    from edgeinfer.config.table import Serve

    try:
        port = read_settings().serve.port
    except EdgeInferError:
        port = Serve.port
    name = f"port {port}"
    try:
        with listening("127.0.0.1", port):
            return Finding(name, "free")
    except PortTaken as problem:
        if not isinstance(problem.__cause__, OSError) or problem.__cause__.errno != errno.EADDRINUSE:
            return Finding(name, problem.message, problem.hint)
    who = _who_answers(port)
    if who.startswith("edgeinfer"):
        return Finding(name, f"{who} answers; `edgeinfer ps` lists what it has open")
    return Finding(name, f"taken: {who} answers", _ANOTHER)


def _who_answers(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_ANSWER_S)
    try:
        connection.request("GET", "/api/version")
        response = connection.getresponse()
        server = response.headers.get("server") or "an HTTP server"
        try:
            told = json.loads(response.read(1 << 16))
            return str(told["server"])
        except (ValueError, KeyError, TypeError):
            return server
    except (OSError, http.client.HTTPException):
        return "another program"
    finally:
        connection.close()


def _config_file() -> Finding:
    """What the environment sets is looked at, too."""
    from edgeinfer.config.file import config_file
    from edgeinfer.config.sources import in_environment, in_file

    try:
        path = config_file()
    except EdgeInferError as homeless:
        return Finding("config file", homeless.message, homeless.hint)
    file = in_file()
    wrong = "; ".join(problem.message for problem in (*in_environment().problems, *file.problems))
    read = f"sets {len(file.values)}" if os.path.exists(path) else "not there: `config set` makes it"
    return Finding("config file", f"{path}, {read}", wrong or None)


def _network() -> Finding:
    from edgeinfer.config.sources import read_settings
    from edgeinfer.hub.offline import is_offline

    try:
        off, forbidden = is_offline(), read_settings().offline
    except EdgeInferError:
        return Finding("network", "not known: something is set wrongly, and until then nothing is fetched")
    if not off:
        told = "used by pull, fit and bundle --with-wheels only; --offline makes connections impossible"
        return Finding("network", told)
    if not forbidden:
        advice = "HF_HUB_OFFLINE asks us only; EDGEINFER_OFFLINE=1 makes connections impossible"
        return Finding("network", "off: nothing is fetched", advice)
    return _proof()


def _proof() -> Finding:
    """What happened when it was tried. After this even the port of this machine cannot be asked."""
    from edgeinfer.cli import offline_proof
    from edgeinfer.hub.offline import forbid_sockets

    if not offline_proof.python_is_refused():
        return Finding("network", "NOT off: Python let a connection be tried", "please report this")
    if not forbid_sockets():
        told = "off for Python, which refused a connection; not for native code and other programs"
        advice = "run it where there is no network, as in a container with `--network none`"
        return Finding("network", told, advice)
    if not (offline_proof.native_code_is_refused() and offline_proof.children_are_refused()):
        return Finding("network", "NOT off: the kernel gave a socket to native code", "please report this")
    told = "off: Python refused a connection, the kernel sockets to native code and to a child process"
    return Finding("network", f"{told}; ps, stop, bench and chat --connect may ask this machine")
