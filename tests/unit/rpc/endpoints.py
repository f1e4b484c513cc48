"""The two ends of a stream, as the tests hold them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from asyncray import messages
from asyncray.rpc.network import Listener
from asyncray.rpc.stream import FrameStream

TOKEN = "secret"
ROUTE = "/asyncray.Peer/Session"
PATIENCE = 20.0


def release(number: int) -> tuple[Any, ...]:
    """A small message that carries a number."""
    return (messages.RELEASE, number.to_bytes(20, "big"))


def number_of(message: list[Any]) -> int:
    return int.from_bytes(message[1], "big")


class Recorder:
    """A receiver that keeps what it gets."""

    def __init__(self, on_message: Callable[[FrameStream, list[Any]], None] | None = None) -> None:
        self.messages: list[list[Any]] = []
        self.ends: list[Exception | None] = []
        self.stream: FrameStream | None = None
        self._changed = asyncio.Event()
        self._on_message = on_message

    def on_message(self, stream: FrameStream, message: list[Any]) -> None:
        assert not self.ends, "a message after the end"
        self.stream = stream
        self.messages.append(message)
        self._changed.set()
        if self._on_message is not None:
            self._on_message(stream, message)

    def on_close(self, stream: FrameStream, error: Exception | None) -> None:
        assert stream.closed
        self.ends.append(error)
        self._changed.set()

    async def received(self, count: int) -> list[list[Any]]:
        """Waits for `count` messages in all."""
        await self._until(lambda: len(self.messages) >= count)
        return self.messages

    async def ended(self) -> Exception | None:
        """Waits for the end; its error."""
        await self._until(lambda: bool(self.ends))
        await asyncio.sleep(0)
        assert len(self.ends) == 1
        return self.ends[0]

    async def _until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


class Accepted:
    """A stream that the server has taken, and what came on it."""

    def __init__(self, stream: FrameStream, on_message: Callable[[FrameStream, list[Any]], None] | None) -> None:
        self.stream = stream
        self.recorder = Recorder(on_message)


class Server:
    """Takes streams."""

    listener: Listener

    def __init__(self) -> None:
        self.accepted: list[Accepted] = []
        self.on_message: Callable[[FrameStream, list[Any]], None] | None = None
        """What its receivers do with messages, besides keeping them."""

    def accept(self, stream: FrameStream) -> Recorder:
        self.accepted.append(Accepted(stream, self.on_message))
        return self.accepted[-1].recorder

    @property
    def last(self) -> Accepted:
        return self.accepted[-1]

    @property
    def unix(self) -> str:
        return f"unix:{self.listener.unix_path}"

    @property
    def tcp(self) -> str:
        return f"{self.listener.host}:{self.listener.port}"
