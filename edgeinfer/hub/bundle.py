"""Bundles: one file that carries models, and edgeinfer itself if asked to, to machines without a network.

A plain tar, so that `tar` can read it too:

    manifest.json          what is in it: names, sizes, sha256
    install.sh             to install all of it, if edgeinfer is in it
    wheels/<file>.whl      edgeinfer and what it needs
    models/0/<file>.gguf   the shards of each model, uncompressed
    manifest.sha256        of manifest.json

A bundle comes from strangers. Its layout follows from its manifest, byte for byte; where the tar says
anything else it is refused before anything is written.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from edgeinfer.disk import changing, require_space, sync_folder
from edgeinfer.errors import DiskError, EdgeInferError, IntegrityError, InvalidRequest, NotFound
from edgeinfer.hub import archive
from edgeinfer.hub.lock import only_writer
from edgeinfer.hub.manifest import (
    MODEL_FILE,
    MOST_BYTES,
    BundledModel,
    Contents,
    CreatedModel,
    Entry,
    read_manifest,
)
from edgeinfer.hub.names import locate
from edgeinfer.hub.report import Report, behind
from edgeinfer.hub.store import local_models, own

if TYPE_CHECKING:
    from hashlib import _Hash

    from edgeinfer.hub.located import Located
    from edgeinfer.hub.modelfile import Modelfile

_PIECE = 1 << 20
_MANIFEST, _SCRIPT, _SEAL = "manifest.json", "install.sh", "manifest.sha256"
_UNKNOWN = "0" * 64  # a checksum that is not known yet


@dataclass(frozen=True)
class Bundle:
    """A bundle whose layout is right; what its files hold is not yet checked."""

    path: Path
    contents: Contents
    offsets: dict[str, int]  # name in the tar -> where its bytes begin


@dataclass(frozen=True)
class Plan:
    """A bundle that is not written yet."""

    out: Path
    contents: Contents  # without checksums
    sources: tuple[Path, ...]  # the file of each member, in order

    @property
    def size_bytes(self) -> int:
        """Of all files."""
        return self.contents.size_bytes


def plan(names: Sequence[str], out: Path) -> Plan:
    """A bundle of models on this machine.

    Raises:
        NotFound, AmbiguousName: a model.
        InvalidRequest: two are called alike, or `out` exists, or its folder does not.
        DiskError: there is no room for it.
    """
    if out.exists():
        raise InvalidRequest(f"{out} exists", hint="remove it, or choose another file")
    if not out.absolute().parent.is_dir():
        raise InvalidRequest(f"there is no folder {out.absolute().parent}", hint="make it first")
    models: list[tuple[str, tuple[Path, ...]]] = []
    created: list[CreatedModel] = []
    for name in names:
        found, called = _located(name)
        files = own.shards(found.path)
        if found.modelfile is not None:
            base = _name_of_file(found.path, f"{called}-base")
            created.append(CreatedModel(called, str(replace(found.modelfile, base=base))))
            called = base
        if (called, files) not in models:
            models.append((called, files))
    names_there = [name.lower() for name in (*(name for name, _ in models), *(c.name for c in created))]
    if len(set(names_there)) < len(names_there):
        raise InvalidRequest("two of these models have one name")
    bundled = tuple(BundledModel(name, _entries(files, _file_names(files))) for name, files in models)
    sources = tuple(file for _, files in models for file in files)
    return _possible(Plan(out, Contents(bundled, created=tuple(created)), sources))


def with_wheels(plan: Plan, wheels: Sequence[Path]) -> Plan:
    """The same bundle with wheels, too. Raises DiskError: there is no room for it."""
    entries = _entries(wheels, [wheel.name for wheel in wheels])
    return _possible(Plan(plan.out, replace(plan.contents, wheels=entries), (*wheels, *plan.sources)))


def _possible(plan: Plan) -> Plan:
    if len(plan.contents.as_json()) > MOST_BYTES:
        raise InvalidRequest("these are too many models for one bundle", hint="make several")
    missing = plan.size_bytes - _size(_part(plan.out))
    require_space(plan.out.absolute().parent, missing, str(plan.out), "write to another disk")
    return plan


def create(plan: Plan, report: Report) -> Contents:
    """Write it. It appears when it is whole. Raises DiskError."""
    part = _part(plan.out)
    with changing(plan.out):
        with _claimed(part) as opened:
            try:
                contents = _write(opened, plan, report)
                opened.flush()
                os.fsync(opened.fileno())
                part.replace(plan.out)
            finally:
                part.unlink(missing_ok=True)
        sync_folder(plan.out.absolute().parent)
    return contents


def _part(out: Path) -> Path:
    return out.with_name(f"{out.name}.part")


@contextlib.contextmanager
def _claimed(part: Path) -> Iterator[BinaryIO]:
    """An empty file that no other process writes; what one left that was killed is gone. Raises DiskError."""
    with open(os.open(part, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as opened:
        if not _is_only_writer(opened, part):
            raise DiskError(f"another process writes {part}", hint="wait for it, or choose another file")
        opened.truncate(0)
        yield opened


def _is_only_writer(opened: BinaryIO, path: Path) -> bool:
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(opened.fileno()), path.stat())  # else it has become whole meanwhile
    except (BlockingIOError, FileNotFoundError):
        return False


def _located(name: str) -> tuple[Located, str]:
    """(the model, what it will be called)."""
    found = locate(name)
    called = found.name
    if not name.endswith(".gguf") and not os.path.isfile(name):
        called = name  # as people here know it
    called = called.removesuffix(".gguf")
    own.require_name(called)
    return found, called


def _name_of_file(path: Path, otherwise: str) -> str:
    """What a file is called that a created model is made of."""
    for model in local_models():
        if model.path == path and model.modelfile is None:
            return model.name
    return otherwise


def _file_names(files: Sequence[Path]) -> list[str]:
    """Their own if they can be, as Ollama's cannot."""
    names = [path.name for path in files]
    if all(MODEL_FILE.fullmatch(name) for name in names):
        return names
    n = len(files)
    return ["model.gguf"] if n == 1 else [f"model-{i:05}-of-{n:05}.gguf" for i in range(1, n + 1)]


