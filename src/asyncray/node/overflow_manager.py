"""Objects that go to disk since all memory is pinned: gets disk space for their blocks, and gives it back."""

from __future__ import annotations

import asyncio
import logging
import math
from typing import Final

from asyncray.config import Config
from asyncray.node.background import Background
from asyncray.node.room import Room
from asyncray.store.admission import Ticket
from asyncray.store.arena import SharedMemory
from asyncray.store.overflow import Overflow
from asyncray.store.table import ObjectTable

_log = logging.getLogger(__name__)

_WARNING_INTERVAL: Final = 300.0
"""Seconds between two warnings that say the same."""


class OverflowManager:
    """A part of the store manager. Whose turn it is says `admission.py`, the account of the blocks is `overflow.py`."""

    def __init__(self, folder: str, config: Config, background: Background, room: Room) -> None:
        """`folder`: where the overflow is."""
        self._folder = folder
        self._config = config
        self._background = background
        self._room = room
        self._releasing = False
        self._trim: asyncio.Handle | None = None
        self._warned = -math.inf

    def use(self, table: ObjectTable, arena: SharedMemory) -> None:
        self._table = table
        self._arena = arena

    def stop(self) -> None:
        if self._trim is not None:
            self._trim.cancel()

    def consider(self) -> None:
        """Somebody waits for memory, and none is being made available."""
        now = self._now()
        for ticket in self._room.waiting_for_overflow():
            offset = self._overflow.begin(ticket.size, now)
            if offset is not None:
                self._background.spawn(self._extend(ticket, offset), name="put an object on disk")
            if self._overflow.reserving is not None:
                break  # one after the other: what the first one gets may be enough for the next to get memory

    def tidy(self) -> None:
        """Blocks are not needed any more, or not read."""
        if self._table.idle.has_redundant and self._trim is None:
            # Not at once: whoever has brought an object here is about to read it.
            self._trim = asyncio.get_running_loop().call_soon(self._drop_redundant)
        if self._overflow.has_freed and not self._releasing:
            self._releasing = True
            self._background.spawn(self._release(), name="give disk space back")

    # ----

    @property
    def _overflow(self) -> Overflow:
        return self._table.overflow

    async def _extend(self, ticket: Ticket, offset: int) -> None:
        overflow = self._overflow
        try:
            await self._arena.reserve(offset, overflow.size_of(offset))
        except OSError as error:
            why = f"{error.strerror or error} ({overflow.size_of(offset)} bytes)"
            level = logging.DEBUG if overflow.trouble else logging.WARNING  # it is tried again: one line says so
            _log.log(
                level,
                "no memory can be made available, and objects cannot be put on disk, in %s: %s",
                self._folder,
                why,
            )
            overflow.failed(offset, why, self._now())
        except asyncio.CancelledError:
            overflow.failed(offset, "the node stops", self._now())
            raise
        else:
            overflow.end(offset)
            if not self._room.grant_in_overflow(ticket, offset):
                overflow.free(offset)
            self._warn()
        self._room.changed()

    async def _release(self) -> None:
        """All that has become free meanwhile goes together."""
        try:
            while extents := self._overflow.take_freed():
                try:
                    await self._arena.release(extents)
                except OSError as error:
                    _log.warning("disk space in %s cannot be given back before the node ends: %s", self._folder, error)
                self._overflow.released(extents)
        finally:
            self._releasing = False
        self._room.changed()

    def _drop_redundant(self) -> None:
        self._trim = None
        self._table.trim_overflow()
        self._room.changed()

    def _warn(self) -> None:
        now = self._now()
        if now < self._warned + _WARNING_INTERVAL:
            return
        self._warned = now
        pinned, readers = self._table.pinned_memory()
        capacity = self._table.allocator.capacity
        _log.warning(
            "objects are put on disk, in %s (%d bytes so far), where they are slow: of the object store's %d bytes %d"
            " are pinned by %d readers, and no other memory can be made available. Let go of values that were read,"
            " run fewer tasks at a time, or start the node with a larger object_store_memory.",
            self._folder,
            self._overflow.used,
            capacity,
            pinned,
            readers,
        )

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
