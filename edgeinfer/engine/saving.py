"""Sequences on their way to files and back, see kv/disk.py.

A thread of its own writes what is new of a sequence, beside the steps: a fork holds the blocks meanwhile, so
that nobody writes into them. Finished sequences go first, the latest before others, then long prompts whose
answers are being computed. Of requests of batch priority nothing is saved: thousands may follow each other.
Sequences are read back in the engine's thread when a request needs them, as long as that was measured to be
faster than computing them again.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from weakref import WeakSet

from edgeinfer.backends.base import Backend, KvBlock, SeqId
from edgeinfer.engine.budget import moving_average
from edgeinfer.engine.prefix import Kept, PrefixCache
from edgeinfer.engine.request import Request
from edgeinfer.errors import DiskError, EdgeInferError, NoRoom
from edgeinfer.kv.disk import SavedPrefixes, Unsaved
from edgeinfer.kv.tokens import Tokens

_LEAST = 256  # tokens; fewer are read again soon enough
_LEAST_NEW = 64  # tokens worth a file of their own, but for the last ones
_LONG = 1024  # tokens of a prompt that is saved while it is being answered
_REST = 9.0  # times as long as the writer has computed: it takes a tenth of one processor
_AFTER_ERROR = 60.0  # seconds until it is tried again: a full disk may have room by then
_PATIENCE = 0.25  # seconds that a step waits for a file to be written; computing what is in it takes longer
_WEIGHT = 0.5  # of the newest measurement in a moving average
_LOOK_AGAIN = 8  # once in so many times, files that were slower than computing are tried again


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
        self._block_tokens = backend.traits.kv_block_tokens
        self._writer: _Writer | None = None
        self._held: SeqId | None = None  # the fork whose blocks are being written
        self._may_have_new = False
        self._done: WeakSet[Kept | Request] = WeakSet()  # nothing of them is to be written
        self._quiet_until = 0.0
        self._load_s: float | None = None  # of a token, the last time
        self._read_s: float | None = None
        self._n_refused = 0
        self.n_saved = 0  # tokens written
        self.n_loaded = 0  # tokens read back
        self.error: EdgeInferError | None = None  # why nothing could be saved, the last time

    def observe_reading(self, n_tokens: int, seconds: float, *, alone: bool) -> None:
        """So many prompt tokens were computed in so long, `alone` in their step or beside others."""
        self._may_have_new = True
        if alone and n_tokens >= _LEAST:
            self._read_s = moving_average(self._read_s, seconds / n_tokens, _WEIGHT)

    def observe_kept(self) -> None:
        """Another sequence was kept."""
        self._may_have_new = True

    def save_next(self, running: Iterable[Request]) -> None:
        """Begin to write something new, if there is any, unless something is being written."""
        if self._writer is not None or not self._may_have_new or time.monotonic() < self._quiet_until:
            return
        self._may_have_new = False
        with contextlib.suppress(NoRoom):  # until something changes
            for source, seq, tokens in self._sources(running):
                if source not in self._done and self._begin(source, seq, tokens, _LEAST_NEW):
                    return

    def recall(
        self, tokens: Tokens, namespace: str, n_there: int, open_with_room: Callable[[int], SeqId | None]
    ) -> bool:
        """Read back what a request needs, if files have much more of it than is there; it is kept then.

        Returns whether anything kept may be another now: this, or what gave way for it.
        """
        if len(tokens) - 1 - n_there < _LEAST:
            return False
        store = self._store.within(namespace)
        chain = store.find(tokens[:-1])
        if chain.n - n_there < _LEAST or not self._is_faster(chain.n, chain.n - n_there):
            return False
        seq = open_with_room(chain.n)
        if seq is None:
            return True
        start = time.perf_counter()
        blocks = self._while_faster(store.read(chain), chain.n - n_there)
        try:
            got = self._backend.restore(seq, chain.n, blocks)
        except NoRoom:
            got = 0
        if got == 0:
            self._backend.close(seq)
            return True
        self._load_s = (time.perf_counter() - start) / got
        self.n_loaded += got
        self._cache.keep(seq, tokens[:got], namespace)
        return True

    @property
    def held(self) -> set[SeqId]:
        """What holds blocks that are being written."""
        return set() if self._held is None else {self._held}

    def release(self) -> bool:
        """Let go of the blocks that are being written; False when there are none."""
        if self._held is None or self._writer is None:
            return False
        self._writer.let_go()
        self._backend.close(self._held)
        self._held = None
        return True

    def finish(self, run_posted: Callable[[], None]) -> None:
        """Write the last state of what was used last, and wait for it."""
        self._wait(run_posted)
        latest = next(self._lasting(), None)
        if latest is None:
            return
        self._done.discard(latest)
        with contextlib.suppress(NoRoom):
            while self._begin(latest, latest.seq, latest.tokens, least=1):
                self._wait(run_posted)
                if self.error is not None or latest in self._done:  # it cannot be written
                    return

    def writes_in(self, thread: threading.Thread) -> bool:
        """Whether something is being written in that thread. Safe from any thread."""
        writer = self._writer
        return writer is not None and writer.thread is thread

    def _wait(self, run_posted: Callable[[], None]) -> None:
        if self._writer is not None:
            self._writer.finish()
            run_posted()

    def _lasting(self) -> Iterator[Kept]:
        """Kept sequences that somebody may want after a restart, the most recently used first."""
        return (kept for kept in self._cache.latest_first() if not kept.passing)

    def _sources(self, running: Iterable[Request]) -> Iterator[tuple[Kept | Request, SeqId, Tokens]]:
        """What may have something new, with the tokens whose blocks nobody is about to write into."""
        for kept in self._lasting():
            yield kept, kept.seq, kept.tokens
        for request in running:
            if (
                request.seq is not None
                and request.generates
                and request.priority != "batch"
                and _LONG <= len(request.prompt) <= request.n_computed
            ):
                whole = len(request.prompt) // self._block_tokens * self._block_tokens
                yield request, request.seq, request.prompt[:whole]

    def _begin(self, source: Kept | Request, seq: SeqId, tokens: Tokens, least: int) -> bool:
        """Begin to write the next run of a sequence, if it has so many new tokens; else it is done with.

        Raises NoRoom when no fork of it can be opened.
        """
        blocks = self._backend.snapshot(seq)[: -(-len(tokens) // self._block_tokens)]
        store = self._store.within(source.namespace)
        new = store.unsaved(tokens, blocks) if len(tokens) >= _LEAST else None
        if new is None or new.n_tokens < least:
            self._done.add(source)
            return False
        held = self._open(source)
        if self._backend.fork(seq, held, len(tokens)) < len(
            tokens
        ):  # it has gone on and forgotten its window
            self._backend.close(held)
            self._done.add(source)
            return False
        blocks = self._backend.snapshot(held)[new.blocks]

        def written(whole: bool, error: DiskError | None) -> None:
            self._post(lambda: self._written(source, new, whole, error))

        self._held, self._writer = held, _Writer(store, new, blocks, written)
        self._writer.thread.start()
        return True

    def _open(self, source: Kept | Request) -> SeqId:
        try:
            return self._backend.open()
        except NoRoom:
            if not self._cache.give_sequence(spare=source if isinstance(source, Kept) else None):
                raise
            return self._backend.open()

    def _written(self, source: Kept | Request, new: Unsaved, whole: bool, error: DiskError | None) -> None:
        interrupted = not self.release()
        self._writer = None
        self.error = error
        if whole:
            self.n_saved += len(new.run.tokens)
            self._may_have_new = True
        elif error is not None:
            self._quiet_until = time.monotonic() + _AFTER_ERROR
            self._may_have_new = True
        elif not interrupted:  # it does not fit
            self._done.add(source)
            self._may_have_new = True

    def _is_faster(self, n: int, n_new: int) -> bool:
        """Whether reading n tokens back is faster than computing n_new, as far as is known."""
        if self._load_s is None or self._read_s is None or self._load_s * n < self._read_s * n_new:
            return True
        self._n_refused += 1
        return self._n_refused % _LOOK_AGAIN == 0

    def _while_faster(self, blocks: Iterable[KvBlock], n_new: int) -> Iterator[KvBlock]:
        """The blocks, until reading has taken as long as computing n_new tokens would: the disk is slow."""
        end = None if self._read_s is None else time.perf_counter() + self._read_s * n_new
        for block in blocks:
            yield block
            if end is not None and time.perf_counter() > end:
                return


class _Writer:
    """Writes one run in a thread of its own, and rests after each block: the processors are for the steps.

    Args:
        written: called at the end, in that thread, with whether the whole run is in its file, or why not.
    """

    def __init__(
        self,
        store: SavedPrefixes,
        new: Unsaved,
        blocks: Sequence[KvBlock],
        written: Callable[[bool, DiskError | None], None],
    ) -> None:
        self._store, self._new, self._blocks, self._written = store, new, blocks, written
        self._hurry = threading.Event()
        self._stop = False
        self._blocks_free = threading.Event()
        self.thread = threading.Thread(target=self._run, name="save-kv")  # to be started

    def finish(self) -> None:
        """Rest no more, and wait for the end."""
        self._hurry.set()
        self.thread.join()

    def let_go(self) -> None:
        """Need the blocks no more, and wait until it is so: write them without rest, or give up."""
        self._hurry.set()
        if not self._blocks_free.wait(_PATIENCE):
            self._stop = True
            self._blocks_free.wait()

    def _run(self) -> None:
        whole, error = False, None
        try:
            whole = self._store.write(self._new, self._paced())
        except DiskError as full:
            error = full
        except Exception as bug:
            error = DiskError(f"cannot save keys and values: {type(bug).__name__}: {bug}")
        self._blocks_free.set()
        self._written(whole, error)

    def _paced(self) -> Iterator[KvBlock]:
        """The blocks, until they are to be let go."""
        for block in self._blocks:
            if self._stop:
                return
            start = time.thread_time()
            yield block
            self._hurry.wait(_REST * (time.thread_time() - start))
        self._blocks_free.set()
