"""Requests for blocks of the arena, and answers to those that have to wait: `admission.py` says whose turn it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from asyncray import messages
from asyncray.config import Config
from asyncray.errors import AsyncrayError, ObjectLostError, ObjectStoreFullError, OutOfDiskError
from asyncray.node.sessions import Session
from asyncray.store.admission import TO_WRITE, Admission, State, Ticket
from asyncray.store.blocks import Reason, Refusal
from asyncray.store.spilling import Spilling
from asyncray.store.table import NODE, ObjectTable

FREED: Final = "was freed by its owner"

_REMEDY: Final = "free references, or start the node with a larger object_store_memory."


class Room:
    """`create` answers a CREATE, `allocate` is for the node itself. `changed` is called when somebody waits."""

    def __init__(self, config: Config, granted: Callable[[], None], changed: Callable[[], None]) -> None:
        self._config = config
        self._granted = granted
        self.changed = changed
        self.tickets: dict[Ticket, Callable[[Ticket], None]] = {}
        """Those that wait, and who is told of the end of that."""
        self.creations: dict[tuple[Session, int], Ticket] = {}
        """Those of CREATEs, by their request numbers."""
        self.timer: asyncio.TimerHandle | None = None
        self._reclaiming = False

    def use(self, table: ObjectTable, spilling: Spilling) -> None:
        self._table = table
        self._spilling = spilling
        self.admission = Admission(table, self._config.store_full_timeout, self._config.overflow_after)

    @property
    def is_idle(self) -> bool:
        return not self.tickets and self.timer is None

    @property
    def is_stuck(self) -> bool:
        """Somebody waits, and only readers can give memory back."""
        return bool(self.tickets) and not self._reclaiming

    @property
    def wanted(self) -> int:
        """Bytes that must become available for whoever is next; 0 if nobody waits."""
        return self.admission.wanted if self.tickets else 0

    def create(self, session: Session, client: int, number: int, key: bytes, size: int) -> None:
        ticket = self.admission.request(client, key, size, TO_WRITE, _now())
        if not ticket.waiting:
            self._answer(session, number, ticket)
            return

        def ended(ticket: Ticket) -> None:
            del self.creations[session, number]
            self._answer(session, number, ticket)

        self.creations[session, number] = ticket
        self.tickets[ticket] = ended
        self.changed()

    async def allocate(self, key: bytes, size: int, rank: int) -> int:
        """The offset of a block that `NODE` writes. A cancelled caller leaves nothing.

        Raises ObjectStoreFullError, OutOfDiskError, and ObjectLostError when the object is freed meanwhile.
        """
        ticket = self.admission.request(NODE, key, size, rank, _now())
        if ticket.waiting:
            ended: asyncio.Future[Ticket] = asyncio.get_running_loop().create_future()
            self.tickets[ticket] = lambda ticket: None if ended.done() else ended.set_result(ticket)
            try:
                self.changed()
                await ended
            except asyncio.CancelledError:
                if ticket.granted:
                    self._table.abort(NODE, key)
                self._withdraw(ticket)
                self.changed()
                raise
        if ticket.granted:
            self._granted()
            return ticket.offset
        raise self._error_of(ticket.refusal) if ticket.refusal is not None else ObjectLostError(FREED)

    def hasten(self, key: bytes, priority: int) -> None:
        """Somebody waits with this priority for an object that has to be brought here."""
        for ticket in self.tickets:
            if ticket.key == key and ticket.client == NODE:
                self.admission.hasten(ticket, priority)
                break

    def is_waited_for(self, key: bytes) -> bool:
        """Whether the node itself waits for room for the object."""
        return any(ticket.key == key and ticket.client == NODE for ticket in self.tickets)

    def cancel(self, session: Session, number: int) -> bool:
        """Nobody waits for the creation any more. False if none is known by that number."""
        ticket = self.creations.pop((session, number), None)
        if ticket is None:
            return False
        self._withdraw(ticket)
        session.send(messages.CREATED, number, -1, "lost", "is not wanted any more")
        return True

    def freed(self, keys: list[bytes]) -> None:
        """Nobody needs these objects."""
        if self.tickets:
            for ticket in [ticket for ticket in self.tickets if ticket.key in keys]:
                self.admission.withdraw(ticket)
                ticket.state = State.REFUSED
                self.tickets.pop(ticket)(ticket)

    def session_lost(self, session: Session) -> None:
        for request, ticket in list(self.creations.items()):
            if request[0] is session:
                del self.creations[request]
                self._withdraw(ticket)

    def advance(self, *, reclaiming: bool) -> None:
        """Memory may have become available. `reclaiming`: more will be soon."""
        for ticket in self.admission.advance(_now(), reclaiming=reclaiming):
            self.tickets.pop(ticket)(ticket)
        self._reclaiming = reclaiming
        self._watch()

    def waiting_for_overflow(self) -> list[Ticket]:
        """Those who should have a block on disk now, in order: only readers can give memory back, and they do not."""
        return self.admission.waiting_for_overflow(_now()) if self.is_stuck else []

    def grant_in_overflow(self, ticket: Ticket, offset: int) -> bool:
        """There is a block on disk for whoever waits. False if it was not used."""
        used = self.admission.grant_in_overflow(ticket, offset, _now())
        if not ticket.waiting and ticket in self.tickets:
            self.tickets.pop(ticket)(ticket)
        return used

    def stop(self) -> None:
        if self.timer is not None:
            self.timer.cancel()

    # ----

    def _answer(self, session: Session, number: int, ticket: Ticket) -> None:
        if ticket.granted:
            self._granted()
            session.send(messages.CREATED, number, ticket.offset, "", "")
        elif ticket.refusal is None:
            session.send(messages.CREATED, number, -1, "lost", FREED)
        else:
            error = self._error_of(ticket.refusal)
            kind = "disk" if isinstance(error, OutOfDiskError) else "full"
            session.send(messages.CREATED, number, -1, kind, str(error))

    def _withdraw(self, ticket: Ticket) -> None:
        self.admission.withdraw(ticket)
        self.tickets.pop(ticket, None)

    def _watch(self) -> None:
        """Sees to it that nobody waits for ever."""
        if self.tickets and self.timer is None:
            deadline = self.admission.next_deadline()
            assert deadline is not None
            self.timer = asyncio.get_running_loop().call_at(deadline, self._look_for_overdue)
        elif not self.tickets and self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def _look_for_overdue(self) -> None:
        self.timer = None
        spilling, overflow = self._spilling, self._table.overflow
        if (spilling.busy and not spilling.trouble) or (overflow.reserving is not None and not overflow.trouble):
            self.admission.moved(_now())  # a slow disk is no reason to give up
        for ticket in self.admission.overdue(_now()):
            self.tickets.pop(ticket)(ticket)
        self.changed()

    def _error_of(self, refusal: Refusal) -> AsyncrayError:
        size, capacity, used = refusal.size, refusal.capacity, refusal.used
        if refusal.reason is Reason.TOO_LARGE:
            return ObjectStoreFullError(
                f"an object of {size} bytes cannot fit the node's object store of {capacity} bytes: {_REMEDY}"
            )
        if refusal.reason is Reason.DUPLICATE:
            return ObjectStoreFullError(f"an object of {size} bytes is being written already by the same process")
        pinned, readers = self._table.pinned_memory()
        full = (
            f"no room for {size} bytes: of the object store's {capacity} bytes {used} are in use, {pinned} of them"
            f" pinned by {readers} readers (arguments of running tasks, and values that programs hold)"
        )
        trouble, spillable = self._spilling.trouble, self._table.idle.spillable_bytes
        if trouble and spillable:
            return OutOfDiskError(
                f"{full}, and {spillable} bytes cannot be spilled to {trouble}. Make room there, or name another"
                " object_spilling_directory."
            )
        overflow = self._table.overflow
        if overflow.trouble:
            return OutOfDiskError(
                f"{full}, and there is no room on disk, where {overflow.used} bytes are: {overflow.trouble}. Make some,"
                " or name another object_spilling_directory."
            )
        if overflow.used:
            full += f"; on disk are {overflow.used} bytes more, of {overflow.capacity} that may be"
        return ObjectStoreFullError(
            f"{full}, and nothing has moved for {self._config.store_full_timeout:g} s. Let go of values that were read,"
            f" run fewer tasks at a time, {_REMEDY}"
        )


def _now() -> float:
    return asyncio.get_running_loop().time()
