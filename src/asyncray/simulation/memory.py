"""Shared memory of simulated machines: plain memory, which every process has anyway."""

from __future__ import annotations

import mmap
from typing import Final

from asyncray.simulation.disk import SimulatedDisk
from asyncray.simulation.process import current_process
from asyncray.store.allocator import PAGE
from asyncray.store.arena import SharedMemory
from asyncray.store.overflow import Extents, overflow_start

_NORESERVE: Final = 0x4000
"""MAP_NORESERVE: it is larger than the machine, and hardly used."""


class SimulatedArenas:
    """The arenas of one machine, by their paths."""

    def __init__(self, disk: SimulatedDisk) -> None:
        self._disk = disk
        self._arenas: list[_Arena] = []

    def create(self, capacity: int, overflow: int = 0, overflow_folder: str = "") -> SharedMemory:
        arena = _Arena(f"/arena/{len(self._arenas)}", capacity, overflow, self._disk)
        self._arenas.append(arena)
        process = current_process.get()
        if process is not None:
            process.on_death(lambda cause: arena.creator_died())
        return arena

    def attach(self, path: str, capacity: int, overflow: int = 0, overflow_path: str = "") -> SharedMemory:
        arena = next((arena for arena in self._arenas if arena.path == path), None)
        if arena is None:
            raise FileNotFoundError(f"there is no arena {path}")
        if (arena.capacity, arena.overflow, arena.overflow_path) != (capacity, overflow, overflow_path):
            raise ValueError(f"the arena at {path} has {arena.capacity} + {arena.overflow} bytes, not {capacity}")
        return arena


class _Arena:
    """Memory that exists once it is used. All processes have the same object, so nobody closes it.

    Of the overflow, the disk knows how many bytes it takes; they are read and written as if they were in memory.
    """

    def __init__(self, path: str, capacity: int, overflow: int, disk: SimulatedDisk) -> None:
        self.path = path
        self.capacity = capacity
        self.overflow = overflow
        self.overflow_path = f"{path}/overflow" if overflow else ""
        self._end = overflow_start(capacity) + overflow if overflow else capacity
        self._disk = disk
        self._reserved: set[int] = set()
        """Pages that have disk space."""
        self._orphaned = False
        self._memory: memoryview | None = None
        self._behind: memoryview | None = None

    def view(self, offset: int, size: int) -> memoryview:
        if offset < 0 or size < 0 or offset + size > self._end:
            raise ValueError(f"{size} bytes at {offset} are outside of an arena of {self._end}")
        if offset < self.capacity:
            if self._memory is None:
                self._memory = memoryview(mmap.mmap(-1, self.capacity))
            return self._memory[offset : offset + size]
        if self._behind is None:
            flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NORESERVE
            self._behind = memoryview(mmap.mmap(-1, self.overflow, flags=flags))
        start = offset - overflow_start(self.capacity)
        return self._behind[start : start + size]

    def writable(self, offset: int, size: int) -> memoryview:
        if offset >= self.capacity and not self._orphaned and not self._reserved.issuperset(_pages(offset, size)):
            raise RuntimeError(f"SIGBUS: {size} bytes at {offset} have no disk space")
        return self.view(offset, size)

    def populate(self, offset: int, size: int) -> None:
        """Warm pages make a difference in time only, and time is not real here."""

    def keep(self, offset: int, size: int) -> None:
        """Nothing that has left its cluster is looked at here."""

    async def reserve(self, offset: int, size: int) -> None:
        def reserve() -> None:
            missing = [page for page in _pages(offset, size) if page not in self._reserved]
            if not self._orphaned:
                self._disk.contents.reserve(len(missing) * PAGE, self._disk.conditions.capacity)
                self._reserved.update(missing)

        await self._disk.change(reserve)

    async def release(self, extents: Extents) -> None:
        def release() -> None:
            for offset, size in extents:
                pages = _pages(offset, size)
                there = {page for page in self._reserved if page in pages}
                self._reserved -= there
                self._disk.contents.give_back(len(there) * PAGE)
                for page in there:
                    self.view(page * PAGE, PAGE)[:] = bytes(PAGE)

        await self._disk.change(release)

    def creator_died(self) -> None:
        """The node is gone, and its processes with it."""
        self._orphaned = True
        self._disk.contents.give_back(len(self._reserved) * PAGE)
        self._reserved.clear()

    def close(self) -> None:
        """Others may use it, as the file of a real arena lives while one process has it mapped."""


def _pages(offset: int, size: int) -> range:
    return range(offset // PAGE, -(-(offset + size) // PAGE))
