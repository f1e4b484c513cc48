"""How a simulated process gets a connection: a packet to the other machine, and the answer of its kernel."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from asyncray.errors import ConnectionFailed
from asyncray.rpc.own_address import LOOPBACK, WILDCARDS
from asyncray.rpc.sockets import format_address
from asyncray.simulation.network.connection import Connection

if TYPE_CHECKING:
    from asyncray.simulation.network.endpoint import SimulatedEndpoint
    from asyncray.simulation.network.listener import SimulatedListener
    from asyncray.simulation.network.network import SimulatedNetwork


class Dial:
    """One attempt. `answer` has the connection, or ConnectionFailed.

    Callbacks, and no coroutine with a timeout: a cluster at work makes a connection for nearly every task.
    """

    __slots__ = (
        "_endpoint",
        "_host",
        "_loop",
        "_machine",
        "_near",
        "_network",
        "_patience",
        "_place",
        "answer",
        "target",
    )

    def __init__(
        self,
        network: SimulatedNetwork,
        endpoint: SimulatedEndpoint,
        target: str,
        host: str | None,
        place: str | int,
        patience: float,
    ) -> None:
        """`host` and `place`: the name or address of a machine that is reached, and a port; None, and the path of a
        Unix socket. `patience`: seconds that all may take.
        """
        self.target = target
        self._network = network
        self._endpoint = endpoint
        self._host = host
        self._place = place
        self._patience = patience
        own_host = endpoint.process.host
        self._machine = own_host if host is None or host in LOOPBACK else host
        self._loop = asyncio.get_running_loop()
        self._near: Connection | None = None
        self.answer: asyncio.Future[Connection] = self._loop.create_future()
        self._send(own_host, self._machine, self._arrived)

    def give_up(self) -> None:
        """Nobody waits any longer."""
        self.answer.cancel()
        if self._near is not None:
            self._near.close()

    def _send(self, source: str, target: str, then: Callable[[], None]) -> None:
        delay = self._network.delay(source, target)
        if delay > self._patience:
            self._loop.call_later(self._patience, self._fail, "did not answer in time")
        else:
            self._patience -= delay
            self._loop.call_later(delay, then)

    def _arrived(self) -> None:
        """At the kernel of the machine."""
        if self.answer.done():
            return
        network, own_host = self._network, self._endpoint.process.host
        listener = network.listeners.get((self._machine, self._place))
        if listener is not None and self._serves(listener):
            self._near = self._accept(listener)
            self._send(self._machine, own_host, self._answered)
        elif self._host is None:
            self._fail("there is no such socket")
        else:
            self._send(self._machine, own_host, self._refused)

    def _serves(self, listener: SimulatedListener) -> bool:
        """Whether who listens there is reached by this name of the machine."""
        host = self._host
        if host is None or listener.host in WILDCARDS or listener.host == host:
            return True
        return listener.host in LOOPBACK and host in LOOPBACK

    def _accept(self, listener: SimulatedListener) -> Connection:
        """The kernel of the listener makes a connection; this end knows when its answer has come."""
        process = self._endpoint.process
        if self._host is None:
            own_address, seen_as = "unix:", f"unix:pid {process.pid}"
        else:
            port = self._network.next_client_port(process.host)
            own_address = seen_as = format_address(self._host if self._host in LOOPBACK else process.host, port)
        near = Connection(self._network, self._endpoint, self.target, own_address)
        far = Connection(self._network, listener.endpoint, seen_as, self.target, listener)
        self._network.join(near, far)
        self._endpoint.connections[near] = None
        listener.endpoint.connections[far] = None
        return near

    def _answered(self) -> None:
        assert self._near is not None
        if self.answer.done():
            return
        if self._near.closed:
            self.answer.set_exception(self._near.lost())
        else:
            self.answer.set_result(self._near)

    def _refused(self) -> None:
        self._fail("nothing listens there")

    def _fail(self, reason: str) -> None:
        if not self.answer.done():
            self.answer.set_exception(ConnectionFailed(f"cannot connect to {self.target}: {reason}"))
            if self._near is not None:
                self._near.close()
