"""What keys and values of fewer bits cost: the distance from f16 ones, with a trained model and on noise."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import tiny
from edgeinfer.models.tiny.dialogues import chatml, write_dialogues
from goldens import read
from numpy.typing import NDArray

import edgeinfer

N_TOKENS = 1024


@pytest.fixture(scope="module")
def dialogue() -> list[int]:
    """Dialogues of the kind that the tiny model has learnt, from a seed that it has not."""
    text = "".join(text for said in write_dialogues(40, seed=7) for text, _ in chatml(said))
    with edgeinfer.load("edgeinfer-tiny", threads=1) as model:
        return model.tokenizer.encode(text, parse_special=True)[:N_TOKENS]


def scored(ids: list[int], kv_type: str) -> tuple[NDArray[np.float32], float]:
    """Logits and perplexity."""
    with edgeinfer.load("edgeinfer-tiny", threads=1, context_length=N_TOKENS, kv_type=kv_type) as model:
        return model.logits(ids), math.exp(-model.logprobs(ids).mean())


# measured: KL 4e-5 and 9e-4, perplexity 1.0000 and 1.0009 times that of f16
@pytest.mark.parametrize(
    ("kv_type", "most_kl", "most_ratio"), [("q8_0", 2e-4, 1.001), ("iq4_nl", 3e-3, 1.005)]
)
def test_the_tiny_model_speaks_as_well(
    dialogue: list[int], kv_type: str, most_kl: float, most_ratio: float
) -> None:
    assert len(dialogue) == N_TOKENS
    expected, expected_perplexity = scored(dialogue, "f16")
    found, perplexity = scored(dialogue, kv_type)
    kl = read.kl(expected, found).mean()
    print(f"mean KL {kl:.1e}, perplexity {perplexity / expected_perplexity:.4f} times that of f16")
    assert 0 < kl < most_kl
    assert perplexity / expected_perplexity < most_ratio


# Attention of random weights looks everywhere: nothing hides an error. Measured: 4e-4 and 0.075 at most.
@pytest.mark.parametrize("case", ["llama", "qwen2", "gemma3", "olmo2"])
def test_random_models_stay_near(case: str, tmp_path: Path) -> None:
    path = tiny.write_gguf(tmp_path / "model.gguf", case, "F16")

    def logits(kv_type: str) -> NDArray[np.float32]:
        with edgeinfer.load(path, threads=1, context_length=256, kv_type=kv_type) as model:
            return model.logits(tiny.token_ids(read.N_TOKENS))

    expected = logits("f16")
    kl = {kv_type: read.kl(expected, logits(kv_type)).mean() for kv_type in ("q8_0", "iq4_nl")}
    print(f"mean KL {kl}")
    assert 0 < kl["q8_0"] < 1e-3
    assert 0 < kl["iq4_nl"] < 0.12
