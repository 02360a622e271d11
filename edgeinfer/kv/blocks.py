"""BlockPool: which KV blocks are free, and how many sequences hold each of the others."""

from __future__ import annotations

from edgeinfer.errors import NoRoom


class BlockPool:
    """Block ids 0..n_blocks-1 with reference counts. Knows nothing of tokens or memory.

    Freed blocks are handed out again before untouched ones, so the system is asked for memory only when
    more blocks are in use than ever before.
    """

    def __init__(self, n_blocks: int) -> None:
        self.n_blocks = n_blocks
        self._references = [0] * n_blocks
        self._freed: list[int] = []
        self._untouched = 0  # blocks from here on were never used
        self._n_shared = 0

    @property
    def n_free(self) -> int:
        """Blocks that nobody holds."""
        return len(self._freed) + self.n_blocks - self._untouched

    @property
    def n_used(self) -> int:
        """Blocks that at least one sequence holds."""
        return self.n_blocks - self.n_free

    @property
    def n_shared(self) -> int:
        """Blocks that more than one sequence holds."""
        return self._n_shared

    def take(self) -> int:
        """A free block, now held once. Raises NoRoom when there is none."""
        if self._freed:
            block = self._freed.pop()
        elif self._untouched < self.n_blocks:
            block = self._untouched
            self._untouched += 1
        else:
            raise NoRoom(
                f"all {self.n_blocks} KV blocks are in use",
                hint="use a larger --context, or run fewer requests at once",
            )
        self._references[block] = 1
        return block

    def share(self, block: int) -> None:
        """One more holder of a block in use."""
        assert self._references[block] > 0, f"block {block} is free"
        self._references[block] += 1
        self._n_shared += self._references[block] == 2

    def drop(self, block: int) -> None:
        """One holder less; with the last one the block is free."""
        assert self._references[block] > 0, f"block {block} is free"
        self._references[block] -= 1
        self._n_shared -= self._references[block] == 1
        if self._references[block] == 0:
            self._freed.append(block)

    def is_shared(self, block: int) -> bool:
        """Whether more than one sequence holds the block."""
        return self._references[block] > 1
