"""Shared memory of simulated machines: plain memory, which every process has anyway."""

from __future__ import annotations

import mmap

from asyncray.store.arena import SharedMemory


class SimulatedArenas:
    """The arenas of one machine, by their paths."""

    def __init__(self) -> None:
        self._arenas: list[_Arena] = []

    def create(self, capacity: int) -> SharedMemory:
        arena = _Arena(f"/arena/{len(self._arenas)}", capacity)
        self._arenas.append(arena)
        return arena

    def attach(self, path: str, capacity: int) -> SharedMemory:
        arena = next((arena for arena in self._arenas if arena.path == path), None)
        if arena is None:
            raise FileNotFoundError(f"there is no arena {path}")
        if arena.capacity != capacity:
            raise ValueError(f"the arena at {path} has {arena.capacity} bytes, not {capacity}")
        return arena


class _Arena:
    """Memory that exists once it is used. All processes have the same object, so nobody closes it."""

    def __init__(self, path: str, capacity: int) -> None:
        self.path = path
        self.capacity = capacity
        self._memory: memoryview | None = None

    def view(self, offset: int, size: int) -> memoryview:
        if self._memory is None:
            self._memory = memoryview(mmap.mmap(-1, self.capacity))
        if offset < 0 or size < 0 or offset + size > self.capacity:
            raise ValueError(f"{size} bytes at {offset} are outside of an arena of {self.capacity}")
        return self._memory[offset : offset + size]

    def writable(self, offset: int, size: int) -> memoryview:
        return self.view(offset, size)

    def populate(self, offset: int, size: int) -> None:
        """Warm pages make a difference in time only, and time is not real here."""

    def keep(self, offset: int, size: int) -> None:
        """Nothing that has left its cluster is looked at here."""

    def close(self) -> None:
        """Others may use it, as the file of a real arena lives while one process has it mapped."""
