"""Compares tokenizers with llama.cpp on random strings, and keeps some of its answers. Run by hand.

    python tests/goldens/tokenizers.py --oracle VENV/bin/python check [-n 2000] [--seed 1]
    python tests/goldens/tokenizers.py --oracle VENV/bin/python make

`check` asks llama.cpp anew and compares every id. `make` writes tokenizers.json.gz: strings, and for each
vocabulary a digest of llama.cpp's ids of each string. Besides the real vocabularies each pre-tokenizer is
asked on GPT-2's vocabulary with `tokenizer.ggml.pre` changed. The oracle is a Python with llama-cpp-python.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
GOLDEN = HERE / "tokenizers.json.gz"
N_KEPT = 300
sys.path.insert(0, str(HERE.parent))

import unicode_strings  # noqa: E402
from vocabularies import VOCABULARIES, load, vocabulary_path  # noqa: E402

from edgeinfer.text.pretokenize import pretokenizer, pretokenizer_names  # noqa: E402

ORACLE = """
import ctypes, json, sys, llama_cpp
quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)
llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
strings, models = json.load(open(sys.argv[1]))
answers = {}
for name, path in models.items():
    model = llama_cpp.Llama(path, vocab_only=True, verbose=False)
    ids = lambda text: [model.tokenize(text.encode(), True, special) for special in (False, True)]
    answers[name] = list(map(ids, strings))
json.dump(answers, open(sys.argv[2], "w"))
"""


def files(folder: Path) -> dict[str, Path]:
    """Name -> file of all that is compared; those for pre-tokenizers are written to `folder`."""
    found = {name: vocabulary_path(name) for name in VOCABULARIES}
    seen = set()
    for name in pretokenizer_names():
        if pretokenizer(name) not in seen:
            seen.add(pretokenizer(name))
            found[f"pre {name}"] = with_pretokenizer(folder / f"{name}.gguf", name)
    return found


def with_pretokenizer(path: Path, name: str) -> Path:
    """GPT-2's vocabulary file with another `tokenizer.ggml.pre`, written to `path`."""
    data = vocabulary_path("gpt-2").read_bytes()
    key = b"tokenizer.ggml.pre"
    at = data.index(struct.pack("<Q", len(key)) + key) + 8 + len(key) + 4
    (length,) = struct.unpack_from("<Q", data, at)
    path.write_bytes(data[:at] + struct.pack("<Q", len(name)) + name.encode() + data[at + 8 + length :])
    return path


def digest(ids: list[list[int]]) -> str:
    """A short digest of the ids without and with parsed special tokens."""
    return hashlib.blake2b(json.dumps(ids).encode(), digest_size=4).hexdigest()


def kept() -> tuple[list[str], dict[str, list[str]]]:
    """The golden's strings, and their digests by name."""
    strings, digests = json.loads(gzip.decompress(GOLDEN.read_bytes()))
    return strings, digests


def ask(
    oracle: str, strings: list[str], models: dict[str, Path], folder: Path
) -> dict[str, list[list[list[int]]]]:
    """llama.cpp's ids: by name, string, and whether special tokens are parsed."""
    question, answer = folder / "question.json", folder / "answer.json"
    question.write_text(json.dumps([strings, {name: str(path) for name, path in models.items()}]))
    subprocess.run([oracle, "-c", ORACLE, str(question), str(answer)], check=True)
    return dict(json.loads(answer.read_text()))


def differences(path: Path, strings: list[str], answers: list[list[list[int]]]) -> Iterator[str]:
    """Strings whose ids are not llama.cpp's."""
    tokenizer = load(path)
    for text, expected in zip(strings, answers, strict=True):
        if [tokenizer.encode(text, True, special) for special in (False, True)] != expected:
            yield text


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--oracle", required=True)
    parser.add_argument("command", choices=("check", "make"))
    parser.add_argument("-n", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    making = arguments.command == "make"
    strings = list(unicode_strings.strings(arguments.seed, N_KEPT if making else arguments.n))
    with tempfile.TemporaryDirectory() as name:
        models = files(Path(name))
        answers = ask(arguments.oracle, strings, models, Path(name))
        for model, path in models.items():
            wrong = list(differences(path, strings, answers[model]))
            print(
                f"{model}: {len(wrong)} of {len(strings)} strings differ", *map(ascii, wrong[:3]), sep="\n  "
            )
    if making:
        digests = {model: [digest(ids) for ids in answers[model]] for model in models}
        GOLDEN.write_bytes(gzip.compress(json.dumps([strings, digests]).encode(), mtime=0))


if __name__ == "__main__":
    main()
