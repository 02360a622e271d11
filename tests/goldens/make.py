"""Makes the goldens: what llama.cpp answers on the files of tests/tiny.py. Run by hand, never in CI.

    python tests/goldens/make.py --oracle VENV/bin/python logits [CASE ...]
    python tests/goldens/make.py --oracle VENV/bin/python embeddings
    python tests/goldens/make.py --oracle VENV/bin/python greedy MODEL.gguf

The oracle is a Python that has llama-cpp-python; this script itself needs only gguf and edgeinfer.
`logits` writes CASE.npz (a few rows of each tensor type, float16) and the models' hashes, and prints how
far the numpy reference is from llama.cpp over all rows. `embeddings` and `greedy` write files of that name.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).parent
N_PROMPTS = 20
# llama.cpp rounds activations to f16 for F16 weights, which moves the lead of a winner by up to 0.004
LEAST_LEAD = 0.005
sys.path.insert(0, str(HERE.parent))

import reference  # noqa: E402
import tiny  # noqa: E402
from goldens import read  # noqa: E402


def ask(oracle: str, jobs: list[dict[str, Any]], folder: Path) -> None:
    """Let llama.cpp do the jobs, see oracle.py."""
    (folder / "jobs.json").write_text(json.dumps(jobs))
    subprocess.run([oracle, str(HERE / "oracle.py"), str(folder / "jobs.json")], check=True)


def make_case(oracle: str, case: str, folder: Path) -> dict[str, str]:
    """Write CASE.npz; returns the SHA-256 of each model file by "case/type"."""
    models = {t: tiny.write_gguf(folder / f"{case}-{t}.gguf", case, t) for t in read.types_of(case)}
    job = {"kind": "logits", "ids": tiny.token_ids(read.N_TOKENS)}
    ask(oracle, [job | {"model": str(m), "out": f"{m}.npy"} for m in models.values()], folder)
    rows: dict[str, Any] = {}
    for tensor_type, model in models.items():
        logits = np.load(f"{model}.npy")
        rows[tensor_type] = logits[list(read.ROWS)].astype(np.float16)
        report(case, tensor_type, model, logits)
    np.savez_compressed(HERE / f"{case}.npz", **rows)
    return {f"{case}/{t}": hashlib.sha256(m.read_bytes()).hexdigest() for t, m in models.items()}


def report(case: str, tensor_type: str, model: Path, logits: NDArray[np.float32]) -> None:
    """Print the distance between llama.cpp and the numpy reference over all rows."""
    ours = reference.logits(
        tiny.CASES[case].spec, reference.read_tensors(model), tiny.token_ids(read.N_TOKENS)
    )
    kl = read.kl(logits, ours)
    top = np.exp(logits - logits.max(axis=-1, keepdims=True))
    top_share = (top.max(axis=-1) / top.sum(axis=-1)).mean()
    print(
        f"{case:16} {tensor_type:7} KL mean {kl.mean():.1e} max {kl.max():.1e}"
        f"  NMSE {read.nmse(logits, ours):.1e}  logits std {logits.std():.1f}, mean top share {top_share:.2f}"
    )


def make_logits(oracle: str, cases: list[str]) -> None:
    """Make the goldens of the cases, or of all."""
    path = HERE / "sha256.json"
    sums = json.loads(path.read_text()) if path.exists() else {}
    for case in cases or tiny.CASES:
        with tempfile.TemporaryDirectory() as folder:
            sums |= make_case(oracle, case, Path(folder))
    path.write_text(json.dumps(sums, indent=0, sort_keys=True) + "\n")


def make_embeddings(oracle: str) -> None:
    """Make the vectors of a few texts by every embedding model, of each tensor type."""
    vectors: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        for case in tiny.EMBEDDERS:
            for tensor_type in read.EMBEDDING_TYPES:
                model = tiny.write_gguf(Path(name) / f"{case}-{tensor_type}.gguf", case, tensor_type)
                job = {"kind": "embeddings", "model": str(model), "texts": read.embedding_texts()}
                ask(oracle, [job | {"out": f"{model}.npy"}], Path(name))
                vectors[f"{case} {tensor_type}"] = np.load(f"{model}.npy").astype(np.float16)
    np.savez_compressed(HERE / "embeddings.npz", **vectors)


def make_greedy(oracle: str, model: Path) -> None:
    """Make the greedy continuations of a model decoded to F16: of the first prompts with clear winners."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy = tiny.write_f16_copy(folder / "model.gguf", model)
        job = {
            "kind": "greedy",
            "model": str(copy),
            "prompts": json.loads((HERE / "prompts.json").read_text()),
        }
        ask(oracle, [job | {"n": 200, "n_ctx": 512, "out": str(folder / "out.json")}], folder)
        answers = json.loads((folder / "out.json").read_text())
    clear = [answer for answer in answers if answer["lead"] >= LEAST_LEAD][:N_PROMPTS]
    print(f"{sum(a['lead'] >= LEAST_LEAD for a in answers)} of {len(answers)} prompts have clear winners")
    assert len(clear) == N_PROMPTS, "more prompts are needed"
    golden = {"sha256": hashlib.sha256(model.read_bytes()).hexdigest(), "answers": clear}
    (HERE / "greedy.json").write_text(json.dumps(golden, ensure_ascii=False) + "\n")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--oracle", required=True)
    parser.add_argument("what", choices=["logits", "embeddings", "greedy"])
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    if arguments.what == "logits":
        make_logits(arguments.oracle, arguments.names)
    elif arguments.what == "embeddings":
        make_embeddings(arguments.oracle)
    else:
        make_greedy(arguments.oracle, Path(arguments.names[0]))


if __name__ == "__main__":
    main()
