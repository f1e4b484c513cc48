"""The accepting side of simulated connections."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from asyncray.config import Config
from asyncray.errors import AuthenticationError, ConnectionFailed, ProtocolError
from asyncray.rpc.auth import Token
from asyncray.rpc.sockets import format_address
from asyncray.rpc.status import headers_of
from asyncray.rpc.stream import Accept, FrameStream
from asyncray.simulation.network.calls import ServerCall
from asyncray.simulation.network.connection import Connection
from asyncray.simulation.network.frame_link import ServerFrameLink
from asyncray.simulation.network.link import Request

if TYPE_CHECKING:
    from betterproto.grpc.grpclib_server import ServiceBase
    from grpclib.const import Handler as Method

    from asyncray.simulation.network.endpoint import SimulatedEndpoint

_log = logging.getLogger(__name__)


class SimulatedListener:
    """Serves on one or two simulated sockets."""

    def __init__(
        self,
        endpoint: SimulatedEndpoint,
        token: Token,
        config: Config,
        services: Sequence[ServiceBase],
        streams: Mapping[str, Accept],
    ) -> None:
        self.unix_path: str | None = None
        self.host = ""
        self.port = 0
        self.endpoint = endpoint
        self.config = config
        self.methods: dict[str, Method] = {}
        for service in services:
            self.methods.update(cast(Any, service).__mapping__())
        self.calls: dict[asyncio.Task[None], None] = {}
        """Those that are being served, in their order."""
        self._token = token
        self._streams = streams
        self._accepting = True

    def __repr__(self) -> str:
        places = [f"unix:{self.unix_path}"] if self.unix_path else []
        if self.port:
            places.append(format_address(self.host, self.port))
        return f"<listener on {' and '.join(places) or 'nothing'}>"

    def stop_accepting(self) -> None:
        if self._accepting:
            self._accepting = False
            self.endpoint.stop_listening(self)

    async def close(self) -> None:
        self.stop_accepting()
        for connection in self.connections():
            for link in connection.links():
                if isinstance(link, ServerFrameLink):
                    link.frames.close()
            connection.close()
        if self.calls:
            _, late = await asyncio.wait(list(self.calls), timeout=self.config.stop_timeout)
            if late:
                _log.warning("%d calls go on after they were cancelled", len(late))
        await asyncio.sleep(0)  # the receivers' `on_close` is called in this turn

    def connections(self) -> list[Connection]:
        """Those that it has accepted, as far as they are open."""
        return [connection for connection in self.endpoint.connections if connection.listener is self]

    def served(self, task: asyncio.Task[None]) -> None:
        self.calls.pop(task, None)

    def take(self, connection: Connection, number: int, request: Request) -> None:
        """Serves or refuses a request. None gets further than its headers without the token."""
        route = request.route
        if not self._token.accepts(dict([request.authorization])):
            if not connection.warned:
                connection.warned = True
                _log.warning("refused %s, which called %s without the right token", connection.remote, route)
            refusal: Exception = AuthenticationError("the token is missing or wrong")
        elif not self._accepting:
            refusal = ConnectionFailed("the process is stopping")
        elif request.message is None and (accept := self._streams.get(route)) is not None:
            link = ServerFrameLink(connection, route)
            link.frames = FrameStream(link, None, self.config, connection.network.pack, connection.network.unpack_hello)
            link.accept(number)
            link.frames.accept(accept)
            return
        elif request.message is not None and route in self.methods:
            ServerCall(connection, route).serve(self, number, request)
            return
        else:
            refusal = ProtocolError(f"there is no {route} here")
        connection.send_end(number, headers_of(refusal))
