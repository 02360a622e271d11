"""StepBudget: how many prompt tokens a step may carry beside decoding requests.

A long prompt that is read in large chunks is read fastest, but everybody who is decoding waits for each
chunk. So the chunk is the largest one that keeps a step within a few times the length of a step without
prompts, by what steps were measured to take on this machine, with this model, at this depth.
"""

from __future__ import annotations

_STRETCH = 2.7  # a step with prompt tokens lasts at most so many steps without
_UNNOTICED = 0.03  # seconds; a shorter step needs no limit: faster than anybody reads
_TILE = 8  # tokens that kernels take together: a rest of fewer costs as much
_LEAST = 16  # prompt tokens of a step: 8 take 0.8 of the time of 16 (1B)
_LOOK_AGAIN = 64  # steps with prompts, until one without tells anew how long it takes
_WEIGHT = 0.3  # of the newest measurement in a moving average


class StepBudget:
    """Learns from the steps of one engine.

    Args:
        most: tokens of a step.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._decode: float | None = None  # seconds of a step without prompts
        self._extra: float | None = None  # seconds more for each prompt token, at the size of the last chunks
        self._n = min(_LEAST, most)
        self._until_look = 0  # steps

    def prompt_tokens(self, n_decoding: int) -> int:
        """For the next step."""
        if n_decoding == 0:
            return self.most
        if self._until_look == 0:
            return 0
        total = max(n_decoding + self._n, n_decoding + _TILE) // _TILE * _TILE
        return max(1, min(total, self.most) - n_decoding)

    def observe(self, n_decoding: int, n_prompt: int, seconds: float) -> None:
        """A step took so long."""
        if n_decoding == 0:
            return
        if n_prompt == 0:
            self._decode = moving_average(self._decode, seconds, _WEIGHT)
            self._until_look = _LOOK_AGAIN
            return
        self._until_look -= 1
        if self._decode is None or n_prompt < self._n // 2:
            return  # the rest of a prompt: too few tokens to tell
        allowed = max(_STRETCH * self._decode, _UNNOTICED) - self._decode
        self._extra = moving_average(self._extra, max(seconds - self._decode, 0.0) / n_prompt, _WEIGHT)
        wanted = allowed / max(self._extra, 1e-9)
        # The cost of a token holds near the size where it was measured: other sizes are approached by halves.
        self._n = int(min(max(wanted, self._n / 2, _LEAST), 2 * self._n, self.most))


def moving_average(old: float | None, new: float, weight: float) -> float:
    """The average after one more measurement; `weight`: how much that one counts."""
    return new if old is None else (1 - weight) * old + weight * new
