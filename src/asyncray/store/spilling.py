"""Which objects go to disk, when, and in which directory: a state machine without I/O.

Objects that nobody reads are written before memory is full, the least recently used first, and stay in the arena as
well: then a creation that needs their room finds it at once. Small ones share a file. Directories take turns; one that
fails is left alone for a while, and gets smaller files after that, since it may be nearly full.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

from asyncray.store.blocks import Sealed
from asyncray.store.spill_files import Extent
from asyncray.store.table import ObjectTable


@dataclass(slots=True, eq=False)
class Directory:
    """One of those that the user has named."""

    path: str
    busy: bool = False
    trouble: str = ""
    """Why the last attempt to write there has failed; empty if it has not."""
    retry_at: float = 0.0
    limit: int = 0
    """The most bytes of a file with several objects; 0: as the configuration says."""


@dataclass(slots=True, eq=False)
class Batch:
    """A file to be written, from its beginning to its end: the blocks one behind the other."""

    directory: Directory
    path: str
    blocks: list[Sealed]
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.size = sum(block.size for block in self.blocks)


class Spilling:
    """Usage: `next` until it gives None, each time that memory is used, or a batch has ended; then `written` or
    `failed`, once for each batch. Blocks of a batch stay where they are meanwhile. Sizes in bytes, times in seconds.
    """

    def __init__(
        self, table: ObjectTable, directories: Sequence[str], *, threshold: float, file_size: int, retry_delay: float
    ) -> None:
        """`threshold`: the share of the arena up to which all is well."""
        capacity = table.allocator.capacity
        self.directories = [Directory(path) for path in directories]
        self._table = table
        self._enough = int(capacity * threshold)
        self._file_size = max(1, min(file_size, capacity // 8))
        """A small arena is not emptied at once."""
        self._retry_delay = retry_delay
        self._in_flight = 0
        self._numbers = count(1)
        self._turn = 0

    @property
    def busy(self) -> bool:
        """Something is being written."""
        return self._in_flight > 0

    @property
    def trouble(self) -> str:
        """What is wrong with the directories, if nothing can be written to any of them; else empty."""
        if not all(directory.trouble for directory in self.directories):
            return ""
        return "; ".join(f"{directory.path}: {directory.trouble}" for directory in self.directories)

    def reclaiming(self, now: float) -> bool:
        """Whether more memory will be available soon than is now."""
        return self.busy or (self._table.idle.spillable_bytes > 0 and self._free_directory(now) is not None)

    def next(self, wanted: int, now: float) -> Batch | None:
        """What to write now. `wanted`: bytes that a creation is waiting for."""
        table = self._table
        if not table.idle.spillable_bytes:
            return None
        excess = table.used - table.idle.evictable_bytes - self._enough
        missing = max(excess, wanted) - self._in_flight
        if missing <= 0:
            return None
        directory = self._free_directory(now)
        if directory is None:
            return None
        blocks = table.begin_spill(self._choose(min(directory.limit or self._file_size, self._file_size)))
        batch = Batch(directory, f"{directory.path}/{next(self._numbers)}", blocks)
        directory.busy = True
        self._turn = self.directories.index(directory) + 1
        self._in_flight += sum(block.taken for block in blocks)
        return batch

    def written(self, batch: Batch, checksums: Sequence[int]) -> None:
        """The file is complete. The blocks can be evicted from now on, but for those that somebody reads by now."""
        directory = batch.directory
        directory.trouble = ""
        directory.limit = min(directory.limit * 2, self._file_size)
        extents: list[Extent] = []
        offset = 0
        for block, checksum in zip(batch.blocks, checksums, strict=True):
            extents.append(Extent(batch.path, offset, block.size, checksum))
            offset += block.size
        self._end(batch, (batch.path, extents))

    def failed(self, batch: Batch, why: str, now: float) -> None:
        """There is no file. The objects stay in memory alone."""
        directory = batch.directory
        directory.trouble = why
        directory.retry_at = now + self._retry_delay
        directory.limit = max(1, batch.size // 2)
        self._end(batch, None)

    def next_retry(self, now: float) -> float | None:
        """When to ask `next` again, if it gives None because directories have failed."""
        times = [directory.retry_at for directory in self.directories if not directory.busy]
        return min((time for time in times if time > now), default=None)

    def _end(self, batch: Batch, file: tuple[str, list[Extent]] | None) -> None:
        batch.directory.busy = False
        self._in_flight -= sum(block.taken for block in batch.blocks)
        self._table.end_spill(batch.blocks, file)

    def _choose(self, limit: int) -> list[bytes]:
        """Keys of the blocks for one file: the first one anyway, then those that still fit."""
        keys: list[bytes] = []
        size = 0
        for block in self._table.idle.to_spill():
            if keys and size + block.taken > limit:
                break
            keys.append(block.key)
            size += block.taken
        return keys

    def _free_directory(self, now: float) -> Directory | None:
        count = len(self.directories)
        for step in range(count):
            directory = self.directories[(self._turn + step) % count]
            if not directory.busy and (not directory.trouble or directory.retry_at <= now):
                return directory
        return None
