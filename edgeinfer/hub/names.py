"""What people call a model, turned into its file."""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from edgeinfer.errors import AmbiguousName, NotFound
from edgeinfer.hub.located import Located

if TYPE_CHECKING:
    from edgeinfer.hub.store import LocalModel

BUNDLED = ("edgeinfer-tiny", "edgeinfer-nano")  # ship inside the package

_MOST_NEAR = 3  # names that are shown to who mistyped one
_LEAST_PART = 3  # letters of a name that tell which one is meant
_HUB = re.compile(r"(?:https?://)?(?:www\.)?(?:hf\.co|huggingface\.co)/|hf://")
REPO = re.compile(r"([A-Za-z0-9][\w.-]{0,95})/([A-Za-z0-9][\w.-]{0,95})")
_AT_REVISION = re.compile(r"(?:resolve|blob)/(\w[\w.-]*)/(.+)")
_DIGEST = re.compile(r"(?:sha256[:-])?([0-9a-f]{64})|sha256[:-]([0-9a-f]{32,63})")  # 128 bits are one file


@dataclass(frozen=True)
class HubName:
    """Something in a repository of the Hugging Face hub."""

    repo: str  # "user/repo"
    quant: str | None = None  # as variants.spelled writes it
    file: str | None = None  # in the repository, with forward slashes
    revision: str = "main"
    sha256: str | None = None  # that the catalog promises


@dataclass(frozen=True)
class Address:
    """A file anywhere on the web."""

    url: str
    sha256: str | None = None


@dataclass(frozen=True)
class Digest:
    """The sha256 of a file, or how it begins."""

    sha256: str


def find_model(name: str | os.PathLike[str] | Located | None = None) -> Path:
    """The GGUF file of a name or path, or its first shard; without a name the bundled tiny model.

    A name is a bundled model, a path, one of our aliases, a short name of the catalog (`qwen3:4b`), a
    repository (`user/repo:QUANT`, also behind `hf.co/`), a name that Ollama gave, or a sha256. What it means
    must be on this machine, in whatever program's folder; nothing is fetched.

    Raises:
        NotFound: nothing here is called so; the hint says how to get it.
        AmbiguousName: several models are.
    """
    return locate(name).path


def locate(name: str | os.PathLike[str] | Located | None = None) -> Located:
    """`find_model`, with all that is known of the model."""
    if isinstance(name, Located):
        return name
    if name is None:
        name = BUNDLED[0]
    if isinstance(name, str) and name in BUNDLED:
        return Located(_bundled(name), name)
    path = Path(name)
    if os.path.isfile(path):  # pathlib's raises for names that are too long
        return Located(path, path.stem)
    if isinstance(name, str) and not _means_a_path(name):
        return find_local(name).located
    if os.path.isdir(path):
        raise NotFound(f"{path} is a folder", hint="give the path of a .gguf file in it")
    raise NotFound(
        f"no model is called {os.fspath(name)!r}",
        hint="there is no such file; `edgeinfer list` tells what is here",
    )


def find_local(name: str) -> LocalModel:
    """The model of a store that answers to a name. Raises NotFound, AmbiguousName."""
    from edgeinfer.hub.store import local_models

    models = local_models()
    found = matching(name, models)
    if not found:
        raise _not_here(name, models)
    if len(found) > 1:
        choices = ", ".join(model.name for model in found)
        raise AmbiguousName(f"{name!r} may be several models", hint=f"say which: {choices}")
    return found[0]


def matching(name: str, models: list[LocalModel]) -> list[LocalModel]:
    """Those that a name may mean: what we call so, what the hub does, what another program does.

    Of one model in several stores the first is taken.
    """
    alike = [m for m in models if {name.lower(), f"{name.lower()}:latest"} & {n.lower() for n in m.names}]
    for several in ([m for m in alike if m.store == "edgeinfer"], _meant(parse(name), models), alike):
        if several:
            return list({model.key: model for model in reversed(several)}.values())[::-1]
    return []


def _meant(wanted: HubName | Address | Digest | None, models: list[LocalModel]) -> list[LocalModel]:
    from edgeinfer.hub.store.own import web_folder

    if isinstance(wanted, Digest):
        return [m for m in models if m.sha256 is not None and m.sha256.startswith(wanted.sha256)][:1]
    if isinstance(wanted, Address):
        return [m for m in models if m.path.parent == web_folder(wanted.url)]
    return [m for m in models if wanted is not None and m.repo is not None and _is_of(wanted, m)]


def parse(name: str) -> HubName | Address | Digest | None:
    """What a name means away from this machine's files; None: nothing that we know.

    Raises:
        NotFound: a hub name that cannot be one.
    """
    if digest := _DIGEST.fullmatch(name.lower()):
        return Digest(digest[1] or digest[2])
    on_hub = _HUB.match(name)
    if on_hub is None and re.match(r"https?://", name):
        url, _, fragment = name.partition("#")
        return Address(url, fragment.removeprefix("sha256=") or None) if _is_address(url) else None
    if on_hub is None and (short := _short_name(name)):
        return short
    rest = name[on_hub.end() :] if on_hub else name
    parsed = _hub_name(rest.partition("?")[0].strip("/"))
    if parsed is None and on_hub:
        raise NotFound(f"{name!r} is no name on the hub", hint="names are user/repo or user/repo:QUANT")
    return parsed


