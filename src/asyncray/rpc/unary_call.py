"""Unary calls: what betterproto's stubs need of a channel.

grpclib's own channel would do, but it takes 15 ms to import, puts each call's data through h2's slow path, and leaves
cancellation requests behind in the calling task, which then confuse `asyncio.timeout` and `TaskGroup`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from grpclib.const import Cardinality
from grpclib.metadata import encode_timeout
from h2.errors import ErrorCodes

from asyncray.errors import ConnectionFailed, ProtocolError
from asyncray.rpc.grpc_stream import GrpcStream, prefix
from asyncray.rpc.http2_connection import Http2Connection
from asyncray.rpc.http2_stream import Headers
from asyncray.rpc.lean_betterproto import quicken
from asyncray.rpc.status import error_of_headers, error_of_reset


class UnaryCall(GrpcStream):
    """One request and its reply."""

    def __init__(self, connection: Http2Connection, message_limit: int) -> None:
        super().__init__(connection, message_limit)
        self.reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._message: bytes | None = None
        self._sent = False

    def send(self, message: bytes) -> None:
        """Sends the request, once the call has started."""
        self.write(prefix(len(message)), message)
        self.on_sent()

    def give_up(self) -> None:
        """Nobody waits for the reply any longer."""
        self.reply.cancel()
        if not self.over:
            self._leave(ErrorCodes.CANCEL)

    def on_sent(self) -> None:
        if not self._unsent and not self._sent and not self.over:
            self._sent = True
            self.send_end()

    def on_message(self, message: memoryview) -> None:
        if self._message is None:
            self._message = bytes(message)
        else:
            self.on_violation(ProtocolError(f"{self.connection.remote} replied twice to one call"))

    def on_violation(self, error: ProtocolError) -> None:
        self._fail(error, ErrorCodes.PROTOCOL_ERROR)

    def on_response(self, headers: Headers) -> None:
        received = dict(headers)
        if received.get(":status") != "200":
            status = received.get(":status")
            self._fail(ProtocolError(f"{self.connection.remote} is not gRPC: HTTP status {status}"))
        elif "grpc-status" in received:
            self.on_trailers(headers)

    def on_trailers(self, headers: Headers) -> None:
        error = error_of_headers(dict(headers), self.connection.remote)
        if error is None and self._message is None:
            error = ProtocolError(f"{self.connection.remote} ended a call without a reply")
        if error is not None:
            self._fail(error)
        elif not self.over and self._message is not None:
            self._leave(ErrorCodes.NO_ERROR)
            if not self.reply.done():
                self.reply.set_result(self._message)

    def on_end(self) -> None:
        self._fail(ProtocolError(f"{self.connection.remote} ended a call without a status"))

    def on_reset(self, code: int) -> None:
        self._fail(error_of_reset(code, self.connection.remote))

    def on_connection_lost(self, error: ConnectionFailed) -> None:
        self._fail(error)

    def _fail(self, error: Exception, code: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        if not self.over:
            self._leave(code)
            if not self.reply.done():
                self.reply.set_exception(error)

    def _leave(self, code: ErrorCodes) -> None:
        self.over = True
        self.detach()
        self.send_reset(code)


class StubChannel:
    """What a betterproto stub takes for grpclib's `Channel`."""

    def __init__(self, start: Callable[[UnaryCall, str, float | None], Any], new_call: Callable[[], UnaryCall]) -> None:
        quicken()
        self._start = start
        self._new_call = new_call

    def request(
        self,
        route: str,
        cardinality: Cardinality,
        request_type: type,
        response_type: type,
        *,
        timeout: float | None = None,
        deadline: Any = None,
        metadata: Mapping[str, str] | None = None,
    ) -> _StubCall:
        if cardinality is not Cardinality.UNARY_UNARY:
            raise NotImplementedError(f"{route} is a stream: use Channel.open")
        if deadline is not None:
            timeout = min(deadline.time_remaining(), timeout) if timeout is not None else deadline.time_remaining()
        return _StubCall(self._new_call(), self._start, route, response_type, timeout)


class _StubCall:
    """What `betterproto.ServiceStub` does with a call: enter, send a message, receive one, leave."""

    def __init__(
        self,
        call: UnaryCall,
        start: Callable[[UnaryCall, str, float | None], Any],
        route: str,
        response_type: Any,
        timeout: float | None,
    ) -> None:
        self._call = call
        self._start = start
        self._route = route
        self._response_type = response_type
        self._timeout = timeout
        self._deadline = asyncio.timeout(timeout)

    async def __aenter__(self) -> _StubCall:
        await self._deadline.__aenter__()
        return self

    async def send_message(self, message: Any, *, end: bool) -> None:
        await self._start(self._call, self._route, self._timeout)
        self._call.send(bytes(message))

    async def recv_message(self) -> Any:
        reply = await self._call.reply
        try:
            return self._response_type().parse(reply)
        except Exception as error:  # betterproto raises whatever its parser runs into
            raise ProtocolError(f"{self._route} replied with what is not its message: {error}") from error

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._call.give_up()
        await self._deadline.__aexit__(kind, error, traceback)


def timeout_header(timeout: float) -> tuple[str, str]:
    """Tells the server how long the caller waits."""
    return ("grpc-timeout", encode_timeout(timeout))
