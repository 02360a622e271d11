"""SavedPrefixes: keys and values of sequences in files, so that a restart does not read everything again.

The files of a model, see run_file.py, are a tree in a folder of its own: each begins a sequence or continues
another file. A conversation that goes on adds a file with what is new; one that shares a system prompt adds a
file that continues the other's. The folder is all there is: names tell the tree, heads are read when a search
comes by, and nothing has to agree with anything else after a crash or beside another process. Hence no
database: it would be a second truth beside the files, with damage of its own to recover from.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeinfer.backends.base import KvBlock
from edgeinfer.errors import DiskError
from edgeinfer.kv.disk_space import make_room, remove
from edgeinfer.kv.run_file import SUFFIX, Run, parent_of, read_blocks, read_run, write_run
from edgeinfer.kv.tokens import Tokens, common_prefix

_RUN_BYTES = 64 << 20  # of a file, unless one block is larger: what an interrupted save loses


@dataclass(frozen=True)
class Chain:
    """Runs that together hold the first `n` tokens of a sequence."""

    runs: tuple[Run, ...]
    n: int

    def blocks(self, block_tokens: int) -> Iterator[tuple[Run, int]]:
        """Of which run how many first blocks are needed."""
        ends = [*(run.start for run in self.runs[1:]), self.n]
        for run, end in zip(self.runs, ends, strict=False):
            yield run, -(-(end - run.start) // block_tokens)


@dataclass(frozen=True)
class Unsaved:
    """The next run of a sequence that is not in a file."""

    run: Run
    after: tuple[Run, ...]  # what it continues, from the beginning
    blocks: slice  # of the sequence
    n_tokens: int  # of the sequence, in this run and behind it


def model_key(path: Path, kv_format: str) -> str:
    """What must be the same for saved keys and values to be of use.

    The weights are known by size, time of change and the first MiB, which tells names, shapes and settings;
    reading all of them would take longer than it saves.
    """
    info = path.stat()
    with path.open("rb") as file:
        head = hashlib.sha256(file.read(1 << 20)).hexdigest()
    return f"{head} {info.st_size} {info.st_mtime_ns} {kv_format}"


class SavedPrefixes:
    """The saved sequences of one model. For one thread, but for `write`.

    Args:
        folder: of all models; made when something is saved.
        key: what must be the same for a file to be of use: the model and the format of its KV memory.
        block_tokens: tokens of a block.
        most_bytes: of all files of all models together; the longest unused go first.
    """

    def __init__(self, folder: Path, key: str, block_tokens: int, most_bytes: int) -> None:
        self._root, self._key = folder, key
        self._folder = folder / hashlib.sha256(key.encode()).hexdigest()[:24]
        self._block_tokens = block_tokens
        self._most_bytes = most_bytes
        self._listed_at: int | None = None  # time of change of the folder, or None: list it again
        self._inodes: dict[str, int] = {}  # by file name
        self._children: dict[str, list[str]] = {}  # file names by the run that they continue
        self._heads: dict[str, Run] = {}  # by file name, as far as they have been read
        self._within: dict[str, SavedPrefixes] = {"": self}

    def within(self, namespace: str) -> SavedPrefixes:
        """The sequences of a namespace, in a folder of their own: they are of no use to others."""
        if namespace not in self._within:
            key = f"{self._key} for {namespace}"
            self._within[namespace] = SavedPrefixes(self._root, key, self._block_tokens, self._most_bytes)
        return self._within[namespace]

    def find(self, tokens: Tokens) -> Chain:
        """The longest beginning of a sequence that is saved."""
        self._look()
        best, most = Chain((), 0), (0, 0)
        ends = [best]
        while ends:
            end = ends.pop()
            parent, before = (end.runs[-1].name, end.runs[-1].start) if end.runs else ("", -1)
            for file_name in self._children.get(parent, ()):
                run = self._head(file_name)
                if run is None or not before < run.start <= end.n:
                    continue
                n = run.start + common_prefix(run.tokens, tokens[run.start :])
                if n == run.start or (n < best.n and run.name not in self._children):
                    continue
                chain = Chain((*end.runs, run), n)
                ends.append(chain)
                # Of equal ones that with more in it: blocks of others may lack parts.
                size = (n, self._n_bytes(chain))
                if size > most:
                    best, most = chain, size
        return best

    def unsaved(self, tokens: Tokens, blocks: Sequence[KvBlock]) -> Unsaved | None:
        """What of a sequence with these blocks is to be written next; None if all is there."""
        chain = self.find(tokens)
        n_there = chain.n // self._block_tokens if chain.n < len(tokens) else len(blocks)
        saved = (sizes for run, n in chain.blocks(self._block_tokens) for sizes in run.sizes[:n])
        of_use = (_has_all(sizes, block) for sizes, block in zip(saved, blocks[:n_there], strict=False))
        first = next((i for i, whole in enumerate(of_use) if not whole), n_there)
        if first == len(blocks):
            return None
        sizes = np.array([[part.nbytes for part in block] for block in blocks[first:]], np.uint32)
        n = max(1, int(np.searchsorted(sizes.sum(axis=1, dtype=np.int64).cumsum(), _RUN_BYTES, "right")))
        start, end = first * self._block_tokens, (first + n) * self._block_tokens
        after = tuple(run for run in chain.runs if run.start < start)
        run = Run(after[-1].name if after else "", start, tokens[start:end], sizes[:n])
        there = self._heads.get(run.file_name)
        if there is not None and np.array_equal(there.sizes, run.sizes):
            return None  # and yet less than what was found: each lacks parts that the other has
        return Unsaved(run, after, slice(first, first + n), len(tokens) - start)

    def write(self, new: Unsaved, blocks: Iterable[KvBlock]) -> bool:
        """Write a run; False if there is no room for it, what it continues has gone, or blocks are missing.

        Safe from any thread.

        Raises:
            DiskError: it could not be written; nothing has changed.
        """
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._touch(new.after)
            path = self._folder / new.run.file_name
            fits = make_room(self._root, path, new.run.n_bytes, self._most_bytes)
            return fits and write_run(path, new.run, blocks)
        except FileNotFoundError:  # somebody removed what it continues, or the folder
            return False
        except OSError as error:
            raise DiskError(
                f"cannot save keys and values in {self._folder}: {error.strerror}",
                hint="free some space there, or set EDGEINFER_KV_DISK_BYTES=0 to save nothing",
            ) from error
        finally:
            self._listed_at = None  # clocks of file systems are coarse

    def read(self, chain: Chain) -> Iterator[KvBlock]:
        """The blocks of a chain, each borrowed until the next one is asked for.

        Ends early where a file cannot be read, or is not what it was; then it is dropped.
        """
        with contextlib.suppress(OSError):
            self._touch(chain.runs)
        for run, n in chain.blocks(self._block_tokens):
            path = self._folder / run.file_name
            try:
                yield from read_blocks(path, run, n)
            except OSError:
                return
            except ValueError:
                remove(path)
                return

    def _touch(self, runs: Iterable[Run]) -> None:
        """They are of use just now."""
        for run in runs:
            os.utime(self._folder / run.file_name)

    def _look(self) -> None:
        """List the folder, if it has changed. What others have removed is forgotten."""
        try:
            changed_at = self._folder.stat().st_mtime_ns
            if changed_at == self._listed_at:
                return
            with os.scandir(self._folder) as entries:
                inodes = {entry.name: entry.inode() for entry in entries}
        except OSError:  # what cannot be looked at is not there
            changed_at, inodes = None, {}
        same = inodes.items() & self._inodes.items()  # a file that is written again is another
        self._heads = {name: self._heads[name] for name, _ in same if name in self._heads}
        self._listed_at, self._inodes = changed_at, inodes
        self._children = {}
        for name in inodes:
            if name.endswith(SUFFIX):
                self._children.setdefault(parent_of(name), []).append(name)

    def _head(self, file_name: str) -> Run | None:
        """A file that is whole, by its head; others are removed."""
        if file_name not in self._heads:
            path = self._folder / file_name
            try:
                run = read_run(path)
                if run.start % self._block_tokens or len(run.sizes) != -(
                    -len(run.tokens) // self._block_tokens
                ):
                    raise ValueError("blocks of another size")
            except OSError:
                return None
            except ValueError:
                remove(path)
                return None
            self._heads[file_name] = run
        return self._heads[file_name]

    def _n_bytes(self, chain: Chain) -> int:
        return sum(int(run.sizes[:n].sum(dtype=np.int64)) for run, n in chain.blocks(self._block_tokens))


def _has_all(sizes: NDArray[np.uint32], block: KvBlock) -> bool:
    """Whether a saved block has every part that a block in memory has."""
    return all(part.nbytes in (0, size) for size, part in zip(sizes, block, strict=False))
