"""`FrameStream`s over a simulated connection: the transport of each side. They end as those of `rpc/frame_link.py`."""

from __future__ import annotations

import asyncio

from asyncray.errors import AsyncrayError, ConnectionFailed
from asyncray.rpc.status import error_of_headers, error_of_reset, headers_of, reset_code_of
from asyncray.rpc.stream import FrameStream
from asyncray.simulation.network.connection import Connection
from asyncray.simulation.network.link import Headers, Link, Request


class _FrameLink(Link):
    """What both sides have in common: a `FrameTransport`, but for `end`."""

    __slots__ = ("_waiters", "frames")

    frames: FrameStream
    """Until it has ended, at this side."""

    def __init__(self, connection: Connection, route: str) -> None:
        super().__init__(connection, route)
        self._waiters: list[asyncio.Future[None]] | None = None

    # ---- FrameTransport

    @property
    def local_address(self) -> str:
        return self.connection.local_address

    @property
    def remote(self) -> str:
        return self.connection.remote

    def write_frame(self, body: bytes) -> None:
        if not self.over:
            self.connection.out.write(self, Connection.on_frame, body, len(body))

    async def drained(self) -> None:
        if self.unsent:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters = [*(self._waiters or ()), waiter]
            await waiter

    def watch(self) -> None:
        self.connection.watch()

    # ---- Link

    def on_data(self, data: bytes) -> None:
        self.frames.frame_received(data)

    def on_sent(self) -> None:
        waiters, self._waiters = self._waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)

    def on_reset(self, code: int) -> None:
        self.finish(error_of_reset(code, self.remote))

    def on_connection_lost(self, error: Exception) -> None:
        self.finish(error)

    def part(self) -> FrameStream:
        """Takes no further part, and lets go of the stream, which refers to its transport: no cycle is to be left."""
        self.leave()
        self.on_sent()
        frames = self.frames
        del self.frames
        return frames

    def finish(self, error: Exception | None) -> None:
        """The stream was ended from outside."""
        if not self.over:
            self.part().ended(error)

    def leave_unsent(self, error: Exception | None) -> Exception | None:
        """The stream ends here: the error to end it with at the other side."""
        if self.unsent and error is None:
            error = AsyncrayError("the stream was closed before all had been sent: its flow-control window was full")
        self.part()
        return error


class ClientFrameLink(_FrameLink):
    """The side that opens the stream."""

    __slots__ = ("_answer", "_early", "open")

    def __init__(self, connection: Connection, route: str) -> None:
        super().__init__(connection, route)
        self.open = False
        """Whether the server has taken the stream."""
        self._answer: asyncio.Future[None] | None = None
        """For who waits until then."""
        self._early: list[bytes] | None = None
        """Frames that were written before the stream could begin."""

    async def opened(self) -> None:
        """Returns when the server has taken the stream, after `begin`. Raises why it has not."""
        if self._answer is not None:
            await self._answer

    async def begin(self, authorization: tuple[str, str]) -> None:
        """Asks for the stream. Raises ConnectionFailed."""
        await self.connection.reserve()
        self.connection.start(self)
        self._answer = asyncio.get_running_loop().create_future()
        self.connection.out.send(Connection.on_request, self.number, Request(self.route, authorization))
        early, self._early = self._early, None
        for body in early or ():
            self.unsent -= len(body)
            self.write_frame(body)

    def write_frame(self, body: bytes) -> None:
        if self.number:
            if not self.over:
                self.connection.out.write(self, Connection.on_frame, body, len(body))
        else:
            self._early = [*(self._early or ()), body]
            self.unsent += len(body)

    def end(self, error: Exception | None) -> None:
        if self.over:
            return
        error = self.leave_unsent(error)
        if error is None:
            self.send_end()
        else:
            self.send_reset(reset_code_of(error))

    def give_up(self) -> None:
        """Opening has failed, or nobody waits for it any longer."""
        if self._answer is not None:
            self._answer.cancel()
        if not self.over:
            self.part().abandon()
            if self.number:
                self.send_reset(reset_code_of(AsyncrayError()))

    def on_taken(self) -> None:
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            self.open = True
            answer.set_result(None)

    def on_end(self, headers: Headers | None) -> None:
        self.finish(error_of_headers(dict(headers or ()), self.remote))

    def finish(self, error: Exception | None) -> None:
        if self.over or self.open:
            super().finish(error)
        else:
            self.part().abandon()
            if self._answer is not None and not self._answer.done():
                self._answer.set_exception(error or ConnectionFailed(f"{self.remote} closed the stream at once"))


class ServerFrameLink(_FrameLink):
    """The side that has accepted the stream."""

    __slots__ = ()

    def accept(self, number: int) -> None:
        """Takes the request: the client's `open` returns."""
        self.connection.add(self, number)
        self.connection.out.send(Connection.on_taken, number)

    def end(self, error: Exception | None) -> None:
        if not self.over:
            self.send_end(headers_of(self.leave_unsent(error)))

    def on_end(self, headers: Headers | None) -> None:
        self.finish(None)
