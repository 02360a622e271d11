"""Saved keys and values: what was written whole comes back, everything else is as if it were not there."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeinfer.backends.base import KvBlock
from edgeinfer.errors import DiskError
from edgeinfer.kv.disk import SavedPrefixes, model_key

SIZE = 4  # tokens of a block
WIDTH = 256  # bytes of a token in a block
BLOCK = SIZE * WIDTH


def parts_of(tokens: list[int]) -> NDArray[np.uint8]:
    """(n_tokens, WIDTH) bytes, each row of the tokens up to its own, as in keys and values."""
    state, rows = 0, np.empty((len(tokens), WIDTH), np.uint8)
    for i, token in enumerate(tokens):
        state = hash((state, token))
        rows[i] = np.frombuffer((state % 2**64).to_bytes(8, "little") * (WIDTH // 8), np.uint8)
    return rows


def blocks_of(tokens: list[int], first: int = 0) -> list[KvBlock]:
    """Blocks of one part; those before `first` were given back."""
    rows = np.concatenate((parts_of(tokens), np.zeros((-len(tokens) % SIZE, WIDTH), np.uint8)))
    blocks = rows.reshape(-1, BLOCK)
    return [(block if i >= first else block[:0],) for i, block in enumerate(blocks)]


def put(store: SavedPrefixes, tokens: list[int], blocks: list[KvBlock] | None = None) -> None:
    """Write all that is new of a sequence."""
    blocks = blocks_of(tokens) if blocks is None else blocks
    array = np.array(tokens, np.int32)
    for _ in range(100):
        if (new := store.unsaved(array, blocks)) is None:
            return
        assert store.write(new, blocks[new.blocks])
    raise AssertionError("there is always something new")


def get(store: SavedPrefixes, tokens: list[int]) -> tuple[int, list[NDArray[np.uint8]]]:
    """How many first tokens are saved, and the parts of their blocks as far as they can be read."""
    chain = store.find(np.array(tokens, np.int32))
    return chain.n, [np.array(part) for (part,) in store.read(chain)]


def assert_saved(store: SavedPrefixes, tokens: list[int], n: int) -> None:
    """Exactly the first n tokens are there, with their own keys and values."""
    found, parts = get(store, tokens)
    assert found == n
    rows = np.concatenate([np.empty((0, WIDTH), np.uint8), *(part.reshape(-1, WIDTH) for part in parts)])
    np.testing.assert_array_equal(rows[:n], parts_of(tokens)[:n])


def n_common(a: list[int], b: list[int]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def opened(folder: Path, key: str = "model", most: int = 1 << 30) -> SavedPrefixes:
    return SavedPrefixes(folder, key, SIZE, most)


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@contextmanager
def disk_of(n_bytes: int) -> Iterator[None]:
    """No file can become larger: the same error, at the same place, as of a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_was_saved_is_there_after_a_restart(tmp_path: Path) -> None:
    tokens = list(range(30))
    put(opened(tmp_path), tokens)
    assert_saved(opened(tmp_path), tokens, 30)
    assert_saved(opened(tmp_path), [*tokens, 1, 2], 30)
    assert_saved(opened(tmp_path), [*tokens[:9], 99], 9)
    assert_saved(opened(tmp_path), [99], 0)


def test_only_what_is_new_of_a_conversation_is_written(tmp_path: Path) -> None:
    store, tokens, n_bytes = opened(tmp_path), list(range(40)), 0
    put(store, tokens)
    for turn in range(5):
        before = {path: path.stat().st_ino for path in files(tmp_path)}
        tokens += [turn] * 20
        put(store, tokens)
        assert {path: path.stat().st_ino for path in files(tmp_path) if path in before} == before
        assert len(files(tmp_path)) == len(before) + 1
    n_bytes = sum(path.stat().st_size for path in files(tmp_path))
    assert n_bytes < 140 * WIDTH + 6 * 400  # heads
    assert_saved(opened(tmp_path), tokens, 140)


def test_forks_share_their_beginning(tmp_path: Path) -> None:
    system = list(range(100, 202))
    chats = [[*system, *[i] * 20] for i in range(4)]
    for chat in chats:
        put(opened(tmp_path), chat)
    assert sum(path.stat().st_size for path in files(tmp_path)) < (100 + 4 * 24) * WIDTH + 4 * 1000
    for chat in chats:
        assert_saved(opened(tmp_path), chat, 122)


