"""A pull beside the app, in a thread that nobody has to wait for."""

from __future__ import annotations

import threading
from pathlib import Path

from edgeinfer.errors import Cancelled, EdgeInferError


class Fetch:
    """Fetches a model by name. Look at it from time to time.

    Attributes:
        n_bytes: that are here.
        total: of the whole model; None until that is known.
        path: the model, once all of it is here.
        error: why it ended without one.
    """

    def __init__(self, name: str) -> None:
        self.n_bytes = 0
        self.total: int | None = None
        self.path: Path | None = None
        self.error: EdgeInferError | None = None
        self._cancelled = False
        # the app may end without waiting for it: a pull that was cut off goes on where it was
        threading.Thread(target=self._run, args=(name,), daemon=True).start()

    def cancel(self) -> None:
        """Stop soon; what is here stays for the next time."""
        self._cancelled = True

    def _run(self, name: str) -> None:
        from edgeinfer.hub.pull import plan_pull, pull  # 100 ms: pydantic, httpx2

        try:
            plan = plan_pull(name)
            self.n_bytes, self.total = plan.here_bytes(), plan.size_bytes
            self._report(self.n_bytes)
            self.path = pull(plan, report=self._report)
        except EdgeInferError as error:
            self.error = error

    def _report(self, n_bytes: int) -> None:
        self.n_bytes = n_bytes
        if self._cancelled:
            raise Cancelled("the pull was stopped")
