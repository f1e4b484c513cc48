"""The dialling side of a gRPC connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

from asyncray.config import Config
from asyncray.messages import Message
from asyncray.rpc.auth import Token
from asyncray.rpc.frame_link import ClientFrameLink
from asyncray.rpc.grpc_stream import CONTENT_TYPE
from asyncray.rpc.http2_connection import Http2Connection
from asyncray.rpc.http2_stream import Headers
from asyncray.rpc.stream import FrameStream, Receiver
from asyncray.rpc.unary_call import StubChannel, UnaryCall, timeout_header

if TYPE_CHECKING:
    from betterproto import ServiceStub

S = TypeVar("S", bound="ServiceStub")


class GrpcChannel:
    """One HTTP/2 connection to a process."""

    def __init__(self, connection: Http2Connection, target: str, token: Token, config: Config) -> None:
        self.target = target
        self._connection = connection
        self._config = config
        self._headers = [
            (":method", "POST"),
            (":scheme", "https" if connection.tls else "http"),
            (":authority", "localhost" if target.startswith("unix:") else target),
            ("te", "trailers"),
            ("content-type", CONTENT_TYPE),
            ("user-agent", "asyncray"),
            token.header,
        ]

    def __repr__(self) -> str:
        return f"<channel to {self.target}{' closed' if self.closed else ''}>"

    @property
    def closed(self) -> bool:
        return self._connection.closed

    async def open(self, route: str, receiver: Receiver, *first: Message) -> FrameStream:
        link = ClientFrameLink(self._connection, self._config.frame_limit)
        stream = link.frames = FrameStream(link, receiver, self._config)
        try:
            for message in first:
                stream.send(message)
            await self._connection.request(link, self._request(route))
            stream.flush()
            await link.opened
        except BaseException:
            link.give_up()
            raise
        return stream

    def stub(self, cls: type[S]) -> S:
        return cls(cast(Any, StubChannel(self._start_call, self._new_call)))

    def close(self) -> None:
        for stream in list(self._connection.streams.values()):
            if isinstance(stream, ClientFrameLink) and stream.is_open:
                stream.frames.close()
        self._connection.close()

    def _new_call(self) -> UnaryCall:
        return UnaryCall(self._connection, self._config.frame_limit)

    async def _start_call(self, call: UnaryCall, route: str, timeout: float | None) -> None:
        headers = self._request(route)
        if timeout is not None:
            headers.append(timeout_header(timeout))
        await self._connection.request(call, headers)

    def _request(self, route: str) -> Headers:
        return [*self._headers[:2], (":path", route), *self._headers[2:]]
