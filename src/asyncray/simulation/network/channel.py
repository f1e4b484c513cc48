"""The dialling side of a simulated connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from asyncray.config import Config
from asyncray.messages import Message
from asyncray.rpc import codec
from asyncray.rpc.auth import Token
from asyncray.rpc.stream import FrameStream, Receiver
from asyncray.simulation.network.calls import ClientCall
from asyncray.simulation.network.connection import Connection
from asyncray.simulation.network.frame_link import ClientFrameLink

if TYPE_CHECKING:
    from betterproto import ServiceStub

S = TypeVar("S", bound="ServiceStub")

_NEWS: Final = frozenset({"/asyncray.Control/NodeSession"})
"""Streams on which many are told the same, and change nothing of it."""


class SimulatedChannel:
    """One connection to a process."""

    __slots__ = ("_config", "_connection", "_token", "target")

    def __init__(self, connection: Connection, target: str, token: Token, config: Config) -> None:
        self.target = target
        self._connection = connection
        self._token = token
        self._config = config

    def __repr__(self) -> str:
        return f"<channel to {self.target}{' closed' if self.closed else ''}>"

    @property
    def closed(self) -> bool:
        return self._connection.closed

    async def open(self, route: str, receiver: Receiver, *first: Message) -> FrameStream:
        link = ClientFrameLink(self._connection, route)
        network = self._connection.network
        unpack = network.unpack_once if route in _NEWS else codec.unpack
        stream = link.frames = FrameStream(link, receiver, self._config, network.pack, unpack)
        try:
            for message in first:
                stream.send(message)
            await link.begin(self._token.header)
            stream.flush()
            await link.opened()
        except BaseException:
            link.give_up()
            raise
        return stream

    def stub(self, cls: type[S]) -> S:
        from asyncray.rpc.unary_call import StubChannel

        return cls(cast(Any, StubChannel(_begin, cast(Any, self._new_call))))

    def close(self) -> None:
        for link in self._connection.links():
            if isinstance(link, ClientFrameLink) and link.open:
                link.frames.close()
        self._connection.close()

    def _new_call(self) -> ClientCall:
        return ClientCall(self._connection, self._token.header, self._config.frame_limit)


async def _begin(call: Any, route: str, timeout: float | None) -> None:
    await call.begin(route, timeout)
