"""Every architecture and tensor type against llama.cpp: 160 tokens, sliding windows crossed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import reference
import tiny
from goldens import read

import edgeinfer

ALL = [(case, tensor_type) for case in tiny.CASES for tensor_type in read.types_of(case)]


@pytest.mark.parametrize(("case", "tensor_type"), ALL)
def test_logits_are_those_of_llama_cpp(case: str, tensor_type: str, tmp_path: Path) -> None:
    path = tiny.write_gguf(tmp_path / "model.gguf", case, tensor_type)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == read.sha256(case, tensor_type), (
        "the model file is not the one that llama.cpp has read: run tests/goldens/make.py again"
    )
    with edgeinfer.load(str(path), threads=2, context_length=read.N_CTX) as model:
        ours = model.logits(tiny.token_ids(read.N_TOKENS))[list(read.ROWS)]
    theirs = read.golden(case, tensor_type)
    kl = read.kl(theirs, ours).mean()
    print(f"mean KL {kl:.1e}, NMSE {read.nmse(theirs, ours):.1e}")
    assert kl < (1e-4 if tensor_type in ("F32", "F16") else 1e-2)  # 5e-6 and 5e-3 measured


@pytest.mark.parametrize("case", tiny.CASES)
def test_numpy_reference_agrees_with_llama_cpp(case: str, tmp_path: Path) -> None:
    path = tiny.write_gguf(tmp_path / "model.gguf", case, "F16")
    ids = tiny.token_ids(read.N_TOKENS)
    ours = reference.logits(tiny.CASES[case].spec, reference.read_tensors(path), ids)[list(read.ROWS)]
    assert read.kl(read.golden(case, "F16"), ours).mean() < 5e-5  # 1e-5 measured, float16 goldens
