"""The blocks of keys and values as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

if TYPE_CHECKING:
    from edgeinfer.backends.base import KvUse


# mark, name, colour; shapes tell apart what colours do not
_KINDS = (
    ("\u25a0", "running", "$text-success"),
    ("\u25a3", "shared", "$text-accent"),
    ("\u25aa", "kept", "$text-primary"),
    ("\u00b7", "free", "$text-muted"),
)


class BlockMap(Widget):
    """Every cell is as many blocks; what is there at all has one. Below it what the marks mean."""

    use: reactive[KvUse | None] = reactive(None)

    def render(self) -> Content:
        """As many cells as there is room for."""
        if self.use is None:
            return Content("")
        counts = (self.use.n_running, self.use.n_shared, self.use.n_kept, self.use.n_free)
        width = self.size.width
        cells = _shares(counts, width * max(1, self.size.height - 2))
        picture = [(mark * n, colour) for (mark, _, colour), n in zip(_KINDS, cells, strict=True)]
        names = [
            Content.assemble((mark, colour), f" {n:,} {name}".ljust(width // 2 - 1))
            for (mark, name, colour), n in zip(_KINDS, counts, strict=True)
        ]
        return Content.assemble(*picture, "\n", names[0], names[1], "\n", names[2], names[3])


def _shares(counts: tuple[int, ...], n_cells: int) -> list[int]:
    """`n_cells` in the proportion of these counts, the last one takes what is left."""
    total = max(1, sum(counts))
    cells = [max(int(n > 0), round(n_cells * n / total)) for n in counts[:-1]]
    return [*cells, max(0, n_cells - sum(cells))]
