"""The connection with the control plane: rare calls, the driver's job, and news of actors."""

from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from asyncray import messages
from asyncray.errors import AsyncrayError, ProtocolError
from asyncray.rpc.network import Channel
from asyncray.rpc.stream import FrameStream

if TYPE_CHECKING:
    from asyncray.proto import ControlStub
    from asyncray.worker.runtime import Runtime

_T = TypeVar("_T")

_log = logging.getLogger(__name__)

ROUTE = "/asyncray.Control/ProcessSession"


class ControlLink:
    """Dialled at once by a driver, and by a worker when it first needs it."""

    def __init__(self, runtime: Runtime, target: str) -> None:
        self._runtime = runtime
        self.target = target
        self._channel: asyncio.Task[Channel] | None = None
        self._session: asyncio.Task[FrameStream] | None = None
        self._accepted: asyncio.Future[None] | None = None
        self.handlers: dict[int, Callable[..., None]] = {messages.JOB_ACCEPTED: self._on_job_accepted}
        self.on_lost: list[Callable[[Exception | None], None]] = []
        self._closing = False

    @property
    def connected(self) -> bool:
        """Whether news of actors can come."""
        return self._session is not None and not _has_ended(self._session)

    async def stub(self) -> ControlStub:
        """For unary calls. Raises ConnectionFailed, AuthenticationError."""
        from asyncray.proto import ControlStub

        return (await self._connected()).stub(ControlStub)

    async def introduce(self) -> None:
        """Returns when the control plane knows this process. Raises ConnectionFailed, AuthenticationError."""
        await self._open_session()

    async def open_job(self) -> None:
        """Registers this driver's job; it lasts as long as the stream."""
        self._accepted = asyncio.get_running_loop().create_future()
        stream = await self._open_session()
        assert self._runtime.job_id is not None
        stream.send((messages.JOB, self._runtime.job_id, self._runtime.job))
        await self._accepted

    def send(self, *message: Any) -> None:
        """Sends on the session, opened if need be."""
        if self._closing:
            return
        session = self._session
        if session is not None and session.done() and not session.cancelled() and session.exception() is None:
            session.result().send(message)
        else:
            self._runtime.spawn(self._send_later(message), name="control message")

    def close(self) -> None:
        self._closing = True
        for task in (self._session, self._channel):
            if task is not None and task.done() and not task.cancelled() and task.exception() is None:
                task.result().close()

    def on_message(self, stream: FrameStream, message: list[Any]) -> None:
        handler = self.handlers.get(message[0])
        if handler is None:
            stream.close(ProtocolError(f"message {message[0]} does not belong on a control stream"))
            return
        handler(*message[1:])

    def on_close(self, stream: FrameStream, error: Exception | None) -> None:
        self._session = self._channel = None
        if self._accepted is not None and not self._accepted.done():
            self._accepted.set_exception(error or AsyncrayError("the control plane closed the connection"))
        self._lost(error)

    def _lost(self, error: Exception | None) -> None:
        if not self._closing:
            for callback in self.on_lost:
                callback(error)

    async def _connected(self) -> Channel:
        if self._channel is None or _has_ended(self._channel):
            self._channel = self._runtime.spawn(
                self._runtime.platform.network.connect(self.target), name="dial control plane"
            )
        try:
            return await _outcome(self._channel)
        finally:
            if self._channel is not None and _has_failed(self._channel):
                self._channel = None

    async def _open_session(self) -> FrameStream:
        if self._session is None or _has_ended(self._session):
            self._session = self._runtime.spawn(self._open(), name="control session")
        try:
            return await _outcome(self._session)
        finally:
            if self._session is not None and _has_failed(self._session):
                self._session = None

    async def _open(self) -> FrameStream:
        channel = await self._connected()
        return await channel.open(ROUTE, self, (messages.HELLO, self._runtime.address, self._runtime.role))

    async def _send_later(self, message: tuple[Any, ...]) -> None:
        try:
            session = await self._open_session()
        except AsyncrayError as error:
            _log.warning("cannot tell the control plane at %s: %s", self.target, error)
            self._lost(error)
        else:
            session.send(message)

    def _on_job_accepted(self, job_id: bytes) -> None:
        if self._accepted is not None and not self._accepted.done():
            self._accepted.set_result(None)


async def _outcome(dial: asyncio.Task[_T]) -> _T:
    """What a dial gives to those that wait for it; a failure to each anew, whose traceback refers to its own frames.

    Otherwise who keeps the error would keep alive what others have in their variables.
    """
    if not dial.done():
        await asyncio.wait((dial,))
    error = None if dial.cancelled() else dial.exception()
    if error is None:
        return dial.result()
    raise copy.copy(error).with_traceback(error.__traceback__) from error.__cause__


def _has_failed(dial: asyncio.Task[Channel] | asyncio.Task[FrameStream]) -> bool:
    return dial.done() and (dial.cancelled() or dial.exception() is not None)


def _has_ended(dial: asyncio.Task[Channel] | asyncio.Task[FrameStream]) -> bool:
    """Whether it has failed, or what it opened is closed: to be dialled again."""
    return _has_failed(dial) or (dial.done() and dial.result().closed)
