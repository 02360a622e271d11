"""Records which texts llama.cpp's grammars allow. Run by hand, never in CI, where llama-cpp-python is.

    VENV/bin/python tests/goldens/grammars.py models/tiny/edgeinfer-tiny.gguf

Answers anew what grammars.json asks, a list of {grammar, allows: {text: whether it is allowed as a whole}}:
the samples that llama.cpp has (MIT licence), what its guide tells of, and random ones. A grammar that it
refuses allows null; none is here for left recursion, or loops of what may be empty, which we follow. A text
is left out where it refuses part of a character: within [^x] it does so if the rest could be that of x. The
model is read for its vocabulary, which has a token for each byte.
"""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path
from typing import Any

import llama_cpp as cpp


def main(model: str) -> None:
    """Ask about each text, byte by byte."""
    goldens = Path(__file__).with_name("grammars.json")
    quiet = cpp.llama_log_callback(lambda *_: None)  # C does not keep it
    cpp.llama_log_set(quiet, ctypes.c_void_p(0))
    parameters = cpp.llama_model_default_params()
    parameters.vocab_only = True
    vocabulary = cpp.llama_model_get_vocab(cpp.llama_model_load_from_file(model.encode(), parameters))
    piece = ctypes.create_string_buffer(64)
    bytes_ = {}
    for token in range(cpp.llama_vocab_n_tokens(vocabulary)):
        if cpp.llama_token_to_piece(vocabulary, token, piece, 64, 0, False) == 1:
            bytes_[piece.raw[0]] = token
    end = cpp.llama_vocab_eos(vocabulary)

    def allowed(sampler: Any, token: int) -> bool:
        data = (cpp.llama_token_data * 1)(cpp.llama_token_data(token, 0.0, 0.0))
        some = cpp.llama_token_data_array(data, 1, -1, False)
        cpp.llama_sampler_apply(sampler, ctypes.byref(some))
        return bool(data[0].logit == 0)

    def accepts(grammar: Any, text: str) -> bool | None:
        sampler = cpp.llama_sampler_clone(grammar)
        try:
            for character in text:
                for i, byte in enumerate(character.encode(), start=1):
                    if not allowed(sampler, bytes_[byte]):
                        return False if i == len(character.encode()) else None
                    cpp.llama_sampler_accept(sampler, bytes_[byte])
            return allowed(sampler, end)
        finally:
            cpp.llama_sampler_free(sampler)

    entries = json.loads(goldens.read_text())
    for entry in entries:
        grammar = cpp.llama_sampler_init_grammar(vocabulary, entry["grammar"].encode(), b"root")
        texts = entry["allows"] or {}
        answers = {text: accepts(grammar, text) for text in texts} if grammar else None
        entry["allows"] = answers and {text: yes for text, yes in answers.items() if yes is not None}
    goldens.write_text(json.dumps(entries, ensure_ascii=False, indent=0) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