def _entries(files: Sequence[Path], names: Sequence[str]) -> tuple[Entry, ...]:
    with changing(files[0] if files else Path()):
        pairs = zip(files, names, strict=True)
        return tuple(Entry(name, path.stat().st_size, _UNKNOWN) for path, name in pairs)


def _write(out: BinaryIO, plan: Plan, report: Report) -> Contents:
    """All of it; the manifest again when the checksums are known, which are as long as unknown ones."""
    archive.put(out, _MANIFEST, plan.contents.as_json())
    if plan.contents.install_script:
        archive.put(out, _SCRIPT, plan.contents.install_script)
    checksums, done = [], 0
    for (name, entry), source in zip(plan.contents.members(), plan.sources, strict=True):
        archive.begin(out, name, entry.size_bytes)
        with source.open("rb") as opened:
            checksums.append(_copy(opened, out, entry.size_bytes, behind(done, report)).hexdigest())
        archive.finish(out, entry.size_bytes)
        done += entry.size_bytes
    contents = _with_checksums(plan.contents, checksums)
    manifest = contents.as_json()
    archive.put(out, _SEAL, _seal(manifest))
    archive.end(out)
    out.seek(0)
    archive.put(out, _MANIFEST, manifest)
    return contents


def _with_checksums(contents: Contents, checksums: list[str]) -> Contents:
    rest = iter(checksums)
    wheels = tuple(replace(wheel, sha256=next(rest)) for wheel in contents.wheels)
    models = (
        replace(model, files=tuple(replace(entry, sha256=next(rest)) for entry in model.files))
        for model in contents.models
    )
    return replace(contents, wheels=wheels, models=tuple(models))


def _seal(manifest: bytes) -> bytes:
    """As sha256sum writes it."""
    return f"{hashlib.sha256(manifest).hexdigest()}  {_MANIFEST}\n".encode()


def open_bundle(path: Path) -> Bundle:
    """Read the manifest of a bundle, and check that the rest is laid out as it says.

    Raises:
        NotFound: no such file.
        IntegrityError: it is no bundle, damaged, or not complete.
        DiskError.
    """
    if not path.exists():
        raise NotFound(f"no bundle is called {str(path)!r}", hint="`edgeinfer bundle create` writes one")
    if not path.is_file():
        raise NotFound(f"{path} is no file", hint="a bundle is read twice: save what comes through a pipe")
    with changing(path), path.open("rb") as opened:
        manifest = archive.take(opened, _MANIFEST, MOST_BYTES)
        contents = read_manifest(manifest)
        if contents.install_script:
            archive.require(opened, _SCRIPT, contents.install_script)
        offsets = {name: archive.skip(opened, name, entry.size_bytes) for name, entry in contents.members()}
        archive.require(opened, _SEAL, _seal(manifest))
        archive.require_end(opened)
    return Bundle(path, contents, offsets)


def verify(bundle: Bundle, report: Report) -> None:
    """Read all of it. Raises IntegrityError, naming the file that is not what the manifest promises."""
    done = 0
    with changing(bundle.path), bundle.path.open("rb") as opened:
        for name, entry in bundle.contents.members():
            opened.seek(bundle.offsets[name])
            found = _copy(opened, None, entry.size_bytes, behind(done, report))
            if found.hexdigest() != entry.sha256:
                raise _wrong(entry)
            done += entry.size_bytes


