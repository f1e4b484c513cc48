"""The node's shared-memory store: who may write where, who reads what. The bytes never pass through here."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any, Final

from asyncray import messages
from asyncray.config import Config
from asyncray.errors import AsyncrayError, ObjectLostError, ObjectStoreFullError
from asyncray.ids import owner_of
from asyncray.node.background import Background
from asyncray.node.pin_requests import FREED, Fetch, PinRequests
from asyncray.node.sessions import Session, Sessions
from asyncray.platform import Platform
from asyncray.rpc.service import Manager
from asyncray.store.admission import TO_WRITE, Admission, State, Ticket
from asyncray.store.reserve import WarmReserve
from asyncray.store.source import Source
from asyncray.store.table import NODE, ObjectTable, Reason, Refusal

_REMEDY: Final = "free references, or start the node with a larger object_store_memory."


class StoreManager(Manager):
    """Allocates blocks of the arena to writers, pins them for readers, frees them for owners."""

    def __init__(self, sessions: Sessions, platform: Platform, capacity: int, config: Config, node_id: bytes) -> None:
        self._platform = platform
        self._capacity = capacity
        self._config = config
        self._sessions = sessions
        self._clients: dict[Session, int] = {}
        self._numbers = itertools.count(NODE + 1)
        self._allocated = asyncio.Event()
        self._background = Background()
        self._pins = PinRequests(node_id, self._background, self._restore)
        self._tickets: dict[Ticket, Callable[[Ticket], None]] = {}
        """Who is told of the end of the wait for a block."""
        self._creations: dict[tuple[Session, int], Ticket] = {}
        """Tickets of CREATEs, by their request numbers."""
        self._timer: asyncio.TimerHandle | None = None
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
        self.arena = self._platform.arenas.create(self._capacity)
        self.use(ObjectTable(self._capacity))
        self._sessions.welcome_with(self.arena.path, self._capacity)

    def use(self, table: ObjectTable) -> None:
        self.table = self._pins.table = table
        self._admission = Admission(table, self._config.store_full_timeout)
        self._reserve = WarmReserve(table.allocator)

    async def run(self) -> None:
        """Keeps warm pages ready, once the store is used."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._background.run())
            while True:
                await self._allocated.wait()
                self._allocated.clear()
                while (pages := self._reserve.next_range()) is not None:
                    await asyncio.to_thread(self.arena.populate, *pages)

    async def stop(self) -> None:
        await self._background.stop()
        if self._timer is not None:
            self._timer.cancel()
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
        return await self._allocate(key, size, messages.FOR_WAIT if waiting is None else waiting)

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
        pinned = self.table.pin(NODE, key)
        if pinned is None:
            return None
        offset, size = pinned

        def release() -> None:
            self.table.unpin(NODE, key)
            self._advance()

        return Source(size, offset, None, None, release)

    def holds(self, key: bytes) -> bool:
        """Whether there is a copy, in the arena or on disk."""
        return self.table.holds(key)

    def is_primary(self, key: bytes) -> bool:
        """Whether the primary copy is here."""
        return self.table.is_primary(key)

    def is_written(self, key: bytes) -> bool:
        """Whether a process of this node is writing it: news of the object may come here before its SEAL."""
        return self.table.is_unsealed(key) and not self.table.is_written_by(NODE, key)

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
        client = self._client(session)
        ticket = self._admission.request(client, key, size, TO_WRITE, self._now())
        if ticket.state is State.WAITING:
            self._creations[session, number] = ticket
            self._wait_for(ticket, lambda ticket: self._created(session, number, ticket))
        else:
            self._answer_creation(session, number, ticket)
        self._report_drops()

    def _created(self, session: Session, number: int, ticket: Ticket) -> None:
        del self._creations[session, number]
        self._answer_creation(session, number, ticket)

    def _answer_creation(self, session: Session, number: int, ticket: Ticket) -> None:
        if ticket.state is State.GRANTED:
            self._allocated.set()
            session.send(messages.CREATED, number, ticket.offset, "", "")
        elif ticket.refusal is None:
            session.send(messages.CREATED, number, -1, "lost", FREED)
        else:
            session.send(messages.CREATED, number, -1, "full", self._why_refused(ticket.refusal))

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
            self._pins.add(session, client, number, key, size, sources, priority)
            self._hasten(key, priority)

    def _on_unpin(self, session: Session, key: bytes) -> None:
        self.table.unpin(self._client(session), key)
        self._advance()

    def _on_free(self, session: Session, keys: list[bytes]) -> None:
        self.free(keys)

    def _on_cancel(self, session: Session, number: int) -> None:
        ticket = self._creations.pop((session, number), None)
        if ticket is not None:
            self._withdraw(ticket)
            session.send(messages.CREATED, number, -1, "lost", "is not wanted any more")
        else:
            self._pins.cancel(session, number)
        self._advance()

    def _on_promote(self, session: Session, number: int, key: bytes) -> None:
        session.send(messages.PROMOTED, number, self.table.promote(key))

    # ------------------------------------------------------------------ internals

    async def _allocate(self, key: bytes, size: int, rank: int) -> int:
        ended: asyncio.Future[Ticket] = asyncio.get_running_loop().create_future()
        ticket = self._admission.request(NODE, key, size, rank, self._now())
        try:
            if ticket.state is State.WAITING:
                self._wait_for(ticket, ended.set_result)
                await ended
        except asyncio.CancelledError:
            if ticket.state is State.GRANTED:
                self.table.abort(NODE, key)
            self._withdraw(ticket)
            self._advance()
            raise
        finally:
            self._report_drops()
        if ticket.state is State.GRANTED:
            self._allocated.set()
            return ticket.offset
        if ticket.refusal is None:
            raise ObjectLostError(FREED)
        raise self._error_of(ticket.refusal)

    def _wait_for(self, ticket: Ticket, ended: Callable[[Ticket], None]) -> None:
        self._tickets[ticket] = ended
        self._watch()

    def _withdraw(self, ticket: Ticket) -> None:
        self._admission.withdraw(ticket)
        self._tickets.pop(ticket, None)

    def _hasten(self, key: bytes, priority: int) -> None:
        for ticket in self._tickets:
            if ticket.key == key and ticket.client == NODE:
                self._admission.hasten(ticket, priority)
                break

    def _restore(self, key: bytes, priority: int) -> None:
        raise AssertionError("nothing is spilled")

    def _settled(self, key: bytes) -> None:
        self._pins.settled(key)
        for callback in self.on_settled:
            callback(key)
        self._advance()

    def _forget(self, keys: list[bytes]) -> None:
        freed = set(keys)
        for ticket in [ticket for ticket in self._tickets if ticket.key in freed]:
            self._admission.withdraw(ticket)
            ticket.state = State.REFUSED
            self._tickets.pop(ticket)(ticket)
        self._pins.freed(keys)
        for callback in self.on_freed:
            callback(keys)
        self._advance()

    def _advance(self) -> None:
        """Memory may have become available."""
        if self._tickets:
            for ticket in self._admission.advance(self._now(), reclaiming=False):
                self._tickets.pop(ticket)(ticket)
            self._watch()
        self._report_drops()

    def _report_drops(self) -> None:
        if self.table.dropped:
            dropped, self.table.dropped = self.table.dropped, []
            for key in dropped:
                for callback in self.on_dropped:
                    callback(key)

    def _watch(self) -> None:
        """Sees to it that nobody waits for ever."""
        deadline = self._admission.next_deadline()
        if deadline is not None and self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(deadline, self._look_for_overdue)
        elif deadline is None and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_for_overdue(self) -> None:
        self._timer = None
        for ticket in self._admission.overdue(self._now()):
            self._tickets.pop(ticket)(ticket)
        self._advance()
        self._watch()

    def _error_of(self, refusal: Refusal) -> AsyncrayError:
        return ObjectStoreFullError(self._why_refused(refusal))

    def _why_refused(self, refusal: Refusal) -> str:
        size, capacity, used = refusal.size, refusal.capacity, refusal.used
        if refusal.reason is Reason.TOO_LARGE:
            return f"an object of {size} bytes cannot fit the node's object store of {capacity} bytes: {_REMEDY}"
        if refusal.reason is Reason.DUPLICATE:
            return f"an object of {size} bytes is being written already by the same process"
        pinned, readers = self.table.pinned_memory()
        return (
            f"no room for {size} bytes: of the object store's {capacity} bytes {used} are in use, {pinned} of them"
            f" pinned by {readers} readers (arguments of running tasks, and values that programs hold), and nothing"
            f" has moved for {self._config.store_full_timeout:g} s. Let go of values that were read, run fewer tasks at"
            f" a time, {_REMEDY}"
        )

    def _held(self, key: bytes) -> None:
        owner = owner_of(key)
        if owner not in self._owners and self.table.holds_for(owner):
            self._owners[owner] = None
            self.on_first_held(owner)

    def _session_lost(self, session: Session) -> None:
        client = self._clients.pop(session, None)
        if client is None:
            return
        for request, ticket in list(self._creations.items()):
            if request[0] is session:
                del self._creations[request]
                self._withdraw(ticket)
        self._pins.session_lost(session)
        for key in self.table.client_lost(client):
            self._settled(key)
        self._advance()

    def _client(self, session: Session) -> int:
        number = self._clients.get(session)
        if number is None:
            number = self._clients[session] = next(self._numbers)
        return number

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