def looks_like_model(word: str) -> bool:
    """Whether a word on a command line means a model: a name that we know, a .gguf path or a file."""
    if word in BUNDLED or word.endswith(".gguf"):
        return True
    if any(c.isspace() for c in word) or not word:
        return False
    if os.path.isfile(word) or _short_name(word) is not None or _HUB.match(word):
        return True
    from edgeinfer.hub.store import local_models, own

    return own.was_created(word) or own.linked(word) is not None or bool(matching(word, local_models()))


def _is_address(url: str) -> bool:
    try:
        return bool(urlsplit(url).hostname)
    except ValueError:  # an open bracket, a port that is no number
        return False


def _short_name(name: str) -> HubName | None:
    from edgeinfer.hub.catalog import catalog

    known = catalog().lookup(name)
    if known is None:
        return None
    model, quant = known
    file = model.files.get(quant)
    return HubName(
        model.repo,
        quant,
        revision=model.revision,
        file=file.name if file else None,
        sha256=file.sha256 if file else None,
    )


def _hub_name(text: str) -> HubName | None:
    """`user/repo`, `user/repo:QUANT`, `user/repo@QUANT`, `user/repo/file.gguf` or the path of an address."""
    from edgeinfer.hub.variants import spelled

    repo = REPO.match(text)
    if repo is None or any(bad in repo[0] for bad in ("--", "..")):
        return None
    rest = text[repo.end() :]
    if not rest:
        return HubName(repo[0])
    if rest[0] in ":@":
        return HubName(repo[0], quant=spelled(rest[1:])) if re.fullmatch(r"[\w.-]+", rest[1:]) else None
    if not rest.endswith(".gguf"):
        return None
    if at := _AT_REVISION.fullmatch(rest[1:]):
        return HubName(repo[0], file=at[2], revision=at[1])
    return HubName(repo[0], file=rest[1:])


def _is_of(wanted: HubName, model: LocalModel) -> bool:
    assert model.repo is not None
    if model.repo.lower() != wanted.repo.lower():
        return False
    if wanted.quant is None and wanted.file is not None:
        return model.path.name == wanted.file.rpartition("/")[2]
    return wanted.quant in (None, model.quant)


def _means_a_path(name: str) -> bool:
    if name.startswith((".", "/", "~")):
        return True
    return name.endswith(".gguf") and parse(name) is None


def _not_here(name: str, models: list[LocalModel]) -> NotFound:
    from edgeinfer.hub.store import own

    if own.was_created(name):
        base = getattr(own.created_with(name), "base", "")
        hint = f"put it back, or create {name} again; `edgeinfer rm {name}` forgets it"
        return NotFound(f"the file that {name} was created from is gone or damaged: {base}", hint=hint)
    if (file := own.linked(name)) is not None:
        hint = f"put it back; `edgeinfer rm {name}` forgets the name"
        return NotFound(f"the file that {name} stands for is gone or damaged: {file}", hint=hint)
    if name in BUNDLED:
        return NotFound(f"{name} is inside the package, there is no copy", hint="it goes with edgeinfer")
    message, wanted = f"no model is called {name!r}", parse(name)
    if isinstance(wanted, HubName) and name.endswith(".gguf"):
        return NotFound(message, hint=f"there is no such file; `edgeinfer pull {name}` asks the hub for it")
    if isinstance(wanted, HubName | Address):
        return NotFound(f"{message} on this machine", hint=f"`edgeinfer pull {name}` fetches it")
    near = nearest(name, models)
    if near:
        return NotFound(message, hint="did you mean " + " or ".join(near))
    return NotFound(message, hint="`edgeinfer list` tells what is here; a file needs its path")


def nearest(name: str, models: list[LocalModel]) -> list[str]:
    """Up to three names, of models here and of the catalog, that this one is a part of or looks like."""
    from edgeinfer.hub.catalog import catalog

    known = [*BUNDLED, *(n for model in models for n in model.names), *catalog().models, *catalog().defaults]
    by_lower = {n.lower(): n for n in known}
    wanted = name.lower()
    longer = [n for n in by_lower if wanted in n and len(wanted) >= _LEAST_PART]
    close = difflib.get_close_matches(wanted, by_lower, n=_MOST_NEAR)
    return [by_lower[n] for n in dict.fromkeys([*longer, *close])][:_MOST_NEAR]


def _bundled(name: str) -> Path:
    import edgeinfer.models

    path = Path(edgeinfer.models.__path__[0]) / "tiny" / f"{name}.gguf"
    if not path.is_file():
        raise NotFound(f"this installation lacks the bundled model {name}", hint="install edgeinfer again")
    return path
