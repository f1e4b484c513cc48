"""All links between the processes of one simulation, and what can go wrong with them."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from asyncray.config import DEFAULT, Config
from asyncray.messages import HELLO
from asyncray.rpc.auth import Token
from asyncray.rpc.codec import packer, unpack
from asyncray.simulation.network.conditions import Conditions
from asyncray.simulation.network.connection import Connection
from asyncray.simulation.network.endpoint import SimulatedEndpoint
from asyncray.simulation.network.listener import SimulatedListener
from asyncray.simulation.network.traffic import Traffic, kinds_of
from asyncray.simulation.network.wire import Wire
from asyncray.simulation.process import Process

_FIRST_LISTENER_PORT: Final = 20_000
_FIRST_CLIENT_PORT: Final = 40_000
_CLIENT_PORTS: Final = 20_000

_WORTH_SHARING: Final = 100
"""Bytes of a body."""
_BODIES_KEPT: Final = 256

Watcher = Callable[[float, Process, Process, str, bytes], None]
"""`watcher(time, source, target, route, bytes)`: a frame's body, a request or a reply has arrived."""


class SimulatedNetwork:
    """Connects processes by the addresses that real ones use: `unix:/path` on a machine, `host:port` everywhere.

    All randomness comes from `random`, in the order of what happens.
    """

    def __init__(self, random: random.Random, conditions: Conditions, config: Config = DEFAULT) -> None:
        self.conditions = conditions
        self.config = config
        self.watchers: list[Watcher] = []
        """Called in the receiving process, before it has what has arrived."""
        self.detailed = False
        """Whether `counters` has the messages in frames."""
        self.counters: Counter[tuple[str, str, str]] = Counter()
        """What has arrived, by the roles of source and target, and kind: the names of `messages.py`; routes of calls,
        for requests and replies alike."""
        self.traffic: dict[tuple[str, str], Traffic] = {}
        """How much has arrived, by the roles of source and target."""
        self.pack = packer()
        """For all streams: their messages are encoded one at a time."""
        self.listeners: dict[tuple[str, str | int], SimulatedListener] = {}
        """By machine, and path of the Unix socket or port."""
        self._unpacked: dict[bytes, list[Any]] = {}
        """Bodies that may come again, and what is in them."""
        self.ended = False
        """The simulation is over: who dies now leaves no news of it."""
        self._tokens: dict[str, Token] = {}
        self._addresses: dict[bytes, list[Any]] = {}
        """What processes say in HELLO where they are, by their ids."""
        self._random = random
        self._machines: dict[str, None] = {}
        """Hosts on which there has been a process."""
        self._dead: dict[str, None] = {}
        self._partitions: dict[tuple[str, str], None] = {}
        self._pairs: dict[Connection, None] = {}
        """The dialling ends of connections of which an end is open."""
        self._listener_ports: Counter[tuple[str, int]] = Counter()
        self._client_ports: Counter[str] = Counter()

    def endpoint(self, process: Process, token: str) -> SimulatedEndpoint:
        """What the process has as its network. Raises AuthenticationError for what is no token."""
        self._machines[process.host] = None
        known = self._tokens.get(token)
        if known is None:
            known = self._tokens[token] = Token(token)
        return SimulatedEndpoint(self, process, known)

    def end(self) -> None:
        """From now on nothing arrives, and deaths cost nothing."""
        self.ended = True

    # ---- faults

    def partition(self, source_host: str, target_host: str, *, both: bool = True) -> None:
        """From now on nothing gets from one machine to the other (nor back): it is held, and not lost.

        Raises ValueError for a machine and itself.
        """
        if source_host == target_host:
            raise ValueError(f"{source_host} cannot be parted from itself")
        for source, target in _directions(source_host, target_host, both):
            self._partitions[source, target] = None
            for connection in self._between(source, target):
                connection.out.hold()
        self._review(source_host, target_host)

    def heal(self, source_host: str, target_host: str, *, both: bool = True) -> None:
        """Ends a partition: what was held is under way again, unless its connection was given up."""
        for source, target in _directions(source_host, target_host, both):
            if (source, target) in self._partitions:
                del self._partitions[source, target]
                if not self.is_dead(target):
                    for connection in self._between(source, target):
                        connection.out.release()
        self._review(source_host, target_host)

    def heal_all(self) -> None:
        for source, target in list(self._partitions):
            self.heal(source, target, both=False)

    def cut(self, host: str, other_host: str) -> None:
        """All connections between two machines are lost. New ones work."""
        loop = asyncio.get_running_loop()
        ends = self._between(host, other_host)
        if host != other_host:
            ends += [end.peer for end in ends]
        for connection in ends:
            connection.out.discard()
            self._pairs.pop(connection, None)
            if not connection.closed:
                reason = "[Errno 104] Connection reset by peer"
                loop.call_soon(connection.cut, reason, context=connection.process.context)

    def host_died(self, host: str) -> None:
        """The machine is gone, and nobody is told. Call it before its processes are killed."""
        self._dead[host] = None
        for connection in self._ends():
            if connection.peer.process.host == host and connection.process.host != host:
                connection.out.hold()
                connection.review()

    def froze(self, process: Process) -> None:
        """The process was frozen just now: who watches it will notice."""
        for connection in self._ends():
            if connection.peer.process is process:
                connection.review()

    def thawed(self, process: Process) -> None:
        """The process runs again, from just now."""
        for connection in self._ends():
            if connection.peer.process is process:
                connection.review()
            elif connection.process is process:
                connection.review(resumed=True)

    # ---- for endpoints and connections

    def unpack_once(self, body: bytes | memoryview) -> list[Any]:
        """As `codec.unpack`, for bodies that many get. They share what is in it, so none may change it.

        What 2,000 nodes know of 2,000 others is four million entries, which differ in nothing.
        """
        known = self._unpacked.get(body) if type(body) is bytes else None
        if known is None:
            known = unpack(body)
            if type(body) is bytes and len(body) > _WORTH_SHARING:
                if len(self._unpacked) >= _BODIES_KEPT:
                    self._unpacked.clear()
                self._unpacked[body] = known
        return known

    def unpack_hello(self, body: bytes | memoryview) -> list[Any]:
        """As `codec.unpack`, for streams that begin with HELLO: all whom a process tells its address share that.

        It takes 240 bytes, and a process has a dozen links, with as many others.
        """
        unpacked = unpack(body)
        first = unpacked[0] if unpacked else None
        if type(first) is list and len(first) == 3 and first[0] == HELLO:
            address = first[1]
            if type(address) is list and address and type(address[0]) is bytes:
                known = self._addresses.setdefault(address[0], address)
                if known == address:
                    first[1] = known
        return unpacked

    def is_dead(self, host: str) -> bool:
        return host in self._dead

    def is_open(self, host: str, other_host: str) -> bool:
        """Whether packets get through in both directions."""
        if self._dead and (host in self._dead or other_host in self._dead):
            return False
        return not self._partitions or not (
            (host, other_host) in self._partitions or (other_host, host) in self._partitions
        )

    def knows(self, host: str) -> bool:
        """Whether there is such a machine."""
        return host in self._machines

    def delay(self, source_host: str, target_host: str) -> float:
        """How long one packet is under way."""
        return self.conditions.latency(source_host, target_host).sample(self._random)

    def free_port(self, host: str, first: int = _FIRST_LISTENER_PORT) -> int:
        """One from `first` on, which tells a reader of the story what listens there."""
        while True:
            port = first + self._listener_ports[host, first]
            self._listener_ports[host, first] += 1
            if (host, port) not in self.listeners:
                return port

    def next_client_port(self, host: str) -> int:
        self._client_ports[host] += 1
        return _FIRST_CLIENT_PORT + (self._client_ports[host] - 1) % _CLIENT_PORTS

    def join(self, near: Connection, far: Connection) -> None:
        """Makes two ends a connection; `near` has dialled."""
        near.peer, far.peer = far, near
        for source, target in ((near, far), (far, near)):
            hosts = (source.process.host, target.process.host)
            source.out = Wire(target, self.conditions.latency(*hosts), self.conditions, self._random)
            roles = (_role(source.process), _role(target.process))
            target.traffic = self.traffic.setdefault(roles, Traffic())
            if hosts in self._partitions or self.is_dead(hosts[1]):
                source.out.hold()
        near.out.back, far.out.back = far.out, near.out
        self._pairs[near] = None

    def forget(self, connection: Connection) -> None:
        """An end is closed. If both are, faults do not concern the connection, and nothing more arrives: its parts let
        go of each other, so that they do not wait for the garbage collector."""
        peer = connection.peer
        if peer.closed:
            self._pairs.pop(connection, None)
            self._pairs.pop(peer, None)
            for end in (connection, peer):
                end.out.dissolve()
                del end.peer

    def frame_arrived(self, connection: Connection, route: str, body: bytes) -> None:
        """Of interest to those who count or watch every message."""
        if self.detailed:
            roles = (_role(connection.peer.process), _role(connection.process))
            for kind in kinds_of(body):
                self.counters[(*roles, kind)] += 1
        if self.watchers:
            self._tell(connection, route, body)

    def call_arrived(self, connection: Connection, route: str, message: bytes) -> None:
        connection.traffic.calls += 1
        connection.traffic.bytes += len(message)
        self.counters[_role(connection.peer.process), _role(connection.process), route] += 1
        if self.watchers:
            self._tell(connection, route, message)

    # ----

    def _tell(self, connection: Connection, route: str, message: bytes) -> None:
        for watcher in self.watchers:
            watcher(connection.heard_at, connection.peer.process, connection.process, route, message)

    def _ends(self) -> list[Connection]:
        """Both ends of all connections, in the order in which these were made."""
        return [end for near in self._pairs for end in (near, near.peer)]

    def _between(self, source_host: str, target_host: str) -> list[Connection]:
        """The ends on one machine whose peers are on the other."""
        return [end for end in self._ends() if end.process.host == source_host and end.peer.process.host == target_host]

    def _review(self, host: str, other_host: str) -> None:
        for connection in self._between(host, other_host) + self._between(other_host, host):
            connection.review()


def _role(process: Process) -> str:
    return process.name.split()[0]


def _directions(source_host: str, target_host: str, both: bool) -> list[tuple[str, str]]:
    one = (source_host, target_host)
    return [one, one[::-1]] if both else [one]
