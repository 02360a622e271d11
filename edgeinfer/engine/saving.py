"""Kept sequences on their way to files and back, see kv/disk.py.

A sequence is written by a thread of its own while the engine is idle: a fork holds its blocks meanwhile, so
nobody writes into them. It is read back in the engine's thread when a request needs it, as long as that was
measured to be faster than computing it again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from edgeinfer.backends.base import Backend, SeqId
from edgeinfer.engine.budget import moving_average
from edgeinfer.engine.prefix import Kept, PrefixCache, Tokens, common_prefix
from edgeinfer.errors import DiskError, EdgeInferError, NoRoom
from edgeinfer.kv.disk import Blocks, Saved, SavedPrefixes

_LEAST = 256  # tokens; fewer are read again soon enough
_GROWTH = 8  # files are written whole: again when the eighth part of a sequence is new
_WEIGHT = 0.5  # of the newest measurement in a moving average


class PrefixSaver:
    """Belongs to the engine's thread.

    Args:
        post: runs something in the engine's thread, from any thread.
    """

    def __init__(
        self,
        backend: Backend,
        cache: PrefixCache,
        store: SavedPrefixes,
        post: Callable[[Callable[[], None]], None],
    ) -> None:
        self._backend, self._cache, self._store, self._post = backend, cache, store, post
        self._writer: threading.Thread | None = None
        self._held: SeqId | None = None  # the fork that is being written
        self._load_s: float | None = None  # of a token
        self._read_s: float | None = None
        self._closing = False
        self._too_long = 1 << 30  # tokens; a sequence of so many is larger than all files may be
        self.n_saved = 0  # tokens written
        self.n_loaded = 0  # tokens read back
        self.error: EdgeInferError | None = None  # why nothing is saved any more

    def observe_reading(self, n_tokens: int, seconds: float) -> None:
        """So many prompt tokens were computed in so long, by themselves."""
        if n_tokens >= _LEAST:
            self._read_s = moving_average(self._read_s, seconds / n_tokens, _WEIGHT)

    def save_next(self) -> None:
        """Begin to write the kept sequence that was used last, unless one is being written."""
        if self._writer is not None or self.error is not None:
            return
        kept = next((k for k in self._cache.latest_first() if self._worth_saving(k)), None)
        if kept is None:
            return
        try:
            held = self._backend.open()
        except NoRoom:
            return
        n = self._backend.fork(kept.seq, held, len(kept.tokens))
        tokens, blocks = kept.tokens[:n], self._backend.snapshot(held)
        self._held = held
        self._writer = threading.Thread(target=self._write, args=(tokens, blocks), name="save-kv")
        self._writer.start()

    def recall(self, tokens: Tokens, n_there: int, open_with_room: Callable[[int], SeqId | None]) -> bool:
        """Read back what a request needs, if a file has much more of it than is there; it is kept then.

        Returns whether anything kept may be another now: this, or what gave way for it.
        """
        if len(tokens) - n_there <= _LEAST:
            return False
        best, n = None, n_there + _LEAST - 1
        for saved in self._store.all:
            common = min(common_prefix(saved.tokens, tokens), len(tokens) - 1)
            if common > n:
                best, n = saved, common
        if best is None or self._is_slower():
            return False
        seq = open_with_room(n)
        if seq is None:
            return True
        start = time.perf_counter()
        blocks = self._store.load(best, -(-n // self._backend.traits.kv_block_tokens))
        try:
            got = 0 if blocks is None else self._backend.restore(seq, n, blocks)
        except NoRoom:
            got = 0
        if got == 0:
            self._backend.close(seq)
            return True
        self._load_s = moving_average(self._load_s, (time.perf_counter() - start) / got, _WEIGHT)
        self.n_loaded += got
        self._cache.keep(seq, tokens[:got])
        return True

    def release(self) -> bool:
        """Let go of the blocks that are being written, once they are; False when there are none."""
        if self._held is None or self._writer is None:
            return False
        self._writer.join()
        self._backend.close(self._held)
        self._held = None
        return True

    def finish(self, run_posted: Callable[[], None]) -> None:
        """Write the last state of what was used last, and wait for it."""
        self._wait(run_posted)
        self._closing = True
        self.save_next()
        self._wait(run_posted)

    def _wait(self, run_posted: Callable[[], None]) -> None:
        if self._writer is not None:
            self._writer.join()
            run_posted()

    def _worth_saving(self, kept: Kept) -> bool:
        if not _LEAST <= len(kept.tokens) < self._too_long:
            return False
        n = len(kept.tokens)
        least = _LEAST if self._closing else max(_LEAST, n // _GROWTH)
        return not any(n - common_prefix(s.tokens, kept.tokens) < least for s in self._store.all)

    def _is_slower(self) -> bool:
        return self._load_s is not None and self._read_s is not None and self._load_s > self._read_s

    def _write(self, tokens: Tokens, blocks: Blocks) -> None:
        saved: Saved | None = None
        error: DiskError | None = None
        try:
            saved = self._store.write(tokens, blocks)
        except DiskError as full:
            error = full
        except Exception as bug:
            error = DiskError(f"cannot save keys and values: {type(bug).__name__}: {bug}")
        self._post(lambda: self._written(len(tokens), saved, error))

    def _written(self, n_tokens: int, saved: Saved | None, error: DiskError | None) -> None:
        self.release()
        self._writer = None
        if saved is not None:
            self.n_saved += len(saved.tokens)
            self._store.add(saved)
        elif error is None:
            self._too_long = n_tokens
        self.error = error
