"""A bar for people who wait for bytes."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

from edgeinfer.cli import output
from edgeinfer.text.safe import safe_text


def say_above(text: str) -> None:
    """Tell a person something while a bar may be shown."""
    from tqdm import tqdm

    tqdm.write(safe_text(text), file=sys.stderr)


@contextlib.contextmanager
def bar_of(what: str, n_bytes: int, n_here: int = 0) -> Iterator[Callable[[int], None]]:
    """A function to tell how many bytes are done; at a terminal it shows share, rate and time left."""
    from tqdm import tqdm

    with tqdm(
        total=n_bytes,
        initial=n_here,
        desc=safe_text(what),
        unit="B",
        unit_scale=True,
        unit_divisor=1024,
        disable=not output.is_terminal(sys.stderr),
    ) as bar:

        def report(n_done: int) -> None:
            bar.update(n_done - bar.n)

        yield report
