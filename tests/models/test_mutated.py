"""Hundreds of damaged model files through the door of `edgeinfer check`: refused or read, nothing else."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from edgeinfer.errors import BadModelFile
from edgeinfer.loading import check_file

N_FILES = 300


@pytest.fixture(scope="module")
def mutator(repository: Path) -> ModuleType:
    """The team's generator of damaged files, with its own oracle."""
    path = repository.parent / "shared" / "tools" / "gguf_mutator.py"
    if not path.is_file():
        pytest.skip(f"needs the shared tool {path}")
    spec = importlib.util.spec_from_file_location("gguf_mutator", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["gguf_mutator"] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("tokenizer", ["gpt2", "llama"])
def test_mutated_files_are_judged_as_the_strict_oracle_does(
    mutator: ModuleType, tokenizer: str, tmp_path: Path
) -> None:
    sample, path = tmp_path / "sample.gguf", tmp_path / "mutated.gguf"
    mutator.make_sample(str(sample), tokenizer)
    check_file(sample)
    wrong = []
    for case in mutator.iter_cases(sample.read_bytes(), N_FILES, seed=11):
        data = case.data()
        path.write_bytes(data)
        expected = case.label(data)[0]
        try:
            check_file(path)
            found = "accept"
        except BadModelFile as error:
            found = "reject" if str(path) in error.message else f"an error without a path: {error.message}"
        if found not in ({expected} if expected in ("accept", "reject") else {"accept", "reject"}):
            wrong.append(f"{case.kind} ({case.detail}): {found}, expected {expected}")
    assert wrong == []
