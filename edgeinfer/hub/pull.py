"""`pull`: a model by name, from the Hugging Face hub into its cache, or from a plain address.

    plan = plan_pull("qwen3:4b")    # asks the hub, writes nothing
    path = pull(plan)               # fetches what is missing, checks everything, then shows it

The links that make a model visible to us and to other programs appear last, when all of its files are right.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgeinfer.disk import changing, require_space, sync_folder
from edgeinfer.errors import AmbiguousName, IntegrityError, InvalidRequest, NotFound
from edgeinfer.hub.catalog import catalog
from edgeinfer.hub.lock import only_writer
from edgeinfer.hub.names import BUNDLED, Address, Digest, HubName, nearest, parse
from edgeinfer.hub.network import RemoteFile, Repository, read_address, read_repository
from edgeinfer.hub.report import Report, behind
from edgeinfer.hub.store.huggingface import repo_folder
from edgeinfer.hub.store.own import web_file
from edgeinfer.hub.transfer import Patience, fetch, is_right, part_of, patiently
from edgeinfer.hub.variants import Variant, variants


@dataclass(frozen=True)
class Item:
    """One file of a model, and where it goes."""

    file: RemoteFile
    place: Path
    lock: Path
    link: Path | None = None  # by which programs find it; None: by its place

    def places(self) -> list[Path]:
        """Where the file may be: on file systems without links it is moved to where its link would be."""
        moved = self.link is not None and self.link.is_file() and not self.link.is_symlink()
        return [self.link] if self.link is not None and moved else [self.place]

    def here_bytes(self) -> int:
        """How much of it an earlier pull left here."""
        for path in (*self.places(), part_of(self.place, self.file)):
            with contextlib.suppress(OSError):
                return min(path.stat().st_size, self.file.size_bytes)
        return 0


@dataclass(frozen=True)
class Plan:
    """What a pull will fetch."""

    name: str  # as it was asked for
    items: tuple[Item, ...]  # the shards in order
    repo: str | None = None
    commit: str | None = None
    architecture: str | None = None  # if the hub tells
    revision: str = "main"
    sizes: Mapping[str, int] = field(
        default_factory=dict
    )  # by name, in bytes: all variants of the repository

    @property
    def path(self) -> Path:
        """What to open when it is here."""
        first = self.items[0]
        return first.link or first.place

    @property
    def size_bytes(self) -> int:
        """Of all files."""
        return sum(item.file.size_bytes for item in self.items)

    def here_bytes(self) -> int:
        """How many of them are here."""
        return sum(item.here_bytes() for item in self.items)


def plan_pull(name: str, patience: Patience | None = None) -> Plan:
    """What `pull` would fetch for a name. Writes nothing.

    Raises:
        NotFound, AmbiguousName: the name, in a repository or altogether; the hint lists what there is.
        IntegrityError: the hub has another file than the catalog promises.
        AccessDenied, Offline, NetworkError.
    """
    patience = patience or Patience()
    if name in BUNDLED:
        raise InvalidRequest(f"{name} is inside the package", hint=f"`edgeinfer run {name}` needs no pull")
    wanted = parse(name)
    if isinstance(wanted, Digest):
        wanted = _of_catalog(wanted)
    if isinstance(wanted, HubName):
        return _of_hub(name, wanted, patience)
    if isinstance(wanted, Address):
        return _of_address(name, wanted, patience)
    near = nearest(name, [])
    hint = "did you mean " + " or ".join(near) if near else "names are qwen3:4b, user/repo:QUANT, an address"
    raise NotFound(f"nothing to pull is called {name!r}", hint=hint)


def pull(plan: Plan, patience: Patience | None = None, report: Report = lambda n_bytes: None) -> Path:
    """Fetch what is missing, check all of it, and make it visible. Returns the path to open.

    Args:
        report: told how many bytes of the whole model are here, again and again.

    Raises:
        DiskError, IntegrityError, BadModelFile, and what `plan_pull` raises.
    """
    missing = plan.size_bytes - plan.here_bytes()
    require_space(plan.items[0].place, missing, plan.name, "let HF_HOME name a folder on another disk")
    before = 0
    with changing(plan.path.parent):
        for item in plan.items:
            _pull_item(item, patience or Patience(), behind(before, report))
            before += item.file.size_bytes
        _show(plan)
    from edgeinfer import _native

    _native.gguf_open(str(plan.path))  # the right file, but no model?
    return plan.path


def _pull_item(item: Item, patience: Patience, report: Report) -> None:
    with only_writer(item.lock, lambda: report(item.here_bytes())):
        if not any(is_right(item.file, path, report) for path in item.places()):
            fetch(item.file, item.place, patience, report)


def _of_hub(name: str, wanted: HubName, patience: Patience) -> Plan:
    repository = patiently(lambda: read_repository(wanted.repo, wanted.revision), patience)
    files = {file.name: file for file in repository.files}
    found = variants(files)
    variant = _chosen(name, wanted, repository, found)
    if wanted.sha256 not in (None, files[variant.files[0]].sha256):
        raise IntegrityError(
            f"{repository.repo} has another {variant.files[0]} than edgeinfer's catalog knows",
            hint=f"to take it all the same: edgeinfer pull {repository.repo}:{variant.quant}",
        )
    folder = repo_folder(repository.repo)
    locks = folder.parent / ".locks" / folder.name  # names and locks are those of huggingface_hub
    items = []
    for file in (files[shard] for shard in variant.files):
        etag = file.sha256 or file.git_sha1
        assert etag is not None, "network.read_repository gives no others"
        link = folder / "snapshots" / repository.commit / file.name
        items.append(Item(file, folder / "blobs" / etag, locks / f"{etag}.lock", link))
    sizes = {
        called: sum(files[shard].size_bytes for shard in v.files)
        for v, called in zip(found, _names(repository.repo, found), strict=True)
    }
    return Plan(
        name,
        tuple(items),
        repository.repo,
        repository.commit,
        repository.architecture,
        wanted.revision,
        sizes,
    )


def _chosen(name: str, wanted: HubName, repository: Repository, found: list[Variant]) -> Variant:
    """The variant that is meant; never a guess."""
    repo = repository.repo
    if not found:
        raise NotFound(f"{repo} has no GGUF files", hint="look for a repository whose name ends in GGUF")
    by_file = [v for v in found if wanted.file and wanted.file.lower() in (file.lower() for file in v.files)]
    if by_file:
        return by_file[0]
    by_quant = [v for v in found if wanted.quant in (None, v.quant)]
    if not by_quant or (wanted.file and not wanted.quant):
        raise NotFound(f"{repo} has no {wanted.file or wanted.quant}", hint=f"it has {_choices(repo, found)}")
    if len(by_quant) > 1:
        raise AmbiguousName(f"{name!r} may be several models", hint=f"say which: {_choices(repo, by_quant)}")
    return by_quant[0]


def _of_catalog(wanted: Digest) -> HubName | None:
    """The file of the catalog with this checksum."""
    for model in catalog().models.values():
        for quant, file in model.files.items():
            if file.sha256 is not None and file.sha256.startswith(wanted.sha256):
                return HubName(model.repo, quant, file.name, model.revision, file.sha256)
    return None


def _names(repo: str, found: list[Variant]) -> list[str]:
    """How each is called among these."""
    quants = [variant.quant for variant in found]
    return [
        f"{repo}:{v.quant}" if v.quant and quants.count(v.quant) == 1 else f"{repo}/{v.files[0]}"
        for v in found
    ]


def _choices(repo: str, found: list[Variant]) -> str:
    return ", ".join(_names(repo, found))


def _of_address(name: str, wanted: Address, patience: Patience) -> Plan:
    place = web_file(wanted.url)
    if wanted.sha256 is not None and len(wanted.sha256) != 64:
        raise InvalidRequest("a checksum in an address is #sha256= and 64 hexadecimal digits")
    asked = patiently(lambda: read_address(wanted.url), patience)
    file = RemoteFile(place.name, asked.url, asked.size_bytes, wanted.sha256, etag=asked.etag)
    return Plan(name, (Item(file, place, place.with_name(place.name + ".lock")),))


def _show(plan: Plan) -> None:
    """Make the files visible: their links, and what the branch points to."""
    for item in plan.items:
        if item.link is not None and item.link not in item.places():
            _link(item.link, item.place)
    if plan.repo is not None and plan.commit not in (None, plan.revision):
        ref = repo_folder(plan.repo) / "refs" / plan.revision
        ref.parent.mkdir(parents=True, exist_ok=True)
        new = ref.with_name(f"{ref.name}.{os.getpid()}.tmp")
        new.write_text(str(plan.commit))
        new.replace(ref)


def _link(link: Path, place: Path) -> None:
    """Let a link point to its file; where the file system has none, the file itself goes there."""
    link.parent.mkdir(parents=True, exist_ok=True)
    new = link.with_name(f".{link.name}.{os.getpid()}.tmp")
    try:
        new.symlink_to(os.path.relpath(place, link.parent))
    except OSError:
        place.replace(link)
    else:
        new.replace(link)
    sync_folder(link.parent)
