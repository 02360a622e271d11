"""A server of a model whose steps a test lets through: what it says means nothing, when it does is exact."""

from __future__ import annotations

import http.client
import json
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import tiny
from fakes import FakeBackend
from numpy.typing import NDArray
from serving import Served

import edgeinfer
from edgeinfer import _native
from edgeinfer.engine.engine import Engine
from edgeinfer.facts import Facts
from edgeinfer.server.guard import Rules
from edgeinfer.text.template import ChatTemplate
from edgeinfer.text.tokenizer import Tokenizer

CHUNK = 64  # tokens of a step


class Turnstile(threading.Event):
    """A gate that lets some steps through; all of them once it is set, each after `pace_s`."""

    pace_s = 0.0

    def __init__(self) -> None:
        super().__init__()
        self._steps = threading.Semaphore(0)

    def let(self, n: int) -> None:
        self._steps.release(n)

    def wait(self, timeout: float | None = None) -> bool:
        if not self.is_set():
            return self._steps.acquire(timeout=timeout)
        time.sleep(self.pace_s)
        return True


class GatedBackend(FakeBackend):
    """Its answers end by their length only."""

    def __init__(self, never: frozenset[int], max_sequences: int) -> None:
        super().__init__(n_vocab=tiny.N_VOCAB, n_ctx=1024, n_blocks=2048, max_sequences=max_sequences)
        self.gate: Turnstile = Turnstile()
        self._never = sorted(never)

    def n_read(self, since: int = 0) -> int:
        """Tokens of all steps behind the first ones."""
        return sum(len(batch.tokens) for batch in self.batches[since:])

    def _logits(self, tokens: list[int]) -> NDArray[np.float32]:
        logits = super()._logits(tokens)
        logits[self._never] = -1e4
        return logits


class Gated(Served):
    """A server whose model computes when the test lets it.

    Args:
        path: of the file that its tokenizer and its chat template are from.
    """

    def __init__(self, path: Path, *, max_sequences: int = 16) -> None:
        file = _native.gguf_open(str(path))
        tokenizer = Tokenizer.from_gguf(file)
        self.backend = GatedBackend(frozenset(tokenizer.eog_ids), max_sequences)
        model = edgeinfer.Model(
            Engine(self.backend, token_budget=CHUNK),
            tokenizer,
            lambda source: ChatTemplate.from_gguf(file, tokenizer, source=source),
            name="gated",
            facts=Facts(file, tokenizer),
        )
        super().__init__(model, Rules())
        self.gate = self.backend.gate

    def send(self, path: str, text: str, **fields: Any) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        messages = [{"role": "user", "content": text}]
        body = {"messages": messages, "max_tokens": 900, "seed": 7, "stream": False, **fields}
        connection.request("POST", path, json.dumps(body))
        return connection

    def ask(self, path: str, text: str, max_tokens: int) -> Any:
        options = {"num_predict": max_tokens}
        connection = self.send(path, text, max_tokens=max_tokens, options=options)
        answer = json.loads(connection.getresponse().read())
        connection.close()
        return answer

    def n_tokens(self, text: str) -> int:
        return len(self.model.encode_chat([{"role": "user", "content": text}]))

    def stop(self) -> None:
        self.gate.set()
        super().stop()
        self.model.close()
