"""Other engines that measure the same file in the same run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from edgeinfer.bench.runner import BATCH_PROMPT, STEPS, Measure
from edgeinfer.errors import EdgeInferError, InvalidRequest, NotFound

_CHILD = Path(__file__).with_name("llamacpp_child.py")


class PeerFailed(EdgeInferError):
    """The other engine could not measure."""


class LlamaCppRunner:
    """llama-cpp-python in a process of its own, which keeps the model open.

    Args:
        path: the model file.
        python: an interpreter that has llama_cpp; another build is another interpreter.
        n_ctx: tokens of all sequences together.
        max_sequences: most sequences of a batch.

    Raises:
        NotFound: the interpreter or its llama_cpp is missing.
        PeerFailed: llama.cpp cannot run the model.
    """

    def __init__(self, path: str, python: str | None, n_ctx: int, max_sequences: int) -> None:
        command = [python or sys.executable, str(_CHILD), path, str(n_ctx), str(max_sequences)]
        try:
            self._child = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        except OSError as error:
            raise NotFound(f"cannot run {command[0]}: {error.strerror}") from error
        self.description = f"llama-cpp-python {self._answer()['version']}"

    def set_threads(self, n: int) -> None:
        """For the measurements that follow."""
        self._ask({"threads": n})

    def seconds(self, measure: Measure) -> float:
        """See Runner."""
        request = {"kind": measure.kind, "n": measure.n, "depth": measure.depth}
        answer = self._ask(request | {"steps": STEPS[measure.kind], "prompt": BATCH_PROMPT})
        return float(answer["seconds"])

    def close(self) -> None:
        """End the process."""
        self._child.kill()
        self._child.communicate()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(json.dumps(request) + "\n")
            self._child.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended; _answer says why
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if line:
            return dict(json.loads(line))
        _, said = self._child.communicate()
        last = (said.strip().splitlines() or ["it ended without a word"])[-1]
        if "No module named 'llama_cpp'" in last:
            raise NotFound(
                "the comparison needs llama-cpp-python, which this Python does not have",
                hint="`pip install llama-cpp-python`, or give another interpreter with --against-python",
            )
        raise PeerFailed(f"llama.cpp ended: {last}")


class LlamaBenchRunner:
    """llama.cpp's own benchmark program, started once a measurement; it knows no batches."""

    def __init__(self, path: str, program: str) -> None:
        if not os.access(program, os.X_OK):
            raise InvalidRequest(
                f"{program} is neither `llamacpp` nor a llama-bench program",
                hint="`--against llamacpp` compares with llama-cpp-python",
            )
        self._path, self._program, self._threads = path, program, 1
        self.description = Path(program).name

    def set_threads(self, n: int) -> None:
        """For the measurements that follow."""
        self._threads = n

    def seconds(self, measure: Measure) -> float | None:
        """See Runner; None for what the program cannot measure."""
        if measure.kind not in ("prefill", "decode"):
            return None
        steps = STEPS[measure.kind]
        what = (
            ["-p", str(measure.n), "-n", "0"]
            if measure.kind == "prefill"
            else ["-p", "0", "-n", str(steps), "-d", str(measure.depth)]
        )
        command = [self._program, "-m", self._path, "-t", str(self._threads), "-r", "1", "-o", "json", *what]
        done = subprocess.run(command, capture_output=True, text=True)
        try:
            return measure.tokens / float(json.loads(done.stdout)[0]["avg_ts"])
        except (ValueError, LookupError, TypeError):
            last = (done.stderr.strip().splitlines() or ["no figures"])[-1]
            raise PeerFailed(f"{self._program} ended with {done.returncode}: {last}") from None

    def close(self) -> None:
        """Nothing stays open."""


Peer = LlamaCppRunner | LlamaBenchRunner


def open_peer(against: str, path: str, python: str | None, n_ctx: int, max_sequences: int) -> Peer:
    """`llamacpp`, or the path of a llama-bench program."""
    if against == "llamacpp":
        return LlamaCppRunner(path, python, n_ctx, max_sequences)
    return LlamaBenchRunner(path, against)
