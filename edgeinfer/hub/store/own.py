"""What edgeinfer keeps itself, in `models` below its data folder.

    names/<name>.gguf         a link to a file anywhere: an alias, or an imported model
    files/<name>/<file>.gguf  an imported copy
    web/<address>/<file>.gguf a download from a plain address
    created/<name>.modelfile  a model with a system message, parameters and so on, of a file anywhere

Names and addresses are quoted as in URLs, so that no name leads out of its folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from edgeinfer.disk import changing, sync_folder
from edgeinfer.errors import DiskError, InvalidRequest
from edgeinfer.hub import folders
from edgeinfer.hub.lock import if_free
from edgeinfer.hub.modelfile import Modelfile
from edgeinfer.hub.names import BUNDLED
from edgeinfer.hub.store import created
from edgeinfer.hub.store.model import LocalModel, of_files
from edgeinfer.hub.variants import quant_of, variants
from edgeinfer.paths import data_folder

_CREATED = "created"
_MOST_CREATED = 1000  # clients of a server create them too, and all are read for a list
_ABANDONED_S = 7 * 86400
_NAME = re.compile(r"[A-Za-z0-9][\w.:/@-]{0,127}")


def models() -> Iterator[LocalModel]:
    """Aliases, imported models, downloads from plain addresses, and models that were created."""
    try:
        root = _root()
    except DiskError:  # nowhere to keep anything
        return
    for link in folders.inside(root / "names", "*.gguf"):
        if link.is_symlink():
            yield from of_files("edgeinfer", shards(link.readlink()), (_name_of(link),))
    for folder in folders.inside(root / "files", "*/"):
        for variant in variants(path.name for path in folders.inside(folder, "*.gguf")):
            yield from of_files("edgeinfer", tuple(folder / f for f in variant.files), (_name_of(folder),))
    for path in folders.inside(root / "web", "*/*.gguf"):
        yield from of_files("edgeinfer", (path,), (path.stem,), quant=quant_of(path.name))
    for name, modelfile in created.all_in(root / _CREATED):
        yield from of_files("edgeinfer", shards(Path(modelfile.base)), (name,), modelfile=modelfile)


def web_file(url: str) -> Path:
    """Where the file at a plain address is kept. Raises InvalidRequest if it cannot be a model."""
    name = unquote(urlsplit(url).path).rpartition("/")[2]
    if not re.fullmatch(r"[A-Za-z0-9][\w.+-]{0,200}\.gguf", name):
        raise InvalidRequest(
            f"{url} is no address of a model", hint="it should end in the name of a .gguf file"
        )
    return web_folder(url) / name


def web_folder(url: str) -> Path:
    """The folder of what a plain address gives."""
    return _root() / "web" / hashlib.sha256(url.encode()).hexdigest()[:16]


def link(name: str, path: Path) -> Path:
    """Call a file by one more name. Returns the link.

    Raises:
        InvalidRequest: it is no name, or something is called so.
        DiskError.
    """
    require_not_bundled(name)
    with changing(_root()):
        _free_place(name)
        place = _link_of(name)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(path)
    return place


def copy(name: str, files: tuple[Path, ...]) -> Path:
    """Keep a copy of the shards of a model under a name. Returns the folder; it appears when it is whole.

    Raises:
        InvalidRequest: it is no name, or something is called so.
        DiskError.
    """
    require_not_bundled(name)
    with arriving(name, f"{quote(name, safe='')}.{os.getpid()}") as part:
        try:
            for path in files:
                shutil.copyfile(path, part / path.name)
                with (part / path.name).open("rb") as copied:
                    os.fsync(copied.fileno())
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
    return place_of(name)


def create(name: str, modelfile: Modelfile, *, replaces: bool = True) -> None:
    """Keep what a model is created with.

    Args:
        modelfile: its base is the path of a file.
        replaces: a created one may be called so, which is one no more.

    Raises:
        InvalidRequest: it is no name, or something else is called so, or there are too many.
        DiskError.
    """
    with changing(_root()):
        if not (replaces and was_created(name)):
            _free_place(name)
            if len(folders.inside(_root() / _CREATED, "*")) >= _MOST_CREATED:
                raise InvalidRequest(
                    f"{_MOST_CREATED} models were created", hint="`edgeinfer rm` forgets one"
                )
        created.write(_root() / _CREATED, name, modelfile)


def created_with(name: str) -> Modelfile | None:
    """What a model was created with, even if its file is gone; None: no model of this name was created.

    Raises:
        BadModelfile: somebody has damaged it.
    """
    return created.one_in(_root() / _CREATED, name) if was_created(name) else None


def was_created(name: str) -> bool:
    """Whether a model of this name was, even if its file is gone."""
    with contextlib.suppress(OSError, DiskError):
        return _NAME.fullmatch(name) is not None and created.place_of(_root() / _CREATED, name).is_file()
    return False


def linked(name: str) -> Path | None:
    """The file that an alias or an imported model of this name stands for, even if it is gone."""
    with contextlib.suppress(OSError, DiskError):
        return _link_of(name).readlink() if _NAME.fullmatch(name) else None
    return None


def is_dangling(name: str) -> bool:
    """Whether an alias of this name has lost its file."""
    file = linked(name)
    return file is not None and not file.exists()


def forget(name: str) -> Path:
    """Remove a created model or an alias. Returns the Modelfile that it was, or the file that it stood for.

    Raises:
        DiskError.
    """
    stood_for = linked(name)
    place = created.place_of(_root() / _CREATED, name) if stood_for is None else _link_of(name)
    with changing(place):
        place.unlink()
    return stood_for or place


@contextlib.contextmanager
def arriving(name: str, key: str) -> Iterator[Path]:
    """A folder for the shards of a model, that is called so when the `with` statement ends well.

    Else it stays, and what is in it is there again for the same key.

    Raises:
        InvalidRequest: it is no name, or something is called so.
        DiskError.
    """
    with changing(_root()):
        _free_place(name)
        part = _root() / "part" / key
        part.mkdir(parents=True, exist_ok=True)
        yield part
        folder = place_of(name)
        folder.parent.mkdir(exist_ok=True)
        part.rename(folder)
        sync_folder(folder.parent)


def place_of(name: str) -> Path:
    """The folder of a copy of this name. Raises DiskError for a user without a home."""
    return _root() / "files" / quote(name, safe="")


def lock_of(key: str) -> Path:
    """What the only process that writes what arrives holds."""
    return _root() / "part" / f"{key}.lock"


def forget_abandoned() -> None:
    """Remove what arrived in part and nobody has gone on with for a week; never what a process writes."""
    longest_ago = time.time() - _ABANDONED_S
    for part in folders.inside(_root() / "part", "*/"):
        with if_free(lock_of(part.name)) as is_free, contextlib.suppress(OSError):
            if is_free and all(path.stat().st_mtime < longest_ago for path in (part, *part.iterdir())):
                shutil.rmtree(part)


def require_name(name: str) -> None:
    """Raises InvalidRequest if a model cannot be called so."""
    if not _NAME.fullmatch(name) or ".." in name or name.endswith(".gguf"):
        raise InvalidRequest(
            f"{name!r} cannot be the name of a model", hint="letters, digits and any of . _ : / @ -"
        )


def require_not_bundled(name: str) -> None:
    """Raises InvalidRequest if that is what a bundled model is called, which would be meant and not ours."""
    if name.lower() in BUNDLED:
        raise InvalidRequest(f"{name} is a bundled model", hint="give another name")


def remove(model: LocalModel) -> int:
    """Remove an alias, a copy, a download or what was created. Returns the bytes that this frees: none of
    a file that is only linked.

    Raises:
        DiskError.
    """
    if model.modelfile is not None or linked(model.name) is not None:
        forget(model.name)
        return 0
    with changing(model.path):
        shutil.rmtree(model.path.parent)
    return model.size_bytes


def require_unused(model: LocalModel) -> None:
    """Raises InvalidRequest if aliases or created models would lose the files that they stand for."""
    if model.store == "edgeinfer" and (model.modelfile is not None or linked(model.name) is not None):
        return  # none of these has files
    file = model.path.resolve()
    users = sorted(m.name for m in models() if m.name != model.name and m.path.resolve() == file)
    if users:
        raise InvalidRequest(
            f"{', '.join(users)} would be lost with {model.name}: the file is the same",
            hint=f"`edgeinfer rm {' '.join(users)} {model.name}` removes all of them",
        )


def shards(path: Path) -> tuple[Path, ...]:
    """All files of the model that this one is, or is a shard of; only this if one is missing."""
    for variant in variants(p.name for p in folders.inside(path.parent, "*.gguf")):
        if path.name in variant.files:
            return tuple(path.parent / file for file in variant.files)
    return (path,)


def _free_place(name: str) -> None:
    require_name(name)
    taken = (known.lower() for model in models() for known in model.names)
    if name.lower() in taken or was_created(name):
        raise InvalidRequest(f"a model is called {name!r} already", hint=f"`edgeinfer rm {name}` forgets it")
    _link_of(name).unlink(missing_ok=True)  # a name whose file is gone


def _link_of(name: str) -> Path:
    return _root() / "names" / f"{quote(name, safe='')}.gguf"


def _name_of(path: Path) -> str:
    return unquote(path.name.removesuffix(".gguf"))


def _root() -> Path:
    return data_folder() / "models"
