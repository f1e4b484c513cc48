"""The arena's overflow: blocks on disk, behind those in memory, for when all memory is pinned. No I/O happens here."""

from __future__ import annotations

from typing import Final

from asyncray.store.allocator import LARGE, PAGE, Allocator, block_size

Extents = list[tuple[int, int]]
"""Offsets and sizes, in whole pages."""

_NO_LIMIT: Final = 1 << 62


def overflow_start(capacity: int) -> int:
    """The offset at which the overflow of an arena of that size begins."""
    return capacity + -capacity % PAGE


class Overflow:
    """Offsets from `start` on. The file behind them is sparse: what it takes of the disk is what is given out here.

    Usage: `begin`, and make sure of the disk space: else a writer would be killed when the disk is full. Then `end`,
    and the block is somebody's until `free`, or `failed`. `take_freed` has what became free: once its pages are the
    disk's again, `released` lets it be given out anew, for what is in it by then would be lost with them.
    """

    def __init__(self, start: int, capacity: int, retry_delay: float) -> None:
        """`capacity`: 0 if there is none. `retry_delay`: seconds for which a disk that is full is not asked again."""
        self.start = start
        self.capacity = capacity
        self.trouble = ""
        """Why the last attempt to get disk space has failed; empty if it has not."""
        self.reserving: int | None = None
        """The block whose disk space is being made sure of."""
        self._allocator = Allocator(capacity) if capacity else None
        self._freed: Extents = []
        self._emptying = False
        """All of it is being given back to the disk."""
        self._retry_delay = retry_delay
        self._retry_at = 0.0
        self._too_large = _NO_LIMIT
        """What the disk has refused."""

    @property
    def used(self) -> int:
        """Bytes that blocks take of the disk, those included that are about to be given back to it."""
        return self._allocator.used if self._allocator is not None else 0

    @property
    def has_freed(self) -> bool:
        return bool(self._freed)

    def size_of(self, offset: int) -> int:
        """Bytes that a block takes of it."""
        assert self._allocator is not None
        return self._allocator.size_of(offset - self.start)

    def begin(self, size: int, now: float) -> int | None:
        """A block for which disk space is needed. None while that is being got for another one, if there is no extent
        as large, and if the disk has refused as much a moment ago."""
        if self._allocator is None or self.reserving is not None or self._emptying:
            return None
        taken = block_size(max(size, LARGE))  # whole pages: what is given back to the disk must be nobody else's
        if taken >= self._too_large:
            if now < self._retry_at:
                return None
            self._too_large = _NO_LIMIT
        offset = self._allocator.allocate(taken)
        if offset is None:
            return None
        self.reserving = self.start + offset
        return self.reserving

    def end(self, offset: int) -> None:
        """There is disk space for the block."""
        assert offset == self.reserving
        self.reserving = None
        self.trouble = ""

    def failed(self, offset: int, why: str, now: float) -> None:
        """There is none, or only a part. The block is free again."""
        assert offset == self.reserving
        self.reserving = None
        self.trouble = why
        self._too_large = self.size_of(offset)
        self._retry_at = now + self._retry_delay
        self.free(offset)

    def free(self, offset: int) -> None:
        self._freed.append((offset, self.size_of(offset)))

    def take_freed(self) -> Extents:
        """What to give back to the disk; nothing if that is all."""
        freed, self._freed = self._freed, []
        if freed and sum(size for _, size in freed) == self.used:
            # The whole range, since there are file systems that give more than they were asked for.
            self._emptying = True
            return [(self.start, self.capacity)]
        return freed

    def released(self, extents: Extents) -> None:
        assert self._allocator is not None
        if self._emptying:
            self._emptying = False
            self._allocator = Allocator(self.capacity)
            return
        for offset, _ in extents:
            self._allocator.free(offset - self.start)
