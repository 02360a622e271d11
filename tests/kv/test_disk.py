"""Saved keys and values: whole files come back, everything else is as if it were not there."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from edgeinfer.errors import DiskError
from edgeinfer.kv.disk import Blocks, SavedPrefixes, model_key

N_BYTES = 4096


def blocks_of(tokens: list[int]) -> Blocks:
    """Blocks of four tokens whose bytes depend on them."""
    n = -(-len(tokens) // 4)
    return [
        np.random.default_rng([i, *tokens[: 4 * i + 4]]).integers(0, 256, N_BYTES, np.uint8) for i in range(n)
    ]


def put(store: SavedPrefixes, tokens: list[int]) -> Path:
    saved = store.write(np.array(tokens, np.int32), blocks_of(tokens))
    assert saved is not None
    store.add(saved)
    return saved.path


def opened(folder: Path, key: str = "model", most: int = 1 << 30) -> SavedPrefixes:
    return SavedPrefixes(folder, key, most)


def test_what_was_saved_is_there_after_a_restart(tmp_path: Path) -> None:
    tokens = list(range(30))
    put(opened(tmp_path), tokens)
    store = opened(tmp_path)
    (saved,) = store.all
    assert saved.tokens.tolist() == tokens
    for n in (1, 3, 8):
        loaded = store.load(saved, n)
        assert loaded is not None
        np.testing.assert_array_equal(loaded, blocks_of(tokens)[:n])


def test_a_longer_sequence_replaces_its_beginning(tmp_path: Path) -> None:
    store = opened(tmp_path)
    first, other = put(store, [1] * 10), put(store, [2] * 10)
    longer = put(store, [1] * 10 + [3] * 10)
    assert {s.path for s in store.all} == {other, longer}
    assert not first.exists()
    assert len(opened(tmp_path)) == 2


def test_another_model_sees_nothing(tmp_path: Path) -> None:
    put(opened(tmp_path), [1] * 10)
    assert len(opened(tmp_path, key="another")) == 0


def test_files_are_their_owners_alone(tmp_path: Path) -> None:
    path = put(opened(tmp_path), [1] * 10)
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("seed", range(30))
def test_a_damaged_file_is_dropped(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    tokens = list(range(40))
    path = put(opened(tmp_path), tokens)
    whole = bytearray(path.read_bytes())
    at = rng.choice([rng.randrange(200), rng.randrange(len(whole)), len(whole) - 1 - rng.randrange(60)])
    if rng.random() < 0.3:
        whole = whole[:at]
    elif rng.random() < 0.2:
        whole += b"x"
    else:
        whole[at] ^= 1 << rng.randrange(8)
    path.write_bytes(whole)
    store = opened(tmp_path)
    if store.all:  # a block is damaged, which its checksum tells
        assert store.load(store.all[0], 10) is None
    assert len(store) == 0
    assert not path.exists()


def test_a_file_that_changes_under_us_is_dropped(tmp_path: Path) -> None:
    store = opened(tmp_path)
    path = put(store, [1] * 40)
    os.truncate(path, 5000)
    assert store.load(store.all[0], 2) is None
    put(store, [2] * 40).unlink()
    assert store.load(store.all[0], 2) is None
    assert len(store) == 0


def test_the_longest_unused_go_first_of_any_model(tmp_path: Path) -> None:
    most = 4 * (10 * N_BYTES + 1000)
    store, other = opened(tmp_path, most=most), opened(tmp_path, "other", most)
    paths = [put(s, [i] * 40) for i, s in enumerate((other, store, store, other))]
    for age, path in enumerate(reversed(paths)):
        os.utime(path, (time.time() - 100 * age - 100,) * 2)
    assert store.load(store.all[0], 1) is not None  # of use just now
    put(store, [9] * 40)
    assert [p.exists() for p in paths] == [False, True, True, True]
    assert store.write(np.full(400, 5, np.int32), blocks_of([5] * 400)) is None  # larger than all may be


def test_there_are_never_very_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeinfer.kv.disk._MOST_FILES", 10)
    store = opened(tmp_path)
    for i in range(14):
        os.utime(put(store, [i, 1, 2, 3]), (i, i))
    assert {int(s.tokens[0]) for s in store.all} == set(range(4, 14))
    assert len(list(tmp_path.rglob("*.kv"))) == 10


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = SavedPrefixes(tmp_path / "file", "model", 1 << 30)
    with pytest.raises(DiskError, match="cannot save"):
        store.write(np.ones(8, np.int32), blocks_of([1] * 8))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened(tmp_path)
    real = os.fsync

    def full(file: int) -> None:
        real(file)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskError, match="No space left"):
        store.write(np.ones(8, np.int32), blocks_of([1] * 8))
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_disk import opened, put
store = opened(Path(sys.argv[1]))
print("ready", flush=True)
for i in range(10_000):
    put(store, [i % 7] * (40 + i % 5))
"""


def test_a_kill_while_saving_leaves_whole_files_only(tmp_path: Path) -> None:
    rng = random.Random(9)
    for _ in range(8):
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path), str(Path(__file__).parent)], stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(rng.random() * 0.05)
        child.send_signal(signal.SIGKILL)
        child.communicate()
        store = opened(tmp_path)
        for saved in list(store.all):
            n = saved.n_blocks
            loaded = store.load(saved, n)
            assert loaded is not None, "a file with its name was not whole"
            np.testing.assert_array_equal(loaded, blocks_of(saved.tokens.tolist()))


def test_the_key_changes_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"a" * 100)
    keys = {model_key(path, "f16"), model_key(path, "q8_0")}
    path.write_bytes(b"b" * 100)
    keys.add(model_key(path, "f16"))
    os.utime(path, (1, 1))
    keys.add(model_key(path, "f16"))
    assert len(keys) == 4
