"""The network as the rest of the package sees it. The simulator has its own, in memory."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from asyncray.config import DEFAULT, Config
from asyncray.errors import ConnectionFailed
from asyncray.messages import Message
from asyncray.rpc.auth import Token
from asyncray.rpc.sockets import listen_tcp, listen_unix, parse_target
from asyncray.rpc.stream import Accept, FrameStream, Receiver

if TYPE_CHECKING:
    from betterproto import ServiceStub
    from betterproto.grpc.grpclib_server import ServiceBase

    from asyncray.rpc.tls import TlsConfig

S = TypeVar("S", bound="ServiceStub")

NO_STREAMS: Mapping[str, Accept] = MappingProxyType({})


class Channel(Protocol):
    """One connection to a process. It is not made anew when it is lost."""

    @property
    def target(self) -> str: ...

    @property
    def closed(self) -> bool:
        """Whether the connection is gone, whoever ended it."""
        ...

    async def open(self, route: str, receiver: Receiver, *first: Message) -> FrameStream:
        """Opens a stream, say `/asyncray.Node/Session`, and sends it the `first` messages at once.

        Returns when the peer has taken the stream; `receiver` may have got messages by then. If this raises,
        `on_close` is not called. Raises AuthenticationError, ConnectionFailed, ProtocolError (no such route).
        """
        ...

    def stub(self, cls: type[S]) -> S:
        """Makes a stub for unary calls.

        They raise as `open` does, TimeoutError, and AsyncrayError when the peer's method has failed.
        """
        ...

    def close(self) -> None:
        """Ends its streams and closes the connection."""
        ...


class Listener(Protocol):
    """What a process listens on."""

    @property
    def unix_path(self) -> str | None: ...

    @property
    def host(self) -> str: ...

    @property
    def port(self) -> int:
        """0 if it does not listen on TCP."""
        ...

    def stop_accepting(self) -> None:
        """From now on new connections and new streams are refused; those that exist go on."""
        ...

    async def close(self) -> None:
        """Ends all streams and connections; returns when no socket, task or file is left."""
        ...


class Network(Protocol):
    """How processes reach each other."""

    async def connect(self, target: str, *, timeout: float | None = None, keepalive: bool = False) -> Channel:
        """Connects to `unix:/path` or `host:port`, within `timeout` seconds (`connect_timeout` by default).

        `keepalive` makes silence count as death, which is right for daemons only: user code may block a loop.
        Raises ConnectionFailed.
        """
        ...

    async def listen(
        self,
        *,
        services: Sequence[ServiceBase] = (),
        streams: Mapping[str, Accept] = NO_STREAMS,
        unix_path: str | None = None,
        host: str | None = None,
        port: int = 0,
    ) -> Listener:
        """Serves on a Unix socket (mode 0600), on TCP (port 0: a free one), or on both.

        `streams` come before methods of `services` on the same route. Raises AddressInUse, ConnectionFailed.
        """
        ...


class GrpcNetwork:
    """The real network. `tls` is for TCP only."""

    def __init__(self, token: str, config: Config = DEFAULT, tls: TlsConfig | None = None) -> None:
        self._token = Token(token)
        self._config = config
        self._tls = tls

    async def connect(self, target: str, *, timeout: float | None = None, keepalive: bool = False) -> Channel:
        from asyncray.rpc.channel import GrpcChannel
        from asyncray.rpc.http2_connection import Http2Connection, Http2Handler

        loop = asyncio.get_running_loop()
        address = parse_target(target)
        tls = self._tls if isinstance(address, tuple) else None
        if timeout is None:
            timeout = self._config.connect_timeout

        def connection() -> Http2Connection:
            return Http2Connection(Http2Handler(), self._config, client=True, target=target, tls=tls is not None)

        made: Http2Connection
        try:
            async with asyncio.timeout(timeout):
                if isinstance(address, tuple):
                    options: dict[str, Any] = {}
                    if tls is not None:
                        options = {"ssl": tls.client_context(), "server_hostname": tls.server_name or address[0]}
                    _, made = await loop.create_connection(connection, *address, **options)
                else:
                    _, made = await loop.create_unix_connection(connection, address)
        except TimeoutError as error:
            raise ConnectionFailed(f"{target} did not answer within {timeout:g} s") from error
        except OSError as error:
            raise ConnectionFailed(f"cannot connect to {target}: {_reason(error)}") from error
        if keepalive:
            made.watch()
        return GrpcChannel(made, target, self._token, self._config)

    async def listen(
        self,
        *,
        services: Sequence[ServiceBase] = (),
        streams: Mapping[str, Accept] = NO_STREAMS,
        unix_path: str | None = None,
        host: str | None = None,
        port: int = 0,
    ) -> Listener:
        from asyncray.rpc.listener import GrpcListener

        if unix_path is None and host is None:
            raise ValueError("nothing to listen on: give a unix_path, a host, or both")
        context = self._tls.server_context() if self._tls is not None and host is not None else None
        listener = GrpcListener(self._token, self._config, services, streams)
        try:
            if unix_path is not None:
                await listener.serve_unix(listen_unix(unix_path), unix_path)
            if host is not None:
                await listener.serve_tcp(await listen_tcp(host, port), host, context)
        except BaseException:
            await listener.close()
            raise
        return listener


def _reason(error: OSError) -> str:
    match error:
        case FileNotFoundError():
            return "there is no such socket"
        case ConnectionRefusedError():
            return "nothing listens there"
        case socket.gaierror():
            return "the host's name is not known"
        case OSError(errno=None) if f"[Errno {errno.ECONNREFUSED}]" in str(error):  # by several addresses of the host
            return "nothing listens there"
    return str(error.strerror or error)
