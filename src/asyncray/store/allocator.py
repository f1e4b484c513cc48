"""Which bytes of the arena belong to whom: best fit, over memory used before.

All memory from some offset on, the *tail*, is free. The free extents below it have been used before, so their pages
are there already, and writing to them is up to forty times faster than to the tail's. So they come first, the smallest
that fits (best fit: Knuth, The Art of Computer Programming, volume 1, section 2.5); the tail is cut when none fits.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass
from typing import Final

ALIGNMENT: Final = 64
"""Bytes; what the layout of values promises to their buffers."""
PAGE: Final = 4096
LARGE: Final = 16 * PAGE
"""Blocks from this size on take whole pages, so that pages can be populated and released for one block alone."""

_CANDIDATES: Final = 8
"""Of the extents that may be too badly aligned, how many are tried."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes, but for `blocks` and `fragmentation`."""

    capacity: int
    used: int
    blocks: int
    largest_free: int
    fragmentation: float
    """The share of free memory that lies outside the largest free extent."""


class Allocator:
    """Offsets into `capacity` bytes. Not thread-safe; an operation costs O(log n), and one short memmove."""

    def __init__(self, capacity: int) -> None:
        if capacity <= 0:
            raise ValueError(f"an arena needs a positive capacity, got {capacity}")
        self.capacity = capacity
        self.used = 0
        """Bytes of the blocks given out, rounded up to what they take."""
        self.tail = 0
        """From here on all is free."""
        self._blocks: dict[int, int] = {}
        """Sizes of the blocks given out, by offset."""
        self._sizes: dict[int, int] = {}
        """Sizes of the free extents below the tail, by offset."""
        self._offsets: dict[int, int] = {}
        """Offsets of the same extents, by their ends."""
        self._by_size: list[tuple[int, int]] = []
        """`(size, offset)` of the same extents, in order."""

    @property
    def largest_free(self) -> int:
        below = self._by_size[-1][0] if self._by_size else 0
        return max(below, self.capacity - self.tail)

    @property
    def reusable(self) -> int:
        """Free bytes below the tail."""
        return self.tail - self.used

    def usage(self) -> Usage:
        free = self.capacity - self.used
        fragmentation = 1 - self.largest_free / free if free else 0.0
        return Usage(self.capacity, self.used, len(self._blocks), self.largest_free, fragmentation)

    def allocate(self, size: int) -> int | None:
        """The offset of a block of `size` bytes, or None when no free extent can hold it."""
        size, alignment = _rounded(size)
        offset = self._cut_reusable(size, alignment)
        if offset is None:
            offset = self._cut_tail(size, alignment)
        if offset is not None:
            self._blocks[offset] = size
            self.used += size
        return offset

    def free(self, offset: int) -> None:
        """Gives the block at `offset` back. Raises ValueError when there is none."""
        size = self._blocks.pop(offset, None)
        if size is None:
            raise ValueError(f"no block at offset {offset}")
        self.used -= size
        end = offset + size
        before = self._offsets.get(offset)
        if before is not None:
            self._remove(before)
            offset = before
        if end == self.tail:
            self.tail = offset
            return
        after = self._sizes.get(end)
        if after is not None:
            self._remove(end)
            end += after
        self._add(offset, end - offset)

    def size_of(self, offset: int) -> int:
        """Bytes that the block at `offset` takes. Raises KeyError when there is none."""
        return self._blocks[offset]

    def _cut_reusable(self, size: int, alignment: int) -> int | None:
        extents = self._by_size
        first = bisect_left(extents, (size, 0))
        # Any extent this large can hold the block, however it lies; of the smaller ones, only some are looked at.
        certain = bisect_left(extents, (size + alignment - ALIGNMENT, 0))
        for extent_size, start in extents[first : min(certain, first + _CANDIDATES)] + extents[certain : certain + 1]:
            offset = _aligned(start, alignment)
            if offset + size <= start + extent_size:
                self._remove(start)
                self._add(start, offset - start)
                self._add(offset + size, start + extent_size - offset - size)
                return offset
        return None

    def _cut_tail(self, size: int, alignment: int) -> int | None:
        offset = _aligned(self.tail, alignment)
        if offset + size > self.capacity:
            return None
        self._add(self.tail, offset - self.tail)
        self.tail = offset + size
        return offset

    def _add(self, offset: int, size: int) -> None:
        if size:
            self._sizes[offset] = size
            self._offsets[offset + size] = offset
            insort(self._by_size, (size, offset))

    def _remove(self, offset: int) -> None:
        size = self._sizes.pop(offset)
        del self._offsets[offset + size]
        del self._by_size[bisect_left(self._by_size, (size, offset))]


def block_size(size: int) -> int:
    """What a block of `size` bytes takes."""
    return _rounded(size)[0]


def _rounded(size: int) -> tuple[int, int]:
    if size <= 0:
        raise ValueError(f"a block needs a positive size, got {size}")
    alignment = PAGE if size >= LARGE else ALIGNMENT
    return _aligned(size, alignment), alignment


def _aligned(position: int, alignment: int) -> int:
    return position + -position % alignment
