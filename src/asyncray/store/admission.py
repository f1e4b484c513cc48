"""Who waits for room in the arena, and who gets it next: a state machine without I/O.

Requests for blocks are served in the order in which they came, so that small ones do not starve a large one, but what
is to be read comes before what is to be written: a task that has its arguments ends, and gives them back. When what is
first in line cannot have its room, because all that is left is pinned, those behind it that fit may have theirs:
outputs that wait for arguments of others, which wait for room that the outputs' tasks hold, would wait forever.
When that does not help for a while, they get room in the arena's overflow, on disk, in the same order.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from asyncray import messages
from asyncray.store.allocator import block_size
from asyncray.store.blocks import Reason, Refusal
from asyncray.store.table import ObjectTable

TO_WRITE: Final = messages.FOR_WAIT + 1
"""The rank of a new object; that of one that is read is the PIN's priority."""


class State(enum.Enum):
    WAITING = enum.auto()
    GRANTED = enum.auto()
    REFUSED = enum.auto()
    """It can never be granted, or nothing has moved for too long."""


@dataclass(slots=True, eq=False)
class Ticket:
    """One request for a block."""

    client: int
    key: bytes
    size: int
    rank: int
    since: float
    state: State = State.WAITING
    offset: int = -1
    refusal: Refusal | None = None

    @property
    def waiting(self) -> bool:
        return self.state is State.WAITING

    @property
    def granted(self) -> bool:
        return self.state is State.GRANTED


class Admission:
    """Usage: `request`, then `advance` whenever memory may have become available; both may grant.

    `now` is the loop's time, in seconds.
    """

    def __init__(self, table: ObjectTable, timeout: float, overflow_after: float) -> None:
        self._table = table
        self._timeout = timeout
        self._overflow_after = overflow_after
        self._queues: list[dict[Ticket, None]] = [{} for _ in range(TO_WRITE + 1)]
        self._moved = 0.0
        """When something was last granted, or became available."""
        self._available = table.available
        self._hopeless_since = 0.0
        """Since when the first in line, whoever it was, has got nothing of the arena, and `_most` was all there was."""
        self._most = 0
        self._last_overflow = -math.inf
        """When the overflow has last helped."""

    def __len__(self) -> int:
        return sum(map(len, self._queues))

    def __iter__(self) -> Iterator[Ticket]:
        """In the order of their turns."""
        for queue in self._queues:
            yield from queue

    def request(self, client: int, key: bytes, size: int, rank: int, now: float) -> Ticket:
        """Grants at once if nobody is before it, refuses at once what can never be."""
        ticket = Ticket(client, key, size, rank, now)
        if any(self._queues[: rank + 1]):
            if block_size(size) > self._table.allocator.capacity or self._table.is_written_by(client, key):
                self._try(ticket)  # which tells it why not
            else:
                self._queues[rank][ticket] = None
        elif not self._try(ticket):
            self._enqueue(ticket, now)
        return ticket

    def withdraw(self, ticket: Ticket) -> None:
        """Nobody waits for it any more; nothing if it does not wait."""
        self._queues[ticket.rank].pop(ticket, None)

    def hasten(self, ticket: Ticket, rank: int) -> None:
        """Somebody with more urgent need waits for the same. It comes last among those of the rank."""
        if rank < ticket.rank and ticket in self._queues[ticket.rank]:
            del self._queues[ticket.rank][ticket]
            ticket.rank = rank
            self._queues[rank][ticket] = None

    def advance(self, now: float, *, reclaiming: bool) -> list[Ticket]:
        """Those that are granted now, or refused. `reclaiming`: memory is being made available (by spilling), for
        which the first in line waits rather than let others pass."""
        if self._table.available > self._available:
            self._moved = now
        first = next(iter(self), None)
        if self._table.available > self._most:
            self._hope(now)
        done = []
        too_large = self._table.allocator.capacity + 1
        for ticket in list(self):
            if ticket.size < too_large and self._try(ticket):
                done.append(ticket)
                del self._queues[ticket.rank][ticket]
            elif reclaiming:
                break
            else:
                too_large = min(too_large, ticket.size)
        if done:
            self._moved = now
            if done[0] is first:
                self._hope(now)
        self._available = self._table.available
        return done

    def waiting_for_overflow(self, now: float) -> list[Ticket]:
        """Those that should go to disk, in the order of their turns: no memory is in sight. To be asked when nobody
        makes any available."""
        return list(self) if self._hopeless_since + self._overflow_after <= now else []

    def grant_in_overflow(self, ticket: Ticket, offset: int, now: float) -> bool:
        """There is a block on disk for it. Nothing if it does not wait any more; False if the block was not used."""
        if ticket not in self._queues[ticket.rank]:
            return False
        del self._queues[ticket.rank][ticket]
        self._moved = self._last_overflow = now
        ticket.refusal = self._table.create_in_overflow(ticket.client, ticket.key, ticket.size, offset)
        if ticket.refusal is not None:
            ticket.state = State.REFUSED
            return False
        ticket.state, ticket.offset = State.GRANTED, offset
        return True

    def moved(self, now: float) -> None:
        """Memory is about to become available."""
        self._moved = now

    def overdue(self, now: float) -> list[Ticket]:
        """Takes those out for which nothing has moved for as long as the timeout says."""
        late = [ticket for ticket in self if max(ticket.since, self._moved) + self._timeout <= now]
        for ticket in late:
            self.withdraw(ticket)
            ticket.state = State.REFUSED
            allocator = self._table.allocator
            ticket.refusal = Refusal(
                Reason.FULL, ticket.size, allocator.capacity, allocator.used, allocator.largest_free
            )
        return late

    def next_deadline(self) -> float | None:
        """When `overdue` should be asked, unless something moves before."""
        return min((max(ticket.since, self._moved) + self._timeout for ticket in self), default=None)

    @property
    def wanted(self) -> int:
        """Bytes that should become available for the first in line to be served; 0 if nobody waits.

        At least 1 if somebody does: there may be bytes enough, but not in one piece.
        """
        first = next(iter(self), None)
        return max(1, block_size(first.size) - self._table.available) if first is not None else 0

    def _enqueue(self, ticket: Ticket, now: float) -> None:
        if ticket.waiting:
            if not len(self):
                self._moved, self._available = now, self._table.available
                # Where the overflow has just helped one, the next need not wait anew.
                if self._last_overflow + self._overflow_after < now:
                    self._hope(now)
            self._queues[ticket.rank][ticket] = None

    def _hope(self, now: float) -> None:
        """Memory may come to those who wait."""
        self._hopeless_since, self._most = now, self._table.available

    def _try(self, ticket: Ticket) -> bool:
        """Whether its waiting is over."""
        outcome = self._table.create(ticket.client, ticket.key, ticket.size)
        if isinstance(outcome, int):
            ticket.state, ticket.offset = State.GRANTED, outcome
            return True
        if outcome.reason is Reason.FULL:
            return False
        ticket.state, ticket.refusal = State.REFUSED, outcome
        return True