def test_tails_of_blocks_come_back(tmp_path: Path) -> None:
    store, tokens = opened(tmp_path), [5] * 10
    for n in range(10, 24):
        tokens = [*tokens, n]
        put(store, tokens)
        assert_saved(opened(tmp_path), [*tokens, 1], n + 1)


@pytest.mark.parametrize("seed", range(12))
def test_any_mix_of_sequences_comes_back(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeinfer.kv.disk._RUN_BYTES", 5 * BLOCK)
    rng = random.Random(seed)
    saved: list[list[int]] = [[]]
    store = opened(tmp_path)
    for _ in range(25):
        old = rng.choice(saved)
        new = old[: rng.randint(0, len(old))] + [rng.randrange(2) for _ in range(rng.randint(1, 40))]
        n = max(n_common(new, other) for other in saved)
        assert_saved(rng.choice((store, opened(tmp_path))), new, n)
        put(store, new)
        saved.append(new)
    for tokens in saved:
        assert_saved(opened(tmp_path), tokens, len(tokens))


def test_parts_that_were_given_back_are_written_when_another_has_them(tmp_path: Path) -> None:
    store, long, fork = opened(tmp_path), [1] * 80, [1] * 40 + [2] * 8
    put(store, long, blocks_of(long, first=15))  # a window, of which the beginning is gone
    n, parts = get(store, long)
    assert (n, [part.size for part in parts]) == (80, [0] * 15 + [BLOCK] * 5)
    put(store, fork, blocks_of(fork, first=8))
    n, parts = get(opened(tmp_path), fork)
    assert (n, [part.size for part in parts]) == (48, [0] * 8 + [BLOCK] * 4)
    np.testing.assert_array_equal(np.concatenate(parts).reshape(-1, WIDTH), parts_of(fork)[32:])
    assert store.unsaved(np.array(fork, np.int32), blocks_of(fork, first=8)) is None


def test_a_file_that_was_written_again_with_more_in_it_is_known_as_it_is(tmp_path: Path) -> None:
    store, tokens = opened(tmp_path), [1] * 80
    put(store, tokens, blocks_of(tokens, first=15))
    put(store, tokens)  # ends: there is nothing new after it
    assert_saved(store, tokens, 80)


def test_blocks_that_lack_different_parts_are_not_written_again_and_again(tmp_path: Path) -> None:
    store, tokens = opened(tmp_path), list(range(80))
    blocks = blocks_of(tokens)
    for there in (range(9, 20), [5]):
        put(store, tokens, [(part if i in there else part[:0],) for i, (part,) in enumerate(blocks)])
    assert len(files(tmp_path)) == 2


def test_another_model_sees_nothing(tmp_path: Path) -> None:
    put(opened(tmp_path), [1] * 10)
    assert_saved(opened(tmp_path, key="another"), [1] * 10, 0)


def test_files_are_their_owners_alone(tmp_path: Path) -> None:
    put(opened(tmp_path / "kv"), [1] * 10)
    (path,) = files(tmp_path)
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("seed", range(30))
def test_damage_is_never_loaded(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    tokens = list(range(40))
    put(opened(tmp_path), tokens)
    (path,) = files(tmp_path)
    whole = bytearray(path.read_bytes())
    at = rng.choice([rng.randrange(300), rng.randrange(len(whole))])
    if rng.random() < 0.3:
        whole = whole[:at]
    elif rng.random() < 0.2:
        whole += b"x"
    else:
        whole[at] ^= 1 << rng.randrange(8)
    path.write_bytes(whole)
    store = opened(tmp_path)
    n, parts = get(store, tokens)
    assert (n, len(parts)) == (0, 0) or len(parts) < 10
    np.testing.assert_array_equal(
        np.concatenate([np.empty(0, np.uint8), *parts]), parts_of(tokens[: len(parts) * SIZE]).ravel()
    )
    assert files(tmp_path) == []
    put(store, tokens)  # once more
    assert_saved(opened(tmp_path), tokens, 40)


def test_what_continued_a_lost_file_is_found_when_that_is_there_again(tmp_path: Path) -> None:
    first = list(range(20))
    put(opened(tmp_path), first)
    (path,) = files(tmp_path)
    put(opened(tmp_path), [*first, *first])
    path.write_bytes(b"foreign")
    assert_saved(opened(tmp_path), [*first, *first], 0)
    put(opened(tmp_path), first)
    assert_saved(opened(tmp_path), [*first, *first], 40)


def test_foreign_and_renamed_files_are_dropped(tmp_path: Path) -> None:
    put(opened(tmp_path), [1] * 40)
    (path,) = files(tmp_path)
    path.rename(path.with_name("0" * 24 + ".kv"))
    for name in ("a.kv", "a-.kv", "-a.kv", "-.kv", "x.kv"):
        (path.parent / name).write_bytes(b"EDGEKV" * 30 if name == "x.kv" else b"")
    (path.parent / "folder.kv").mkdir()
    assert_saved(opened(tmp_path), [1] * 40, 0)
    put(opened(tmp_path), [1] * 40)
    assert_saved(opened(tmp_path), [1] * 40, 40)


def test_files_of_another_block_size_are_dropped(tmp_path: Path) -> None:
    put(opened(tmp_path), [1] * 40)
    store = SavedPrefixes(tmp_path, "model", 2 * SIZE, 1 << 30)
    assert store.find(np.ones(40, np.int32)).n == 0


def test_a_file_that_changes_or_goes_under_us_ends_the_reading(tmp_path: Path) -> None:
    store, tokens = opened(tmp_path), np.ones(40, np.int32)
    put(store, [1] * 40)
    chain = store.find(tokens)
    os.truncate(files(tmp_path)[0], 5000)
    assert 0 < len(list(store.read(chain))) < 10
    assert files(tmp_path) == []
    assert list(store.read(chain)) == []
    assert store.find(tokens).n == 0


def test_the_longest_unused_go_first_of_any_model(tmp_path: Path) -> None:
    most = 4 * (10 * BLOCK + 400)
    store, other = opened(tmp_path, most=most), opened(tmp_path, "other", most)
    stores = (other, store, store, other)
    for i, s in enumerate(stores):
        put(s, [i] * 40)
        for path in files(tmp_path):  # a hundred seconds go by
            os.utime(path, (path.stat().st_mtime - 100,) * 2)
    assert_saved(other, [0] * 40, 40)  # of use just now
    put(store, [9] * 40)
    assert [s.find(np.full(40, i, np.int32)).n for i, s in enumerate(stores)] == [40, 0, 40, 40]


def test_a_beginning_stays_as_long_as_something_continues_it(tmp_path: Path) -> None:
    most = 6 * (10 * BLOCK + 400)
    store = opened(tmp_path, most=most)
    for length in (40, 80, 120):
        put(store, [1] * length)
    for i, path in enumerate(sorted(files(tmp_path), key=lambda path: len(path.name))):
        os.utime(path, (100 + i, 100 + i))  # the beginning was unused for longest
    left = []
    for i in range(2, 8):
        put(store, [i] * 40)
        left.append(store.find(np.ones(120, np.int32)).n)
    assert left == [120, 120, 120, 80, 40, 0]


def test_what_a_new_file_continues_stays(tmp_path: Path) -> None:
    store = opened(tmp_path, most=3 * (10 * BLOCK + 400))
    for tokens in ([1] * 40, [2] * 40, [2] * 80):
        put(store, tokens)
    for path in files(tmp_path):
        os.utime(path, (100, 100))
    put(store, [1] * 80)
    assert_saved(store, [1] * 80, 80)
    assert_saved(store, [2] * 80, 40)


def test_what_does_not_fit_at_all_removes_nothing(tmp_path: Path) -> None:
    store = opened(tmp_path, most=30 * BLOCK)
    put(store, [1] * 40)
    tokens, blocks = np.full(400, 5, np.int32), blocks_of([5] * 400)
    new = store.unsaved(tokens, blocks)
    assert new is not None
    assert not store.write(new, blocks[new.blocks])
    assert_saved(store, [1] * 40, 40)


def test_there_are_never_very_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeinfer.kv.disk_space.MOST_FILES", 10)
    store = opened(tmp_path)
    for i in range(14):
        put(store, [i, 1, 2, 3])
        os.utime(max(files(tmp_path), key=lambda path: path.stat().st_mtime), (i, i))
    assert [store.find(np.array([i], np.int32)).n for i in range(14)] == [0] * 4 + [1] * 10
    assert len(files(tmp_path)) == 10


def test_abandoned_files_go(tmp_path: Path) -> None:
    put(opened(tmp_path), [1] * 40)
    abandoned, fresh = (files(tmp_path)[0].with_name(name) for name in ("old.part", "new.part"))
    abandoned.write_bytes(b"x")
    fresh.write_bytes(b"x")
    os.utime(abandoned, (time.time() - 100,) * 2)
    put(opened(tmp_path), [2] * 40)
    assert (abandoned.exists(), fresh.exists()) == (False, True)


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError, match="cannot save"):
        put(opened(tmp_path / "file"), [1] * 8)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everywhere")
def test_a_folder_that_cannot_be_read_holds_nothing(tmp_path: Path) -> None:
    put(opened(tmp_path), [1] * 40)
    folder = files(tmp_path)[0].parent
    folder.chmod(0)
    try:
        assert_saved(opened(tmp_path), [1] * 40, 0)
        with pytest.raises(DiskError, match="Permission denied"):
            put(opened(tmp_path), [1] * 40)
    finally:
        folder.chmod(0o700)


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    store = opened(tmp_path)
    put(store, [1] * 40)
    with disk_of(5000), pytest.raises(DiskError, match="cannot save"):
        put(store, [1] * 400)
    assert len(files(tmp_path)) == 1
    put(store, [1] * 400)  # there is room again
    assert_saved(opened(tmp_path), [1] * 400, 400)


def test_a_folder_that_vanishes_is_made_again(tmp_path: Path) -> None:
    store, tokens = opened(tmp_path / "kv"), np.ones(80, np.int32)
    put(store, [1] * 40)
    new = store.unsaved(tokens, blocks_of([1] * 80))
    assert new is not None
    shutil.rmtree(tmp_path / "kv")
    assert not store.write(new, blocks_of([1] * 80)[new.blocks])  # its beginning has gone

    def vanishing() -> Iterable[KvBlock]:
        yield from blocks_of([1] * 80)[:3]
        shutil.rmtree(tmp_path / "kv")
        yield from blocks_of([1] * 80)[3:]

    new = store.unsaved(tokens, blocks_of([1] * 80))
    assert new is not None
    assert not store.write(new, vanishing())
    put(store, [1] * 80)
    assert_saved(store, [1] * 80, 80)


def test_blocks_that_end_early_leave_nothing(tmp_path: Path) -> None:
    store, blocks = opened(tmp_path), blocks_of([1] * 40)
    new = store.unsaved(np.ones(40, np.int32), blocks)
    assert new is not None
    assert not store.write(new, blocks[:5])
    assert files(tmp_path) == []


WRITER = """
import random, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_disk import *
store, rng = opened(Path(sys.argv[1]), most=60 * BLOCK), random.Random(int(sys.argv[3]))
print("ready", flush=True)
while True:
    tokens = [rng.randrange(3)] * rng.randint(10, 60) + [rng.randrange(4)] * rng.randint(1, 50)
    blocks = blocks_of(tokens)
    while new := store.unsaved(np.array(tokens, np.int32), blocks):
        if not store.write(new, blocks[new.blocks]):
            break
"""


def test_two_that_write_evict_and_are_killed_leave_whole_files_only(tmp_path: Path) -> None:
    rng = random.Random(9)
    n_found = 0
    for round_ in range(5):
        children = [
            subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    WRITER,
                    str(tmp_path),
                    str(Path(__file__).parent),
                    str(2 * round_ + i),
                ],
                stdout=subprocess.PIPE,
            )
            for i in range(2)
        ]
        for child in children:
            assert child.stdout is not None
            child.stdout.readline()
        time.sleep(rng.random() * 0.1)
        for child in children:
            child.send_signal(signal.SIGKILL)
        for child in children:
            child.communicate()
        store = opened(tmp_path)
        for a in range(3):
            for b in range(4):
                tokens = [a] * rng.randint(10, 60) + [b] * 50
                n = store.find(np.array(tokens, np.int32)).n
                assert_saved(store, tokens, n)
                n_found += n
        assert sum(path.stat().st_size for path in files(tmp_path)) < 2 * 60 * BLOCK
    assert n_found > 0


def test_the_key_changes_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"a" * 100)
    keys = {model_key(path, "f16"), model_key(path, "q8_0")}
    path.write_bytes(b"b" * 100)
    keys.add(model_key(path, "f16"))
    os.utime(path, (1, 1))
    keys.add(model_key(path, "f16"))
    assert len(keys) == 4
