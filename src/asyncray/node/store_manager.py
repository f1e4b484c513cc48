"""The node's shared-memory store: who may write where, who reads what. The bytes never pass through here."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
from collections.abc import Callable, Sequence
from typing import Any, Final

from asyncray import messages
from asyncray.config import Config
from asyncray.errors import AsyncrayError, ProtocolError
from asyncray.ids import KEY_LENGTH, owner_of
from asyncray.node.background import Background
from asyncray.node.overflow_manager import OverflowManager
from asyncray.node.pin_requests import Fetch, PinRequests
from asyncray.node.room import Room
from asyncray.node.sessions import Session, Sessions
from asyncray.node.spill_manager import SpillManager
from asyncray.node.survivors import Survivors
from asyncray.platform import Platform
from asyncray.rpc.service import Manager
from asyncray.store.allocator import PAGE
from asyncray.store.arena import SharedMemory
from asyncray.store.external import ExternalStore, is_external
from asyncray.store.reserve import WarmReserve
from asyncray.store.source import Source
from asyncray.store.table import NODE, ObjectTable

_log = logging.getLogger(__name__)

_RELIEF_INTERVAL: Final = 0.1
"""Seconds between two requests to all readers to give memory back."""
_PATIENT_ROUNDS: Final = 2
"""So many of these ask only for what costs nothing."""


class StoreManager(Manager):
    """Allocates blocks of the arena to writers, pins them for readers, frees them for owners."""

    def __init__(
        self,
        sessions: Sessions,
        platform: Platform,
        capacity: int,
        config: Config,
        node_id: bytes,
        spill_directories: Sequence[str],
        session_directory: str,
    ) -> None:
        """`spill_directories`: of this node alone; removed when it stops."""
        self._config = config
        self._platform = platform
        self._capacity = capacity
        self._sessions = sessions
        self._clients: dict[Session, int] = {}
        self._numbers = itertools.count(NODE + 1)
        self._allocated = asyncio.Event()
        self._relief: asyncio.TimerHandle | None = None
        self._background = Background()
        self._room = Room(config, self._allocated.set, self._advance)
        self._spill = SpillManager(
            lambda path: ExternalStore() if is_external(path) else platform.disk,
            spill_directories,
            config,
            self._background,
            self._room.allocate,
            self._advance,
        )
        self.survivors = Survivors(platform.is_running, self._client_ended)
        self._overflow_folder = _overflow_folder(spill_directories, session_directory)
        self._overflow = OverflowManager(self._overflow_folder, config, self._background, self._room)
        self._pins = PinRequests(node_id, self._background, self._restore)
        self._spill.on_restored = self._settled
        self._spill.on_unreadable = self._unreadable
        self.on_first_held: Callable[[bytes], None] = lambda owner: None
        """Called with the process id of each owner, once for as long as that lives."""
        self._owners: dict[bytes, None] = {}
        """Of whom something was held."""
        self.on_freed: list[Callable[[list[bytes]], None]] = []
        """Called with keys whose objects nobody needs any more, whether they are here or not."""
        self.on_dropped: list[Callable[[bytes], None]] = []
        """Called with the key of each secondary copy that went though its owner had not freed it."""
        self.on_settled: list[Callable[[bytes], None]] = []
        """Called with the key of each object that was sealed, or will not be."""
        sessions.handlers |= {
            messages.CREATE: self._on_create,
            messages.SEAL: self._on_seal,
            messages.ABORT: self._on_abort,
            messages.PIN: self._on_pin,
            messages.UNPIN: self._on_unpin,
            messages.FREE: self._on_free,
            messages.CANCEL: self._on_cancel,
            messages.PROMOTE: self._on_promote,
        }
        sessions.on_lost.append(self._session_lost)
        sessions.on_registered.append(lambda session: self.table.owner_returned(session.process_id))

    async def start(self) -> None:
        overflow = int(self._capacity * self._config.overflow_share)
        arena = self._platform.arenas.create(self._capacity, overflow - overflow % PAGE, self._overflow_folder)
        self.use(ObjectTable(self._capacity, arena.overflow, self._config.spill_retry_delay), arena)
        self._sessions.welcome_with(arena)

    def use(self, table: ObjectTable, arena: SharedMemory) -> None:
        self.arena = arena
        self.table = self._pins.table = table
        self._spill.use(table, arena)
        self._overflow.use(table, arena)
        self._room.use(table, self._spill.decisions)
        self._reserve = WarmReserve(table.allocator)

    async def run(self) -> None:
        """Keeps warm pages ready, once the store is used."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._background.run())
            while True:
                await self._allocated.wait()
                self._allocated.clear()
                try:
                    while (pages := self._reserve.next_range()) is not None:
                        await asyncio.to_thread(self.arena.populate, *pages)
                except OSError as error:  # who writes there may have more luck
                    _log.warning("cannot keep memory of the object store ready: %s", error)

    async def stop(self) -> None:
        await self._background.stop()
        await self._spill.stop()
        self._room.stop()
        self._overflow.stop()
        self.survivors.stop()
        if self._relief is not None:
            self._relief.cancel()
        self.arena.close()

    # ------------------------------------------------- for the node's other managers

    @property
    def fetch(self) -> Fetch:
        """Brings what is not here from other nodes; set by whoever can."""
        return self._pins.fetch

    @fetch.setter
    def fetch(self, fetch: Fetch) -> None:
        self._pins.fetch = fetch

    async def create_copy(self, key: bytes, size: int) -> int:
        """The offset of a block for a copy of another node's object, to be sealed or aborted.

        Waits for room, as urgently as the PINs that wait for the object. Raises ObjectStoreFullError, OutOfDiskError,
        and ObjectLostError when the object is freed meanwhile. A cancelled caller leaves nothing.
        """
        waiting = self._pins.priority(key)
        try:
            return await self._room.allocate(key, size, messages.FOR_WAIT if waiting is None else waiting)
        except BaseException:
            self._settled(key)
            raise

    def seal_copy(self, key: bytes, *, backup: bool) -> None:
        """The copy can be read. It is a secondary one, evicted when memory is short. `backup`: its owner knows it."""
        self.table.seal(NODE, key, primary=False, backup=backup)
        self._held(key)
        self._settled(key)

    def abort_copy(self, key: bytes) -> None:
        self.table.abort(NODE, key)
        self._settled(key)

    def source(self, key: bytes) -> Source | None:
        """A copy to be read, which stays in place until the source is closed. None when there is none."""
        table = self.table
        extent = table.files.find(key)
        checksum = extent.checksum if extent is not None else None
        pinned = table.pin(NODE, key)
        if pinned is not None:
            offset, size = pinned

            def unpin() -> None:
                table.unpin(NODE, key)
                self._advance()

            return Source(size, offset, None, checksum, unpin)
        if extent is None:
            return None
        table.files.open(extent.path)

        def close() -> None:
            table.files.close(extent.path)
            self._spill.remove_files()

        return Source(extent.size, None, (extent.path, extent.offset), checksum, close)

    def holds(self, key: bytes) -> bool:
        """Whether there is a copy from which other nodes can be served, in the arena or in a file of this machine."""
        return self.table.holds(key) and not self._is_far(key)

    def is_written(self, key: bytes) -> bool:
        """Whether there will soon be one, of which `on_settled` will tell.

        News of an object may come here before its SEAL; and what is in an external store is brought back first.
        """
        if self._is_far(key) and key not in self._spill.unreadable:
            self._restore(key, messages.FOR_GET)
            return True
        return self.table.is_unsealed(key) and not self.table.is_written_by(NODE, key)

    def _is_far(self, key: bytes) -> bool:
        extent = self.table.files.find(key)
        return extent is not None and is_external(extent.path) and not self.table.in_arena(key)

    def is_primary(self, key: bytes) -> bool:
        """Whether the primary copy is here."""
        return self.table.is_primary(key)

    def free(self, keys: list[bytes]) -> None:
        """Nobody needs these objects any more, says their owner, or the node that has their primary copies."""
        self.table.free(keys)
        self._forget(keys)

    def orphaned(self, keys: list[bytes]) -> None:
        """Nobody will say when these copies can go, so they go when nobody reads them."""
        self.table.orphan(keys)
        self._advance()

    def owner_lost(self, process_id: bytes) -> None:
        """Nobody can free what it owned: it goes."""
        self._owners.pop(process_id, None)
        self._forget(self.table.owner_lost(process_id))

    # ------------------------------------------------------------------ messages

    def _on_create(self, session: Session, number: int, key: bytes, size: int) -> None:
        if size < 1 or len(key) != KEY_LENGTH or (session, number) in self._room.creations:
            raise ProtocolError(f"no CREATE is like this: request {number}, {len(key)} bytes of key, {size} to write")
        self._room.create(session, self._client(session), number, key, size)
        self._report_drops()

    def _on_seal(self, session: Session, key: bytes) -> None:
        self.table.seal(self._client(session), key)
        self._held(key)
        self._settled(key)

    def _on_abort(self, session: Session, key: bytes) -> None:
        self.table.abort(self._client(session), key)
        self._settled(key)

    def _on_pin(
        self, session: Session, number: int, key: bytes, size: int, sources: list[list[Any]], priority: int
    ) -> None:
        client = self._client(session)
        pinned = self.table.pin(client, key)
        if pinned is not None:
            session.send(messages.PINNED, number, *pinned, 0, "")
        else:
            if not messages.FOR_ARGUMENTS <= priority <= messages.FOR_WAIT or self._pins.is_known(session, number):
                raise ProtocolError(f"no PIN is like this: request {number}, priority {priority}")
            if size < 1 or len(key) != KEY_LENGTH:  # another process may have told that to this one
                why = f"cannot be in a store: it is said to have {size} bytes, and a key of {len(key)}"
                session.send(messages.PINNED, number, 0, messages.PIN_LOST, 0, why)
                return
            self._pins.add(session, client, number, key, size, sources, priority)
            self._room.hasten(key, priority)

    def _on_unpin(self, session: Session, key: bytes) -> None:
        self.table.unpin(self._client(session), key)
        self._advance()

    def _on_free(self, session: Session, keys: list[bytes]) -> None:
        self.free(keys)

    def _on_cancel(self, session: Session, number: int) -> None:
        if not self._room.cancel(session, number):
            self._pins.cancel(session, number)
        self._advance()

    def _on_promote(self, session: Session, number: int, key: bytes) -> None:
        session.send(messages.PROMOTED, number, self.table.promote(key))
        self._advance()

    # ------------------------------------------------------------------ internals

    def _restore(self, key: bytes, priority: int) -> None:
        """Brings a spilled object back. Not while a copy waits for room that was asked for when the object was not here
        yet: only one block of it can be written by the node at a time, and the end of that settles the key."""
        if not self._room.is_waited_for(key):
            self._spill.restore(key, priority)

    def _settled(self, key: bytes) -> None:
        self._pins.settled(key)
        for callback in self.on_settled:
            callback(key)
        self._advance()

    def _unreadable(self, key: bytes, error: AsyncrayError) -> None:
        self._pins.failed(key, error)
        for callback in self.on_settled:
            callback(key)

    def _forget(self, keys: list[bytes]) -> None:
        self._room.freed(keys)
        self._pins.freed(keys)
        for callback in self.on_freed:
            callback(keys)
        self._advance()

    def _advance(self) -> None:
        """Memory is used otherwise than before: some of it may have become available, or must be made so."""
        self._spill.consider(self._room.wanted)
        if not self._room.is_idle:
            self._room.advance(reclaiming=self._spill.reclaiming())
            if self._room.is_stuck:
                self._overflow.consider()
                if self._relief is None:
                    self._ask_for_relief()
        self._overflow.tidy()
        self._spill.remove_files()
        self._report_drops()

    def _ask_for_relief(self, rounds: int = 0) -> None:
        """Readers keep what they have read, for they may read it again: now they should not.

        If that is not enough, calls that wait for arguments give back those that they have, so that whoever is first
        in line gets all that it needs.
        """
        self._relief = None
        if not self._room.is_stuck:
            return
        self._overflow.consider()
        first = self._first_in_line()
        for session, client in self._clients.items():
            if self.table.has_pins(client):
                what = messages.RELIEVE_LATER if session is first else messages.RELIEVE_WAITING
                session.send(messages.RELIEVE, what if rounds >= _PATIENT_ROUNDS else messages.RELIEVE_READ)
        self._relief = asyncio.get_running_loop().call_later(_RELIEF_INTERVAL, self._ask_for_relief, rounds + 1)

    def _first_in_line(self) -> Session | None:
        """Whose call waits for the next argument; None if it is not an argument that is waited for."""
        ticket = next(iter(self._room.admission))
        return self._pins.first(ticket.key) if ticket.client == NODE else None

    def _report_drops(self) -> None:
        if self.table.dropped:
            dropped, self.table.dropped = self.table.dropped, []
            for key in dropped:
                for callback in self.on_dropped:
                    callback(key)

    def _held(self, key: bytes) -> None:
        owner = owner_of(key)
        if owner not in self._owners and self.table.holds_for(owner):
            self._owners[owner] = None
            self.on_first_held(owner)

    def _session_lost(self, session: Session) -> None:
        client = self._clients.pop(session, None)
        if client is None:
            return
        self._room.session_lost(session)
        self._pins.session_lost(session)
        if session.ended_here:
            self.survivors.add(client, session.pid)
        else:
            self._client_ended(client)
        self._advance()

    def _client_ended(self, client: int) -> None:
        """Its process does not use the arena any more: it is dead, or has left by itself, and keeps what it reads."""
        for key in self.table.client_lost(client):
            self._settled(key)
        self._advance()

    def _client(self, session: Session) -> int:
        number = self._clients.get(session)
        if number is None:
            if self._sessions.by_process.get(session.process_id) is not session:  # its end would not be told
                raise ProtocolError("a process registers before it uses the store")
            number = self._clients[session] = next(self._numbers)
        return number


def _overflow_folder(spill_directories: Sequence[str], session_directory: str) -> str:
    """Beside the first folder of this machine in which objects are spilled: that is made only when it is needed."""
    local = [os.path.dirname(folder) for folder in spill_directories if not is_external(folder)]
    return local[0] if local else session_directory
