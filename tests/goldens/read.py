"""What the committed goldens hold, and how far logits may be from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import tiny
from numpy.typing import NDArray

HERE = Path(__file__).parent
N_TOKENS = 160
N_CTX = 256  # of the oracle: phi3 chooses its rope factors by the context's size
# the first tokens, both sides of every window (32, 40, 48) and of block sizes, and the end
ROWS = (0, 1, 7, 31, 32, 33, 40, 47, 48, 49, 63, 64, 65, 100, 127, 128, 129, 150, 158, 159)
COMMON_TYPES = ("F16", "Q8_0", "Q6_K", "Q5_K", "Q4_K", "Q4_0", "Q3_K", "Q2_K", "IQ4_XS")


EMBEDDING_TYPES = ("F16", "Q8_0", "Q4_K")


def types_of(case: str) -> tuple[str, ...]:
    """The tensor types that a case has goldens for: all for llama, F16 alone for the variants."""
    if case == "llama":
        return tiny.TYPES
    return COMMON_TYPES if case in tiny.ARCHITECTURES else ("F16",)


def golden(case: str, tensor_type: str) -> NDArray[np.float64]:
    """llama.cpp's logits of `ROWS`: (len(ROWS), N_VOCAB)."""
    with np.load(HERE / f"{case}.npz") as file:
        rows: NDArray[np.float64] = file[tensor_type].astype(np.float64)
    return rows


def embedding_texts() -> list[list[int]]:
    """Token ids of the texts whose vectors are known."""
    return [tiny.token_ids(n, f"text of {n}") for n in (1, 7, 40, 200)]


def embeddings(case: str, tensor_type: str) -> NDArray[np.float64]:
    """llama.cpp's vectors of `embedding_texts`, (n_texts, n_embd)."""
    with np.load(HERE / "embeddings.npz") as file:
        vectors: NDArray[np.float64] = file[f"{case} {tensor_type}"].astype(np.float64)
    return vectors


def sha256(case: str, tensor_type: str) -> str:
    """Hash of the file that llama.cpp has read."""
    return str(json.loads((HERE / "sha256.json").read_text())[f"{case}/{tensor_type}"])


def kl(golden_logits: NDArray[Any], ours: NDArray[Any]) -> NDArray[np.float64]:
    """KL(golden || ours) of each row, in nats."""
    p, q = (_log_softmax(x.astype(np.float64)) for x in (golden_logits, ours))
    divergence: NDArray[np.float64] = (np.exp(p) * (p - q)).sum(axis=-1)
    return divergence


def nmse(golden_logits: NDArray[Any], ours: NDArray[Any]) -> float:
    """Mean squared error over the golden's variance."""
    return float(((golden_logits - ours) ** 2).mean() / golden_logits.var())


def _log_softmax(x: NDArray[np.float64]) -> NDArray[np.float64]:
    x = x - x.max(axis=-1, keepdims=True)
    shifted: NDArray[np.float64] = x - np.log(np.exp(x).sum(axis=-1, keepdims=True))
    return shifted