def install(bundle: Bundle, report: Report) -> None:
    """Put its models into our own store. What was cut off goes on; each appears when it is whole and right.

    Raises:
        InvalidRequest: another model is called so.
        IntegrityError: a file is not what the manifest promises. BadModelFile: it is, and is no model.
        DiskError.
    """
    with changing(bundle.path):
        own.forget_abandoned()
        _install_models(bundle, report)
        first = {model.name: model.files[0].file for model in bundle.contents.models}
        for created in bundle.contents.created:
            modelfile = created.read()
            place = own.place_of(modelfile.base) / first[modelfile.base]
            _create(created.name, replace(modelfile, base=str(place)))


def _install_models(bundle: Bundle, report: Report) -> None:
    done = sum(wheel.size_bytes for wheel in bundle.contents.wheels)
    for i, model in enumerate(bundle.contents.models):
        size = sum(entry.size_bytes for entry in model.files)
        with only_writer(own.lock_of(model.key), lambda: None):
            if not _is_here(model, behind(done, report)):
                _install(bundle, i, model, behind(done, report))
        done += size
        report(done)


def _create(name: str, modelfile: Modelfile) -> None:
    if own.was_created(name):
        if own.created_with(name) == modelfile:
            return
        raise InvalidRequest(f"a model is called {name!r} already", hint=f"`edgeinfer rm {name}` forgets it")
    own.create(name, modelfile)


def _install(bundle: Bundle, i: int, model: BundledModel, report: Report) -> None:
    from edgeinfer import _native

    with own.arriving(model.name, model.key) as folder:
        missing = sum(entry.size_bytes - _size(folder / entry.file) for entry in model.files)
        require_space(folder, missing, model.name, "let XDG_DATA_HOME name a folder on another disk")
        done = 0
        for entry in model.files:
            offset = bundle.offsets[f"models/{i}/{entry.file}"]
            _extract(bundle.path, offset, entry, folder / entry.file, behind(done, report))
            done += entry.size_bytes
        try:
            _native.gguf_open(str(folder / model.files[0].file))
        except EdgeInferError:
            shutil.rmtree(folder)  # it is what was promised: nothing would make it better
            raise


def _is_here(model: BundledModel, report: Report) -> bool:
    """Whether the same was installed before."""
    folder, done = own.place_of(model.name), 0
    for entry in model.files:
        if _size(folder / entry.file) != entry.size_bytes:
            return False
        with (folder / entry.file).open("rb") as opened:
            found = _copy(opened, None, entry.size_bytes, behind(done, report))
        if found.hexdigest() != entry.sha256:
            return False
        done += entry.size_bytes
    return True


def _extract(path: Path, offset: int, entry: Entry, place: Path, report: Report) -> None:
    """One file, from where an earlier attempt stopped; from its beginning if that led to something else."""
    for begun in (_size(place) > 0, False):
        if _append(path, offset, entry, place, report) == entry.sha256:
            return
        place.unlink()
        if not begun:
            break
    raise _wrong(entry)


def _append(path: Path, offset: int, entry: Entry, place: Path, report: Report) -> str:
    """What of a file is not there yet. Returns the checksum of all of it."""
    with path.open("rb") as source, place.open("a+b") as out:
        n_here = out.seek(0, os.SEEK_END)
        if n_here > entry.size_bytes:
            n_here = out.truncate(0)
        out.seek(0)
        digest = _copy(out, None, n_here, report)
        source.seek(offset + n_here)
        _copy(source, out, entry.size_bytes - n_here, behind(n_here, report), digest)
        out.flush()
        os.fsync(out.fileno())
    return digest.hexdigest()


def _copy(
    source: BinaryIO, out: BinaryIO | None, n_bytes: int, report: Report, digest: _Hash | None = None
) -> _Hash:
    """So many bytes, to a file if there is one. Returns their sha256, with what it has seen before."""
    digest, left = digest or hashlib.sha256(), n_bytes
    while left:
        piece = source.read(min(left, _PIECE))
        if not piece:
            raise DiskError(f"{source.name} has become shorter while it was read")
        digest.update(piece)
        if out is not None:
            out.write(piece)
        left -= len(piece)
        report(n_bytes - left)
    return digest


def _wrong(entry: Entry) -> IntegrityError:
    return IntegrityError(
        f"{entry.file} is not what the manifest promises: its checksum should be {entry.sha256}",
        hint="nothing of it is kept; copy the bundle again",
    )


def _size(path: Path) -> int:
    """0 if it is not there."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
