"""Model files with one thing wrong: a typed error that names the file, the place and a remedy."""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

import pytest
from gguf_writer import (
    ARRAY,
    BOOL,
    F32,
    STRING,
    U8,
    U32,
    Gguf,
    Tensor,
    array,
    entry,
    number,
    string,
    text,
    u32,
    u64,
)

from edgeinfer import _native
from edgeinfer.errors import BadModelFile, DiskError, NotFound, UnsupportedModel

X = Tensor("x", (32,), data=bytes(128))
LLAMA = text("general.architecture", "llama")


def one(tensor: Tensor) -> bytes:
    return Gguf([LLAMA], [tensor]).bytes()


def keyed(*entries: bytes) -> bytes:
    return Gguf([*entries], [X]).bytes()


# name of the case: (bytes of the file, what the message must say)
DAMAGED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "the file is empty"),
    "web page": (b"<!DOCTYPE html><html>", "a web page"),
    "git-lfs pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git-lfs pointer"),
    "zip": (b"PK\x03\x04" + bytes(60), "zip archive"),
    "pickle": (b"\x80\x04" + bytes(60), "pickle"),
    "program": (b"\x7fELF" + bytes(60), "a program"),
    "safetensors": (u64(80) + b'{"a": 1}' + bytes(60), "safetensors"),
    "old model": (b"lmgg" + bytes(60), "old GGML"),
    "something else": (b"hello, this is text", "not a GGUF model"),
    "magic alone": (b"GGUF", "version"),
    "version 1": (Gguf([LLAMA], [X], version=1).bytes(), "version 1"),
    "version 4": (Gguf([LLAMA], [X], version=4).bytes(), "version 4"),
    "big-endian": (Gguf([LLAMA], [X], version=0x03000000).bytes(), "big-endian"),
    "2^40 tensors": (Gguf([LLAMA], [X], n_tensors=1 << 40).bytes(), "tensors: the header claims"),
    "2^63 entries": (Gguf([LLAMA], [X], n_entries=1 << 63).bytes(), "metadata entries: the header claims"),
    "more entries than there are": (Gguf([LLAMA], [X], n_entries=3).bytes(), "metadata entry|key"),
    "empty key": (keyed(number("", 1)), "empty key"),
    "endless key": (keyed(u64(1 << 62) + b"abc"), "key is .* bytes long"),
    "key twice": (keyed(LLAMA, LLAMA), "general.architecture appears twice"),
    "unknown value type": (keyed(entry("a.key", 13, bytes(8))), "a.key: value type is 13"),
    "unknown element type": (keyed(array("a.key", 99, 1, bytes(8))), "a.key: element type is 99"),
    "array of arrays": (keyed(array("a.key", ARRAY, 1, bytes(32))), "a.key is an array of arrays"),
    "boolean of 2": (keyed(entry("a.key", BOOL, b"\x02")), "a.key is neither true nor false"),
    "endless string": (keyed(entry("a.key", STRING, u64(1 << 63))), "a.key needs"),
    "endless array": (keyed(array("a.key", F32, 1 << 61, bytes(64))), "a.key: the header claims"),
    "endless string array": (keyed(array("a.key", STRING, 1 << 60, string("x"))), "a.key: the header claims"),
    "string of an array too long": (keyed(array("a.key", STRING, 2, string("x") + u64(1 << 40))), "a.key"),
    "alignment of 0": (keyed(number("general.alignment", 0)), "general.alignment is 0"),
    "alignment of 4": (keyed(number("general.alignment", 4)), "general.alignment is 4"),
    "alignment of 48": (keyed(number("general.alignment", 48)), "general.alignment is 48"),
    "alignment of 2^31": (keyed(number("general.alignment", 1 << 31)), "general.alignment is 2147483648"),
    "alignment of a string": (keyed(text("general.alignment", "32")), "general.alignment has type string"),
    "alignment of a byte": (keyed(entry("general.alignment", U8, b"\x20")), "general.alignment has type u8"),
    "tensor without a name": (one(Tensor("", (32,), data=bytes(128))), "tensor 0 has an empty name"),
    "tensor with a long name": (one(Tensor("x" * 64, (32,), data=bytes(128))), "tensor 0: name is 64 bytes"),
    "tensor of no dimensions": (one(Tensor("x", (), data=bytes(128))), "tensor x has 0 dimensions"),
    "tensor of 2^32 - 1 dimensions": (one(Tensor("x", (32,), n_dims=2**32 - 1)), "tensor x has 4294967295"),
    "dimension of 0": (one(Tensor("x", (0, 4), data=bytes(128))), "tensor x has a dimension of 0"),
    "negative dimension": (one(Tensor("x", (2**64 - 32,))), "tensor x has a dimension of"),
    "shape over 2^63": (one(Tensor("x", (2**32, 2**32))), "tensor x has an impossible shape"),
    "bytes over 2^64": (one(Tensor("x", (2**62 - 1 + 2**61,))), "tensor x"),
    "unknown tensor type": (one(Tensor("x", (32,), kind=99, data=bytes(128))), "tensor x has type 99"),
    "row that is no whole block": (
        one(Tensor("x", (33,), kind=8, data=bytes(128))),
        "tensor x has rows of 33",
    ),
    "misaligned tensor": (one(Tensor("x", (16,), data=bytes(128), offset=4)), "tensor x has offset 4"),
    "tensor outside the file": (one(Tensor("x", (32,), data=bytes(128), offset=1 << 40)), "tensor x needs"),
    "tensor at the end of numbers": (
        one(Tensor("x", (32,), data=bytes(128), offset=2**64 - 32)),
        "tensor x needs",
    ),
    "tensor cut off": (one(X)[:-64], "tensor x needs .* MB at offset 0"),
    "table cut off": (one(X)[:-160], "ends before|needs"),
    "tensor twice": (Gguf([LLAMA], [X, X]).bytes(), "tensor x appears twice"),
    "tensors on each other": (
        Gguf([LLAMA], [X, Tensor("y", (32,), data=bytes(128), offset=96)]).bytes(),
        "tensor y overlaps tensor x",
    ),
    "lone shard": (keyed(entry("split.count", 2, struct.pack("<H", 3))), "is one shard of 3"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_file_is_refused_by_name_with_a_remedy(case: str, tmp_path: Path) -> None:
    data, says = DAMAGED[case]
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    with pytest.raises(BadModelFile, match=says) as caught:
        _native.gguf_open(str(path))
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("version", [2, 3])
def test_sound_file_opens(version: int, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    values = array("a.list", U32, 3, u32(1) + u32(2) + u32(3))
    path.write_bytes(Gguf([LLAMA, values, number("a.number", 7)], [X], version=version).bytes())
    file = _native.gguf_open(str(path))
    assert (file.version, file.shards) == (version, 1)
    assert file.keys() == ["general.architecture", "a.list", "a.number"]
    assert [file.get("general.architecture"), file.get("a.list"), file.get("a.number")] == [
        "llama",
        [1, 2, 3],
        7,
    ]
    assert file.type_of("a.list") == "array of u32"
    assert file.tensor("x")["shape"] == [32]
    assert file.tensor_bytes("x") == bytes(128)


def test_bytes_that_are_no_utf8_are_read_and_shown_safely(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(keyed(array("a.list", STRING, 3, string(b"\xff\xfe") + string("") + string("ok"))))
    file = _native.gguf_open(str(path))
    assert file.get("a.list") == ["\ufffd\ufffd", "", "ok"]
    assert file.get_bytes("a.list") == [b"\xff\xfe", b"", b"ok"]


def test_endless_text_is_refused_before_it_is_copied(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(keyed(text("a.key", "x" * (1 << 25))))
    file = _native.gguf_open(str(path))
    with pytest.raises(BadModelFile, match=r"a\.key is a text of 33554432 bytes") as caught:
        file.get("a.key")
    assert str(path) in caught.value.message


def test_control_characters_of_a_name_do_not_reach_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(keyed(entry("\x1b[2Jkey", 13, bytes(8))))
    with pytest.raises(BadModelFile) as caught:
        _native.gguf_open(str(path))
    assert r"\x1b[2Jkey" in caught.value.message


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "."):
        with pytest.raises(BadModelFile, match="is not a file"):
            _native.gguf_open(str(tmp_path / name))
    with pytest.raises(NotFound, match="no such file"):
        _native.gguf_open(str(tmp_path / "absent.gguf"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_file_without_permission_is_a_disk_error(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(one(X))
    path.chmod(0)
    with pytest.raises(DiskError, match="cannot be opened"):
        _native.gguf_open(str(path))


def test_shards_are_one_model(tmp_path: Path) -> None:
    split = entry("split.count", 2, struct.pack("<H", 2))
    first, second = (tmp_path / f"m-0000{i}-of-00002.gguf" for i in (1, 2))
    first.write_bytes(Gguf([LLAMA, split], [X]).bytes())
    second.write_bytes(one(Tensor("y", (8,), data=b"\x01" * 32)))
    file = _native.gguf_open(str(first))
    assert file.shards == 2
    assert file.size_bytes == first.stat().st_size + second.stat().st_size
    assert file.tensor_bytes("x") + file.tensor_bytes("y") == bytes(128) + b"\x01" * 32


def test_missing_shard_is_named(tmp_path: Path) -> None:
    first = tmp_path / "m-00001-of-00002.gguf"
    first.write_bytes(one(X))
    with pytest.raises(BadModelFile, match=r"m-00002-of-00002\.gguf is missing") as caught:
        _native.gguf_open(str(first))
    assert "2 shards" in str(caught.value.hint)


def test_later_shard_points_to_the_first(tmp_path: Path) -> None:
    second = tmp_path / "m-00002-of-00002.gguf"
    second.write_bytes(one(X))
    with pytest.raises(BadModelFile, match="is one shard") as caught:
        _native.gguf_open(str(second))
    assert "m-00001-of-00002.gguf" in str(caught.value.hint)


def test_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    for i in (1, 2):
        (tmp_path / f"m-0000{i}-of-00002.gguf").write_bytes(one(X))
    with pytest.raises(BadModelFile, match="tensor x appears twice"):
        _native.gguf_open(str(tmp_path / "m-00001-of-00002.gguf"))


def test_open_file_knows_that_it_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(one(Tensor("x", (1 << 14,), data=b"\x01" * (1 << 16))))
    file = _native.gguf_open(str(path))
    assert not file.damaged
    os.truncate(path, 4096)
    assert len(file.tensor_bytes("x")) == 1 << 16  # pages that vanished read as zeros
    assert file.damaged


@pytest.mark.parametrize(("kind", "name"), [(31, "Q4_0_4_4"), (38, "IQ4_NL_8_8"), (40, "NVFP4")])
def test_tensor_type_that_gguf_retired_or_added_is_unsupported_by_name(
    kind: int, name: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(one(Tensor("x", (256,), kind=kind, data=bytes(256))))
    with pytest.raises(UnsupportedModel, match=f"tensor x is stored as {name}") as caught:
        _native.gguf_open(str(path))
    assert "Q4_K_M" in str(caught.value.hint)


@pytest.mark.skipif(sys.platform != "linux", reason="this system has only UTF-8 file names")
def test_file_name_that_is_no_utf8_opens_and_is_named_in_errors(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.gguf")
    path.write_bytes(one(X))
    assert _native.gguf_open(str(path)).path == str(path)
    path.write_bytes(b"GGUF")
    with pytest.raises(BadModelFile) as caught:
        _native.gguf_open(str(path))
    assert str(path) in caught.value.message


def test_path_with_a_null_character_is_no_file(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(one(X))
    with pytest.raises(NotFound):
        _native.gguf_open(f"{path}\0.gguf")
