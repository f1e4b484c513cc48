"""Unary calls over a simulated connection: really encoded, and served by the handlers that grpclib would call."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from grpclib.const import Handler as Method
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.metadata import encode_grpc_message

from asyncray.errors import ProtocolError
from asyncray.rpc.status import error_of_headers, error_of_reset, headers_of, reset_code_of
from asyncray.simulation.network.connection import Connection
from asyncray.simulation.network.link import Headers, Link, Request

if TYPE_CHECKING:
    from asyncray.simulation.network.listener import SimulatedListener

_log = logging.getLogger(__name__)


class ClientCall(Link):
    """One request and its reply, as `rpc/unary_call.py` uses it."""

    __slots__ = ("_authorization", "_limit", "_message", "_timeout", "reply")

    def __init__(self, connection: Connection, authorization: tuple[str, str], message_limit: int) -> None:
        super().__init__(connection, "")
        self.reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._authorization = authorization
        self._limit = message_limit
        self._timeout: float | None = None
        self._message: bytes | None = None

    async def begin(self, route: str, timeout: float | None) -> None:
        """Waits until the call may be sent. Raises ConnectionFailed."""
        await self.connection.reserve()
        self.connection.start(self)
        self.route = route
        self._timeout = timeout

    def send(self, message: bytes) -> None:
        """Sends the request, once the call has begun."""
        request = Request(self.route, self._authorization, message, self._timeout)
        self.connection.out.write(self, Connection.on_request, request, len(message))

    def give_up(self) -> None:
        """Nobody waits for the reply any longer."""
        self.reply.cancel()
        if not self.over:
            self.leave()
            if self.number:
                self.send_reset(reset_code_of(Exception()))

    def on_data(self, data: bytes) -> None:
        if len(data) > self._limit:
            error = ProtocolError(f"a message has {len(data)} bytes (limit {self._limit})")
            self.send_reset(reset_code_of(error))
            self._fail(error)
        else:
            self._message = data

    def on_end(self, headers: Headers | None) -> None:
        error = error_of_headers(dict(headers or ()), self.connection.remote)
        if error is None and self._message is None:
            error = ProtocolError(f"{self.connection.remote} ended a call without a reply")
        if error is not None:
            self._fail(error)
        elif not self.over and self._message is not None:
            self.leave()
            if not self.reply.done():
                self.reply.set_result(self._message)

    def on_reset(self, code: int) -> None:
        self._fail(error_of_reset(code, self.connection.remote))

    def on_connection_lost(self, error: Exception) -> None:
        self._fail(error)

    def _fail(self, error: Exception) -> None:
        if not self.over:
            self.leave()
            if not self.reply.done():
                self.reply.set_exception(error)


class ServerCall(Link):
    """One call that is served: a task, which ends as grpclib's would."""

    __slots__ = ("_headers", "_task")

    def __init__(self, connection: Connection, route: str) -> None:
        super().__init__(connection, route)
        self._task: asyncio.Task[None] | None = None
        self._headers: Headers = []
        """How it ended."""

    def serve(self, listener: SimulatedListener, number: int, request: Request) -> None:
        self.connection.add(self, number)
        method = listener.methods[request.route]
        run = self._run(method, request, listener.config.frame_limit)
        task = self._task = asyncio.get_running_loop().create_task(run, name=f"call of {request.route}")
        listener.calls[task] = None
        task.add_done_callback(listener.served)

    def on_data(self, data: bytes) -> None:
        """A caller sends nothing more."""

    def on_end(self, headers: Headers | None) -> None:
        """It has sent its request already."""

    def on_sent(self) -> None:
        self.leave()
        self.send_end(self._headers)

    def on_reset(self, code: int) -> None:
        self._cancel()

    def on_connection_lost(self, error: Exception) -> None:
        self._cancel()

    def _cancel(self) -> None:
        if not self.over:
            self.leave()
            if self._task is not None:
                self._task.cancel()

    async def _run(self, method: Method, request: Request, message_limit: int) -> None:
        stream = _CallStream(method, request.message or b"", message_limit)
        headers = headers_of(None)
        deadline = asyncio.timeout(request.timeout)
        try:
            async with deadline:
                await method.func(stream)
            if stream.reply is None:
                raise TypeError(f"{self.route} gave no reply")
        except GRPCError as error:
            headers = _status_headers(error.status, error.message)
        except Exception as error:
            if isinstance(error, TimeoutError) and deadline.expired():
                headers = _status_headers(Status.DEADLINE_EXCEEDED, None)
            else:
                _log.exception("%s failed", self.route)
                headers = _status_headers(Status.UNKNOWN, "Internal Server Error")
        if self.over:
            return
        if stream.reply is not None:
            self.connection.out.write(self, Connection.on_reply, stream.reply, len(stream.reply))
        self._headers = headers
        if not self.unsent:
            self.on_sent()


class _CallStream:
    """What a generated handler uses of grpclib's `Stream`."""

    def __init__(self, method: Method, request: bytes, message_limit: int) -> None:
        self.reply: bytes | None = None
        self._method = method
        self._request = request
        self._limit = message_limit

    async def recv_message(self) -> Any:
        size = len(self._request)
        if size > self._limit:
            raise GRPCError(Status.RESOURCE_EXHAUSTED, f"a message of {size} bytes is too large (limit {self._limit})")
        kind = self._method.request_type
        try:
            return kind().parse(self._request)
        except Exception as error:  # betterproto raises whatever its parser runs into
            raise GRPCError(Status.INVALID_ARGUMENT, f"this is not a {kind.__name__}: {error}") from error

    async def send_message(self, message: Any) -> None:
        self.reply = bytes(message)


def _status_headers(status: Status, message: str | None) -> Headers:
    headers = [("grpc-status", str(status.value))]
    if message is not None:
        headers.append(("grpc-message", encode_grpc_message(message)))
    return headers
