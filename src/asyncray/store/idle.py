"""Sealed blocks that nobody reads: which of them may go when memory is short, and which first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol


class Block(Protocol):
    """What decides."""

    key: bytes
    primary: bool
    backup: bool
    on_disk: bool
    in_overflow: bool

    @property
    def taken(self) -> int:
        """Bytes of the arena."""
        ...


class IdleBlocks:
    """Three queues, each with the least recently used block first.

    What another node has, or a file of this one, is *evictable*: its bytes can go at once. Backups, which save an
    object when its primary copy's node dies, go after all others. A primary copy that is nowhere else is *spillable*.

    Blocks of the overflow are in none of these, for they take no memory. Those that would be evictable are *redundant*:
    they go as soon as whoever has brought them there has had a chance to read. A primary copy simply stays, on disk.
    """

    def __init__(self) -> None:
        self._evictable: dict[bytes, Block] = {}
        self._backups: dict[bytes, Block] = {}
        self._spillable: dict[bytes, Block] = {}
        self._redundant: dict[bytes, Block] = {}
        self._resting: dict[bytes, Block] = {}
        self.evictable_bytes = 0
        self.spillable_bytes = 0

    def add(self, block: Block) -> None:
        """It is not read any more."""
        self._queue(block)[block.key] = block
        if block.in_overflow:
            return
        if block.primary and not block.on_disk:
            self.spillable_bytes += block.taken
        else:
            self.evictable_bytes += block.taken

    def remove(self, block: Block) -> None:
        """It is read again, or is no more."""
        del self._queue(block)[block.key]
        if block.in_overflow:
            return
        if block.primary and not block.on_disk:
            self.spillable_bytes -= block.taken
        else:
            self.evictable_bytes -= block.taken

    def next_to_evict(self) -> bytes | None:
        return next(iter(self._evictable or self._backups), None)

    @property
    def has_redundant(self) -> bool:
        return bool(self._redundant)

    @property
    def redundant(self) -> list[bytes]:
        """Keys of the blocks that should go because they take disk space for nothing."""
        return list(self._redundant)

    def to_spill(self) -> Iterator[Block]:
        """In order; nothing may change meanwhile."""
        return iter(self._spillable.values())

    def __len__(self) -> int:
        queues = (self._evictable, self._backups, self._spillable, self._redundant, self._resting)
        return sum(map(len, queues))

    def _queue(self, block: Block) -> dict[bytes, Block]:
        if block.in_overflow:
            return self._resting if block.primary and not block.on_disk else self._redundant
        if block.primary and not block.on_disk:
            return self._spillable
        return self._backups if block.backup and not block.primary else self._evictable
