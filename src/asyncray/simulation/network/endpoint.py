"""The network as one simulated process sees it: what it listens on, and whom it reaches."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from asyncray.errors import AddressInUse, ConnectionFailed
from asyncray.rpc.auth import Token
from asyncray.rpc.network import NO_STREAMS, Channel, Listener
from asyncray.rpc.own_address import LOOPBACK, WILDCARDS
from asyncray.rpc.sockets import format_address, parse_target
from asyncray.rpc.stream import Accept
from asyncray.simulation.network.channel import SimulatedChannel
from asyncray.simulation.network.connection import Connection
from asyncray.simulation.network.dial import Dial
from asyncray.simulation.network.listener import SimulatedListener
from asyncray.simulation.process import Process

if TYPE_CHECKING:
    from betterproto.grpc.grpclib_server import ServiceBase

    from asyncray.simulation.network.network import SimulatedNetwork

_FIRST_BULK_PORT: Final = 30_000
_FIRST_RETRANSMISSION: Final = 1.0
"""Seconds until a kernel repeats what nobody has answered. It doubles each time."""


class SimulatedEndpoint:
    """A `Network` for one process. It goes with the process."""

    def __init__(self, network: SimulatedNetwork, process: Process, token: Token) -> None:
        self.process = process
        self.connections: dict[Connection, None] = {}
        """Its ends of those that are open, in their order."""
        self._network = network
        self.token = token
        self._listeners: dict[SimulatedListener, None] = {}
        process.on_death(self._died)

    async def connect(self, target: str, *, timeout: float | None = None, keepalive: bool = False) -> Channel:
        address = parse_target(target)
        if timeout is None:
            timeout = self._network.config.connect_timeout
        if isinstance(address, tuple):
            connection = await self._dial_tcp(target, *address, timeout)
        else:
            connection = await self._dial(Dial(self._network, self, target, None, address, timeout))
        if keepalive:
            connection.watch()
        return SimulatedChannel(connection, target, self.token, self._network.config)

    async def listen(
        self,
        *,
        services: Sequence[ServiceBase] = (),
        streams: Mapping[str, Accept] = NO_STREAMS,
        unix_path: str | None = None,
        host: str | None = None,
        port: int = 0,
    ) -> Listener:
        if unix_path is None and host is None:
            raise ValueError("nothing to listen on: give a unix_path, a host, or both")
        listener = SimulatedListener(self, self.token, self._network.config, services, streams)
        self._listeners[listener] = None
        try:
            if unix_path is not None:
                parse_target(f"unix:{unix_path}")
                self._bind(unix_path, f"unix:{unix_path}", listener)
                listener.unix_path = unix_path
            if host is not None:
                self._bind_tcp(host, port, listener)
        except BaseException:
            listener.stop_accepting()
            raise
        return listener

    async def connect_tcp(self, target: str) -> Connection:
        """A bare connection to `host:port`. Raises ConnectionFailed."""
        address = parse_target(target)
        timeout = self._network.config.connect_timeout
        if isinstance(address, str):
            raise ConnectionFailed(f"{target} is no host and port")
        return await self._dial_tcp(target, *address, timeout)

    def listen_tcp(self, host: str, listener: SimulatedListener) -> None:
        """Has a listener take bare connections on a free port. Raises ConnectionFailed."""
        self._bind_tcp(host, self._network.free_port(self.process.host, _FIRST_BULK_PORT), listener)
        self._listeners[listener] = None

    def stop_listening(self, listener: SimulatedListener) -> None:
        """Its addresses are free again."""
        self._listeners.pop(listener, None)
        for name in (listener.unix_path, listener.port):
            if name:
                self._network.listeners.pop((self.process.host, name), None)

    # ----

    def _bind_tcp(self, host: str, port: int, listener: SimulatedListener) -> None:
        if host not in (self.process.host, *LOOPBACK, *WILDCARDS):
            raise ConnectionFailed(f"cannot listen on {format_address(host, port)}: Cannot assign requested address")
        port = port or self._network.free_port(self.process.host)
        self._bind(port, format_address(host, port), listener)
        listener.host, listener.port = host, port

    def _bind(self, name: str | int, address: str, listener: SimulatedListener) -> None:
        place = (self.process.host, name)
        if place in self._network.listeners:
            raise AddressInUse(f"{address} is taken: another process listens there")
        self._network.listeners[place] = listener

    async def _dial_tcp(self, target: str, host: str, port: int, timeout: float) -> Connection:
        if not self._reaches(host):
            timeout -= await self._wait_until_reached(target, host, timeout)
        return await self._dial(Dial(self._network, self, target, host, port, timeout))

    async def _dial(self, dial: Dial) -> Connection:
        try:
            return await dial.answer
        except asyncio.CancelledError:
            dial.give_up()
            raise

    def _reaches(self, host: str) -> bool:
        own_host = self.process.host
        machine = own_host if host in LOOPBACK else host
        return self._network.is_open(own_host, machine) and self._network.knows(machine)

    async def _wait_until_reached(self, target: str, host: str, timeout: float) -> float:
        """Asks again and again, as a kernel does; how many seconds that took. Raises ConnectionFailed."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            async with asyncio.timeout(timeout):
                for attempt in itertools.count():
                    await asyncio.sleep(_FIRST_RETRANSMISSION * 2**attempt)
                    if self._reaches(host):
                        break
        except TimeoutError as error:
            raise ConnectionFailed(f"{target} did not answer within {timeout:g} s") from error
        return loop.time() - begun

    def _died(self, cause: str) -> None:
        if self._network.ended:
            return
        for listener in list(self._listeners):
            listener.stop_accepting()
        for connection in list(self.connections):
            connection.die()
