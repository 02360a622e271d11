"""A pull beside the app, in a thread that nobody has to wait for."""

from __future__ import annotations

import threading
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from edgeinfer.errors import Cancelled, EdgeInferError, NetworkError
from edgeinfer.hub.fit import Fit, fit_plan, usual_use

if TYPE_CHECKING:
    from edgeinfer.hub.pull import Plan

_PACE_S = 5.0  # that a rate is of


class Fetch:
    """Fetches a model by name, of one that does not fit only after `agree`. Look at it from time to time.

    Attributes:
        fit: what it will take here, once its header has been read.
        asks: whether it waits for a word of the person.
        n_bytes: that are here.
        total: of the whole model; None until that is known.
        path: the model, once all of it is here.
        waits: what broke and when it is tried again, while it waits for that.
        error: why it ended without one.
    """

    def __init__(self, name: str) -> None:
        self.fit: Fit | None = None
        self.n_bytes = 0
        self.total: int | None = None
        self.path: Path | None = None
        self.waits = ""
        self.error: EdgeInferError | None = None
        self._agreed = threading.Event()
        self._cancelled = threading.Event()
        self._seen: deque[tuple[float, int]] = deque()  # when so many bytes were here
        # the app may end without waiting for it: a pull that was cut off goes on where it was
        threading.Thread(target=self._run, args=(name,), daemon=True).start()

    @property
    def asks(self) -> bool:
        """Whether it waits for a word of the person."""
        return self.fit is not None and self.fit.verdict == "does not fit" and not self._agreed.is_set()

    def agree(self) -> None:
        """Fetch it although it does not fit."""
        self._agreed.set()

    def cancel(self) -> None:
        """Stop soon; what is here stays for the next time."""
        self._cancelled.set()
        self._agreed.set()

    @property
    def bytes_per_s(self) -> float:
        """Of the last seconds; 0: not known yet."""
        seen = list(self._seen)
        if len(seen) < 2 or seen[-1][0] - seen[0][0] < _PACE_S / 10:
            return 0.0
        return (seen[-1][1] - seen[0][1]) / (seen[-1][0] - seen[0][0])

    def _run(self, name: str) -> None:
        from edgeinfer.hub.pull import plan_pull, pull  # 100 ms: pydantic, httpx2
        from edgeinfer.hub.transfer import Patience

        patience = Patience(on_wait=self._wait, sleep=self._sleep)
        try:
            plan = plan_pull(name, patience)
            self._expect(plan)
            self.n_bytes, self.total = plan.here_bytes(), plan.size_bytes
            self._report(self.n_bytes)
            self.path = pull(plan, patience, self._report)
        except EdgeInferError as error:
            self.error = error

    def _expect(self, plan: Plan) -> None:
        """What cannot run is not fetched; what does not fit only if asked to, or if it was begun."""
        if plan.here_bytes():
            self._agreed.set()
        try:
            self.fit = fit_plan(plan, usual_use())
        except NetworkError:  # a server that gives no parts of files: the pull itself will tell
            return
        if self.asks:
            self._agreed.wait()

    def _wait(self, why: str, seconds: float) -> None:
        self.waits = f"{why}: trying again in {seconds:.0f} s"

    def _sleep(self, seconds: float) -> None:
        self._cancelled.wait(seconds)
        self._heed()

    def _heed(self) -> None:
        if self._cancelled.is_set():
            raise Cancelled("the pull was stopped")

    def _report(self, n_bytes: int) -> None:
        now = time.monotonic()
        if n_bytes < self.n_bytes:  # what was here is looked through first
            self._seen.clear()
        self.n_bytes = n_bytes
        self._seen.append((now, n_bytes))
        while self._seen[0][0] < now - _PACE_S:
            self._seen.popleft()
        self.waits = ""
        self._heed()
