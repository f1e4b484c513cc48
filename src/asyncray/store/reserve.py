"""How much memory should be ready before anybody asks for it."""

from __future__ import annotations

from typing import Final

from asyncray.store.allocator import PAGE, Allocator

_MIB: Final = 1024 * 1024


class WarmReserve:
    """Says which pages of the arena to populate next, ahead of the writers.

    Writing to a fresh page costs up to forty times the copy itself. The reserve is as large as the store's highest use
    so far (up to `limit`): a store that nobody uses costs nothing. Memory that was freed counts as reserve.

    The node manager asks `next_range` after each allocation, and populates in a thread until it gives None.
    """

    def __init__(self, allocator: Allocator, *, limit: int = 1024 * _MIB, step: int = 16 * _MIB) -> None:
        """`step`: bytes at a time, so that the thread can be stopped soon (16 MiB take up to 50 ms)."""
        self._allocator = allocator
        self._limit = limit
        self._step = step
        self._peak = 0
        self._populated = 0

    def next_range(self) -> tuple[int, int] | None:
        """`(offset, size)` to populate now, in whole pages; it counts as done."""
        allocator = self._allocator
        self._peak = max(self._peak, allocator.used)
        # What was allocated is being written, so populated, by its writer.
        self._populated = max(self._populated, allocator.tail + -allocator.tail % PAGE)
        wanted = min(self._peak, self._limit)
        ready = allocator.reusable + self._populated - allocator.tail
        end_of_pages = allocator.capacity - allocator.capacity % PAGE
        missing = min(wanted - ready, self._step, end_of_pages - self._populated)
        if missing <= 0:
            return None
        offset, size = self._populated, missing + -missing % PAGE
        self._populated += size
        return offset, size
