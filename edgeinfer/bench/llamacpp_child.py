"""Runs llama.cpp in a process of its own, for whatever interpreter has llama_cpp; needs nothing of edgeinfer.

Usage: llamacpp_child.py MODEL N_CTX MAX_SEQUENCES. Each line of standard input is a JSON object:
{"threads": t} sets the threads, {"kind", "n", "depth", "steps", "prompt"} is one measurement. Each answer is
a line of JSON.
"""

import ctypes
import json
import os
import sys
import time

import llama_cpp as llama


class Measurer:
    """One model with one context; sequence 0 measures single streams, sequences 1 .. n the batches."""

    def __init__(self, path: str, n_ctx: int, max_sequences: int) -> None:
        llama.llama_backend_init()
        parameters = llama.llama_model_default_params()
        self.model = llama.llama_model_load_from_file(os.fsencode(path), parameters)
        if not self.model:
            raise RuntimeError("llama.cpp cannot load the model")
        self.n_vocab = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(self.model))
        context = llama.llama_context_default_params()
        context.n_ctx = n_ctx
        context.n_batch = context.n_ubatch = 512
        context.n_seq_max = max_sequences + 1
        context.kv_unified = True  # one pool of cells for all sequences, as ours is
        self.context = llama.llama_init_from_model(self.model, context)
        if not self.context:
            raise RuntimeError("llama.cpp cannot make a context")
        self.memory = llama.llama_get_memory(self.context)
        self.batch = llama.llama_batch_init(max(512, max_sequences), 0, 1)
        self.deep = 0  # tokens that sequence 0 holds
        self.crowd = 0  # sequences of batches that have read their prompts

    def threads(self, n: int) -> None:
        llama.llama_set_n_threads(self.context, n, n)

    def step(self, entries: list[tuple[int, int, int, bool]]) -> None:
        """Entries: token, position, sequence, whether logits are wanted."""
        self.batch.n_tokens = len(entries)
        for i, (token, position, sequence, wanted) in enumerate(entries):
            self.batch.token[i] = token % self.n_vocab
            self.batch.pos[i] = position
            self.batch.n_seq_id[i] = 1
            self.batch.seq_id[i][0] = sequence
            self.batch.logits[i] = wanted
        if llama.llama_decode(self.context, self.batch) != 0:
            raise RuntimeError("llama_decode failed")
        llama.llama_synchronize(self.context)

    def read(self, sequence: int, n: int, begin: int = 0) -> float:
        start = time.perf_counter()
        for done in range(begin, n, 512):
            count = min(512, n - done)
            self.step([(7919 * i + 5, done + i, sequence, done + i == n - 1) for i in range(count)])
        return time.perf_counter() - start

    def drop(self, sequence: int, begin: int) -> None:
        llama.llama_memory_seq_rm(self.memory, sequence, begin, -1)

    def measure(self, kind: str, n: int, depth: int, steps: int, prompt: int) -> float:
        if kind == "batch":
            return self.batch_steps(n, steps, prompt)
        for sequence in range(1, self.crowd + 1):  # their cells would lengthen the attention of sequence 0
            self.drop(sequence, 0)
        self.crowd = 0
        if kind == "prefill":
            self.drop(0, 0)
            self.deep = 0
            seconds = self.read(0, n)
            self.drop(0, 0)
            return seconds
        depth = max(depth, 1)
        if self.deep != depth:
            self.drop(0, 0)
            self.read(0, depth)
            self.deep = depth
        start = time.perf_counter()
        for step in range(steps):
            self.step([(7919 * i + 31 * step + 5, depth + step * n + i, 0, True) for i in range(n)])
        seconds = time.perf_counter() - start
        self.drop(0, depth)
        return seconds

    def batch_steps(self, n: int, steps: int, prompt: int) -> float:
        self.drop(0, 0)
        self.deep = 0
        while self.crowd < n:
            self.crowd += 1
            self.read(self.crowd, prompt)
        start = time.perf_counter()
        for step in range(steps):
            self.step([(7919 * i + 31 * step + 5, prompt + step, i + 1, True) for i in range(n)])
        seconds = time.perf_counter() - start
        for sequence in range(1, n + 1):
            self.drop(sequence, prompt)
        return seconds


@llama.llama_log_callback
def silent(level: int, text: bytes, data: ctypes.c_void_p) -> None:
    """llama.cpp's log has no place in a protocol."""


def main() -> None:
    """Answer until standard input ends."""
    llama.llama_log_set(silent, ctypes.c_void_p(0))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else prints must not reach the protocol
    measurer = Measurer(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    system = llama.llama_print_system_info().decode()
    answers.write(json.dumps({"version": llama.__version__, "system": system}) + "\n")
    answers.flush()
    for line in sys.stdin:
        request = json.loads(line)
        if "threads" in request:
            measurer.threads(request["threads"])
            answer = {}
        else:
            answer = {"seconds": measurer.measure(**request)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
