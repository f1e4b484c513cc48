"""`FrameStream`s over gRPC: the transport of each side."""

from __future__ import annotations

import asyncio
import logging

from asyncray.errors import AsyncrayError, ConnectionFailed, ProtocolError
from asyncray.rpc.frame import HEADER_LIMIT, frame_body, frame_header
from asyncray.rpc.grpc_stream import RESPONSE_HEADERS, GrpcStream, prefix
from asyncray.rpc.http2_connection import Http2Connection
from asyncray.rpc.http2_stream import Headers
from asyncray.rpc.status import error_of_headers, error_of_reset, headers_of, reset_code_of
from asyncray.rpc.stream import FrameStream

_log = logging.getLogger(__name__)


class _FrameLink(GrpcStream):
    """What both sides have in common: a `FrameTransport`, but for `end`."""

    frames: FrameStream

    def __init__(self, connection: Http2Connection, frame_limit: int) -> None:
        super().__init__(connection, frame_limit + HEADER_LIMIT)
        self._waiters: list[asyncio.Future[None]] = []

    # ---- FrameTransport

    @property
    def local_address(self) -> str:
        return self.connection.local_address

    @property
    def remote(self) -> str:
        return self.connection.remote

    @property
    def unsent(self) -> int:
        return self._unsent_size

    def write_frame(self, body: bytes) -> None:
        header = frame_header(len(body))
        self.write(prefix(len(header) + len(body)) + header, body)

    async def drained(self) -> None:
        if self._unsent:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter

    def watch(self) -> None:
        self.connection.watch()

    # ---- GrpcStream

    def on_message(self, message: memoryview) -> None:
        try:
            body = frame_body(message)
        except ProtocolError as error:
            self.on_violation(error)
        else:
            self.frames.frame_received(body)

    def on_violation(self, error: ProtocolError) -> None:
        self.frames.violated(error)

    def on_sent(self) -> None:
        if not self._unsent:
            self._wake()

    def on_connection_lost(self, error: ConnectionFailed) -> None:
        self._finish(error)

    # ----

    def _finish(self, error: Exception | None) -> None:
        """The stream was ended from outside."""
        if not self.over:
            self._leave()
            self.frames.ended(error)

    def _leave(self) -> None:
        self.over = True
        self.detach()
        self._wake()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _send_rest(self, error: Exception | None) -> Exception | None:
        """Sends what can be sent now; the error to end with."""
        self.write_unsent(force=True)
        if self._unsent and error is None:
            return AsyncrayError("the stream was closed before all had been sent: its flow-control window was full")
        return error


class ClientFrameLink(_FrameLink):
    """The side that opened the stream."""

    def __init__(self, connection: Http2Connection, frame_limit: int) -> None:
        super().__init__(connection, frame_limit)
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the server has taken the stream."""

    @property
    def is_open(self) -> bool:
        """Whether the server has taken the stream, and somebody was there to learn of it."""
        return self.opened.done() and not self.opened.cancelled()

    def end(self, error: Exception | None) -> None:
        if self.over:
            return
        error = self._send_rest(error)
        self._leave()
        if error is None:
            self.send_end()
        else:
            self.send_reset(reset_code_of(error))

    def give_up(self) -> None:
        """Opening has failed, or nobody waits for it any longer."""
        self.opened.cancel()
        if not self.over:
            self._leave()
            self.frames.abandon()
            self.send_reset(reset_code_of(AsyncrayError()))

    def on_response(self, headers: Headers) -> None:
        received = dict(headers)
        if received.get(":status") != "200":
            self._finish(ProtocolError(f"{self.remote} is not gRPC: HTTP status {received.get(':status')}"))
        elif "grpc-status" in received:
            self.on_trailers(headers)
        elif not self.opened.done():
            self.opened.set_result(None)

    def on_trailers(self, headers: Headers) -> None:
        self._finish(error_of_headers(dict(headers), self.remote))
        self.send_reset()  # a server's end is the end of both directions

    def on_end(self) -> None:
        self._finish(ProtocolError(f"{self.remote} ended the stream without a status"))
        self.send_reset()

    def on_reset(self, code: int) -> None:
        self._finish(error_of_reset(code, self.remote))

    def _finish(self, error: Exception | None) -> None:
        if self.over or self.is_open:
            super()._finish(error)
            return
        self._leave()
        self.frames.abandon()
        if not self.opened.done():
            self.opened.set_exception(error or ConnectionFailed(f"{self.remote} closed the stream at once"))


class ServerFrameLink(_FrameLink):
    """The side that accepted the stream."""

    def accept(self, stream_id: int) -> None:
        """Takes the request: the client's `open` returns."""
        self.stream_id = stream_id
        self.send_headers(RESPONSE_HEADERS)
        self.start(stream_id)

    def end(self, error: Exception | None) -> None:
        if self.over:
            return
        error = self._send_rest(error)
        self._leave()
        self._send_status(error)

    def on_response(self, headers: Headers) -> None:
        raise AssertionError("h2 lets no response through to a server")

    def on_trailers(self, headers: Headers) -> None:
        """What a client says after its data does not matter."""

    def on_end(self) -> None:
        error = ProtocolError(f"{self.remote} ended the stream in the middle of a message") if self.in_message else None
        if not self.over:
            self._finish(error)
            self._send_status(error)

    def on_reset(self, code: int) -> None:
        self._finish(error_of_reset(code, self.remote))

    def _send_status(self, error: Exception | None) -> None:
        self.send_headers(headers_of(error), end=True)
        self.send_reset()
