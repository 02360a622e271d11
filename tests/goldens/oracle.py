"""Asks llama.cpp, through llama-cpp-python's low-level interface. Run by make.py in its own environment.

Usage: python oracle.py JOBS.json, a list of jobs:
  {"kind": "logits", "model": path, "ids": [...], "out": path}        logits of every position, .npy
  {"kind": "embeddings", "model": path, "texts": [[...], ...], "out": path}   pooled and normalised, .npy
  {"kind": "greedy", "model": path, "prompts": [...], "n": 200, "out": path}   greedy ids after prompts, .json

One thread, f16 KV, no flash attention, weights as they lie in the file (no repacking).
"""

import ctypes
import json
import sys
from pathlib import Path

import llama_cpp
import numpy as np

N_CTX = 256


def quiet(level, text, data):
    if level >= 4:
        print(text.decode(errors="replace"), end="", file=sys.stderr)


def open_model(path, n_ctx, embeddings=False):
    params = llama_cpp.llama_model_default_params()
    params.n_gpu_layers = 0
    params.use_extra_bufts = False
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
    if not model:
        raise SystemExit(f"llama.cpp cannot load {path}")
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = n_ctx
    params.n_threads = params.n_threads_batch = 1
    params.flash_attn_type = 0
    params.embeddings = embeddings
    context = llama_cpp.llama_init_from_model(model, params)
    if not context:
        raise SystemExit(f"llama.cpp cannot make a context for {path}")
    return model, context


def append(context, ids, first, every_row):
    """Append ids at position first."""
    batch = llama_cpp.llama_batch_init(len(ids), 0, 1)
    batch.n_tokens = len(ids)
    for i, token in enumerate(ids):
        batch.token[i], batch.pos[i], batch.n_seq_id[i] = token, first + i, 1
        batch.seq_id[i][0] = 0
        batch.logits[i] = every_row or i == len(ids) - 1
    if llama_cpp.llama_decode(context, batch) != 0:
        raise SystemExit("llama_decode failed")
    llama_cpp.llama_batch_free(batch)


def decode(context, ids, first, every_row):
    """Append ids at position first; logits (n, n_vocab) of all rows, or of the last."""
    append(context, ids, first, every_row)
    vocab = llama_cpp.llama_model_get_vocab(llama_cpp.llama_get_model(context))
    n_rows, n_vocab = len(ids) if every_row else 1, llama_cpp.llama_vocab_n_tokens(vocab)
    rows = llama_cpp.llama_get_logits(context)
    return np.ctypeslib.as_array(rows, (n_rows, n_vocab)).copy()


def embedding(context, ids):
    """The vector of a text, as the file pools it, of length 1."""
    llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
    append(context, ids, 0, True)
    n_embd = llama_cpp.llama_model_n_embd(llama_cpp.llama_get_model(context))
    vector = np.ctypeslib.as_array(llama_cpp.llama_get_embeddings_seq(context, 0), (n_embd,))
    return vector / np.linalg.norm(vector)


def greedy(context, ids, n):
    """n greedy ids after a prompt, tokens that end a generation forbidden, and the least lead of a winner."""
    llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
    vocab = llama_cpp.llama_model_get_vocab(llama_cpp.llama_get_model(context))
    row = decode(context, ids, 0, False)[0]
    ends = [t for t in range(len(row)) if llama_cpp.llama_vocab_is_eog(vocab, t)]
    out, least = [], np.inf
    while len(out) < n:
        row[ends] = -np.inf
        second, first = np.partition(row, -2)[-2:]
        least = min(least, float(first - second))
        out.append(int(row.argmax()))
        row = decode(context, out[-1:], len(ids) + len(out) - 1, False)[0]
    return out, ends, least


def tokenize(model, text):
    vocab = llama_cpp.llama_model_get_vocab(model)
    data = text.encode()
    buffer = (llama_cpp.llama_token * (len(data) + 8))()
    n = llama_cpp.llama_tokenize(vocab, data, len(data), buffer, len(buffer), True, True)
    return list(buffer[:n])


def detokenize(model, ids):
    """Text of ids; control tokens have none."""
    vocab = llama_cpp.llama_model_get_vocab(model)
    buffer = ctypes.create_string_buffer(64 * len(ids))
    array = (llama_cpp.llama_token * len(ids))(*ids)
    n = llama_cpp.llama_detokenize(vocab, array, len(ids), buffer, len(buffer), False, False)
    return buffer.raw[:n].decode(errors="replace")


def run(job):
    n_ctx = job.get("n_ctx", N_CTX)
    model, context = open_model(job["model"], n_ctx, job["kind"] == "embeddings")
    if job["kind"] == "logits":
        np.save(job["out"], decode(context, job["ids"], 0, True))
    elif job["kind"] == "embeddings":
        np.save(job["out"], [embedding(context, ids) for ids in job["texts"]])
    else:
        answers = []
        for prompt in job["prompts"]:
            ids = tokenize(model, prompt)
            out, ends, least = greedy(context, ids, job["n"])
            text = detokenize(model, out)
            answers.append(
                {"prompt": prompt, "prompt_ids": ids, "ids": out, "text": text, "ends": ends, "lead": least}
            )
        Path(job["out"]).write_text(json.dumps(answers))
    llama_cpp.llama_free(context)
    llama_cpp.llama_model_free(model)


if __name__ == "__main__":
    log = llama_cpp.llama_log_callback(quiet)
    llama_cpp.llama_log_set(log, ctypes.c_void_p(0))
    for one in json.loads(Path(sys.argv[1]).read_text()):
        run(one)
