"""The accepting side of gRPC connections."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import ssl
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from grpclib.const import Handler as Method
from grpclib.const import Status
from grpclib.encoding.proto import ProtoCodec
from grpclib.exceptions import GRPCError
from grpclib.protocol import Stream

from asyncray.config import Config
from asyncray.errors import AuthenticationError, ConnectionFailed, ProtocolError
from asyncray.rpc.auth import Token
from asyncray.rpc.frame_link import ServerFrameLink
from asyncray.rpc.grpc_stream import CONTENT_TYPE, RESPONSE_HEADERS
from asyncray.rpc.http2_connection import Http2Connection, Http2Handler
from asyncray.rpc.http2_stream import Headers
from asyncray.rpc.lean_betterproto import quicken
from asyncray.rpc.sockets import format_address
from asyncray.rpc.status import headers_of
from asyncray.rpc.stream import Accept, FrameStream

if TYPE_CHECKING:
    from betterproto.grpc.grpclib_server import ServiceBase

_log = logging.getLogger(__name__)


class GrpcListener:
    """Serves on one or two sockets."""

    def __init__(
        self, token: Token, config: Config, services: Sequence[ServiceBase], streams: Mapping[str, Accept]
    ) -> None:
        self.unix_path: str | None = None
        self.host = ""
        self.port = 0
        self.token = token
        self.config = config
        self.streams = streams
        self.methods: dict[str, Method] = {}
        if services:
            quicken()
        for service in services:
            self.methods.update(cast(Any, service).__mapping__())
        self.accepting = True
        self.connections: set[Http2Connection] = set()
        self.calls: set[asyncio.Task[Any]] = set()
        self._servers: list[asyncio.Server] = []
        self._inode = 0
        self._no_connections = asyncio.Event()
        self._no_connections.set()

    def __repr__(self) -> str:
        places = [f"unix:{self.unix_path}"] if self.unix_path else []
        if self.port:
            places.append(format_address(self.host, self.port))
        return f"<listener on {' and '.join(places) or 'nothing'}>"

    async def serve_unix(self, sock: socket.socket, path: str) -> None:
        """Takes over a socket that listens on `path`."""
        self.unix_path = path
        self._inode = os.stat(path).st_ino
        loop = asyncio.get_running_loop()
        self._servers.append(await loop.create_unix_server(self._connection, sock=sock))

    async def serve_tcp(self, sock: socket.socket, host: str, context: ssl.SSLContext | None) -> None:
        """Takes over a socket that listens."""
        self.host, self.port = host, sock.getsockname()[1]
        loop = asyncio.get_running_loop()
        timeout = self.config.connect_timeout if context is not None else None
        self._servers.append(
            await loop.create_server(self._connection, sock=sock, ssl=context, ssl_handshake_timeout=timeout)
        )

    def stop_accepting(self) -> None:
        if not self.accepting:
            return
        self.accepting = False
        for server in self._servers:
            server.close()
        if self.unix_path is not None:
            try:
                if os.stat(self.unix_path).st_ino == self._inode:
                    os.unlink(self.unix_path)
            except FileNotFoundError:
                pass

    async def close(self) -> None:
        self.stop_accepting()
        for connection in list(self.connections):
            for link in list(connection.streams.values()):
                if isinstance(link, ServerFrameLink):
                    link.frames.close()
            connection.close()
        await self._no_connections.wait()
        with contextlib.suppress(TimeoutError):  # it may wait for peers that do not shake hands
            async with asyncio.timeout(self.config.stop_timeout):
                for server in self._servers:
                    await server.wait_closed()
        if self.calls:
            _, late = await asyncio.wait(self.calls, timeout=self.config.stop_timeout)
            for call in late:
                _log.warning("a call goes on after it was cancelled: %r", call)
        await asyncio.sleep(0)  # the receivers' `on_close` is called in this turn

    def connected(self, connection: Http2Connection) -> None:
        if not self.accepting:
            connection.abort()
        self.connections.add(connection)
        self._no_connections.clear()

    def disconnected(self, connection: Http2Connection) -> None:
        self.connections.discard(connection)
        if not self.connections:
            self._no_connections.set()

    def _connection(self) -> Http2Connection:
        return Http2Connection(_Requests(self), self.config, client=False)


class _Requests(Http2Handler):
    """The requests of one connection. None gets further than its headers without the token."""

    def __init__(self, listener: GrpcListener) -> None:
        self._listener = listener
        self._warned = False
        self._unary: Any = None
        """grpclib's handler, made for the first unary call: not every process serves any."""

    def connected(self, connection: Http2Connection) -> None:
        self._listener.connected(connection)

    def disconnected(self, connection: Http2Connection) -> None:
        self._listener.disconnected(connection)

    def take(self, connection: Http2Connection, stream_id: int, headers: Headers) -> bool:
        listener = self._listener
        received = dict(headers)
        route = received.get(":path", "")
        if not listener.token.accepts(received):
            if not self._warned:
                self._warned = True
                _log.warning("refused %s, which called %s without the right token", connection.remote, route)
            self._refuse(connection, stream_id, AuthenticationError("the token is missing or wrong"))
        elif not listener.accepting:
            self._refuse(connection, stream_id, ConnectionFailed("the process is stopping"))
        elif (accept := listener.streams.get(route)) is not None:
            if received.get("content-type", "").split("+")[0] != CONTENT_TYPE:
                self._refuse(connection, stream_id, ProtocolError(f"{route} speaks {CONTENT_TYPE}"))
                return True
            link = ServerFrameLink(connection, listener.config.frame_limit)
            link.frames = FrameStream(link, None, listener.config)
            link.accept(stream_id)
            link.frames.accept(accept)
        elif route not in listener.methods:
            self._refuse(connection, stream_id, ProtocolError(f"there is no {route} here"))
        else:
            return False
        return True

    def accept(self, stream: Stream, headers: Any, release_stream: Any) -> None:
        if self._unary is None:
            self._unary = _unary_handler(self._listener.methods)
        self._unary.accept(stream, headers, release_stream)
        task = self._unary._tasks[stream]
        self._listener.calls.add(task)
        task.add_done_callback(self._listener.calls.discard)

    def cancel(self, stream: Stream) -> None:
        if self._unary is not None and stream in self._unary._tasks:
            self._unary.cancel(stream)

    def close(self) -> None:
        if self._unary is not None:
            self._unary.close()

    @staticmethod
    def _refuse(connection: Http2Connection, stream_id: int, error: Exception) -> None:
        connection.h2.send_headers(stream_id, [*RESPONSE_HEADERS, *headers_of(error)], end_stream=True)
        connection.flush()
        connection.reset(stream_id)


class _Codec(ProtoCodec):
    """grpclib's, but a request that is not its message is the caller's fault."""

    def decode(self, data: bytes, message_type: Any) -> Any:
        try:
            return super().decode(data, message_type)
        except Exception as error:  # betterproto raises whatever its parser runs into
            raise GRPCError(Status.INVALID_ARGUMENT, f"this is not a {message_type.__name__}: {error}") from error


def _unary_handler(methods: dict[str, Method]) -> Any:
    from grpclib.events import _DispatchServerEvents
    from grpclib.server import Handler

    return Handler(methods, _Codec(), None, _DispatchServerEvents())
