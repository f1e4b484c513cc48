"""One direction of a connection: what goes in at one end comes out at the other, in order, later."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncray.simulation.network.conditions import Conditions, Latency
    from asyncray.simulation.network.connection import Connection
    from asyncray.simulation.network.link import Link

Deliver = Callable[["Connection", int, Any], None]
"""What a packet does where it arrives: `deliver(connection, stream_number, payload)`."""


class Wire:
    """A queue of packets with one timer, that of the first one.

    What is under way belongs to the network, or to the kernels: it arrives even when its sender is dead. What waits
    because the window is full belongs to the sender.
    """

    __slots__ = (
        "_bandwidth",
        "_credit_due",
        "_delivering",
        "_free_at",
        "_held",
        "_in_flight",
        "_last_arrival",
        "_latency",
        "_loop",
        "_queue",
        "_random",
        "_shut",
        "_target",
        "_timer",
        "_waiting",
        "_window",
        "back",
    )

    back: Wire
    """The other direction."""

    def __init__(self, target: Connection, latency: Latency, conditions: Conditions, random: random.Random) -> None:
        """`target`: the end at which it comes out."""
        self._loop = asyncio.get_running_loop()
        self._target = target
        self._latency = latency
        self._bandwidth = conditions.bandwidth
        self._window = conditions.window
        self._random = random
        self._queue: deque[tuple[float, int, Deliver, int, Any]] | None = None
        """When it arrives (inf while it is held), its size, and what it is. None while nothing is under way: an empty
        deque takes 760 bytes, and most wires are idle."""
        self._waiting: deque[tuple[Link, int, Deliver, Any]] | None = None
        """What does not fit into the window, once anything did not."""
        self._timer: asyncio.TimerHandle | None = None
        self._delivering = False
        self._free_at = 0.0
        """When the last byte so far has left."""
        self._last_arrival = 0.0
        self._in_flight = 0
        """Bytes that have left and have not been read."""
        self._credit_due = False
        self._held = False
        self._shut = False
        """Nothing more is taken."""

    # ---- for the sender

    def send(self, deliver: Deliver, number: int, payload: Any = None, size: int = 0) -> None:
        """Sends a packet, whatever the window."""
        if self._shut:
            return
        arrival = inf if self._held else self._arrival(size)
        if self._queue is None:
            self._queue = deque()
        self._queue.append((arrival, size, deliver, number, payload))
        if self._timer is None and not self._held and not self._delivering:
            self._arm()

    def write(self, link: Link, deliver: Deliver, payload: Any, size: int) -> None:
        """Sends a packet of a stream or call, in the order of the calls, as soon as the window has room for it."""
        if self._shut:
            return
        in_flight = self._in_flight
        if self._waiting or (in_flight and in_flight + size > self._window):
            if self._waiting is None:
                self._waiting = deque()
            self._waiting.append((link, size, deliver, payload))
            link.unsent += size
        else:
            self._in_flight = in_flight + size
            self.send(deliver, link.number, payload, size)

    def write_waiting(self) -> None:
        """The other end has read something: sends what the window has room for."""
        self._credit_due = False
        while self._waiting and self._has_room(self._waiting[0][1]):
            link, size, deliver, payload = self._waiting.popleft()
            self._in_flight += size
            self.send(deliver, link.number, payload, size)
            link.unsent -= size
            if not link.unsent:
                link.on_sent()

    def withdraw(self, link: Link) -> None:
        """Forgets what still waits of a stream or call."""
        if link.unsent:
            link.unsent = 0
            self._waiting = deque(entry for entry in self._waiting or () if entry[0] is not link)

    def finish(self, deliver: Deliver, payload: Any = None) -> None:
        """Sends a last packet."""
        self.send(deliver, 0, payload)
        self.shut()

    def shut(self) -> None:
        """Takes nothing more; what is under way arrives."""
        self._shut = True
        self._waiting = None

    # ---- for the network

    def discard(self) -> None:
        """Forgets everything: nobody will read it."""
        self.shut()
        self._queue = None
        self._disarm()

    def dissolve(self) -> None:
        """Nobody is there any more, at either end."""
        self.discard()
        del self._target, self.back

    def discard_held(self) -> None:
        """Forgets what has not got through: the sender's kernel has dropped it."""
        while self._queue and self._queue[-1][0] == inf:
            self._queue.pop()

    def hold(self) -> None:
        """From now on nothing gets through; what has arrived, but was not read, has."""
        if self._held:
            return
        self._held = True
        now = self._loop.time()
        if self._queue:
            self._queue = deque(packet if packet[0] <= now else (inf, *packet[1:]) for packet in self._queue)
        if self._queue and self._queue[0][0] == inf:
            self._disarm()

    def release(self) -> None:
        """Lets packets through again, those that were held first."""
        if not self._held:
            return
        self._held = False
        self._free_at = self._last_arrival = self._loop.time()
        if self._queue:
            self._queue = deque(
                packet if packet[0] < inf else (self._arrival(packet[1]), *packet[1:]) for packet in self._queue
            )
            if self._timer is None and not self._delivering:
                self._arm()

    # ----

    def _has_room(self, size: int) -> bool:
        # A packet larger than the window goes when it is alone: the real one goes in pieces.
        return not self._in_flight or self._in_flight + size <= self._window

    def _arrival(self, size: int) -> float:
        now, free_at = self._loop.time(), self._free_at
        self._free_at = free_at = (now if now > free_at else free_at) + size / self._bandwidth
        arrival = free_at + self._latency.sample(self._random)
        if arrival > self._last_arrival:
            self._last_arrival = arrival
        return self._last_arrival

    def _arm(self) -> None:
        assert self._queue
        self._timer = self._loop.call_at(self._queue[0][0], self._arrive, context=self._target.process.context)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arrive(self) -> None:
        """Hands over what has arrived. Runs in the process at the other end."""
        target = self._target
        process = target.process
        now = target.heard_at = self._loop.time()
        self._timer = None
        self._delivering = True
        try:
            # A delivery may end or freeze the process, or change the queue.
            while self._queue and self._queue[0][0] <= now and process.runs:
                _, size, deliver, number, payload = self._queue.popleft()
                self._in_flight -= size
                deliver(target, number, payload)
        finally:
            self._delivering = False
            if not self._queue:
                self._queue = None
            elif self._queue[0][0] < inf:
                self._arm()
            if self._waiting and not self._credit_due:
                self._credit_due = True
                self.back.send(_deliver_credit, 0)


def _deliver_credit(connection: Connection, number: int, payload: Any) -> None:
    """The peer has read something."""
    connection.out.write_waiting()
