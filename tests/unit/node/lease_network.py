"""Streams between the processes of a `LeaseWorld`: late, but in order, and in frames."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from asyncray.messages import SHAPES


class Surroundings(Protocol):
    """What the network needs of the world."""

    def latency(self) -> float:
        """Seconds that the next frame takes."""
        ...

    def look(self) -> None:
        """Called before anything arrives: checks what has been so since something last did."""
        ...


class OneWay:
    """One direction of a stream. What is sent in one turn of the loop arrives together."""

    def __init__(self, world: Surroundings, receive: Callable[[list[Any]], object]) -> None:
        self._world = world
        self._receive = receive
        self._frame: list[list[Any]] = []
        self._latest = 0.0
        self.closed = False

    def send(self, message: tuple[Any, ...] | list[Any]) -> None:
        assert tuple(map(type, message)) in SHAPES[message[0]], f"a peer would refuse {message}"
        if self.closed:
            return
        if not self._frame:
            asyncio.get_running_loop().call_soon(self._flush)
        self._frame.append(list(message))

    def close(self, then: Callable[[], None]) -> None:
        """Nothing more is sent; `then` happens at the other end, after what is under way."""
        if not self.closed:
            self._flush()
            self.closed = True
            self._arrive(then)

    def _flush(self) -> None:
        frame, self._frame = self._frame, []
        if frame:
            self._arrive(lambda: self._deliver(frame))

    def _deliver(self, frame: list[list[Any]]) -> None:
        self._world.look()
        for message in frame:
            self._receive(message)

    def _arrive(self, callback: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        self._latest = max(self._latest + 1e-7, loop.time() + self._world.latency())
        loop.call_at(self._latest, callback)


class NodeStream:
    """What a `Session` takes for its `FrameStream`: the node's end of a process's stream."""

    def __init__(
        self, accept: Callable[[Any], Any], world: Surroundings, to_process: Callable[[list[Any]], None]
    ) -> None:
        self._session = accept(self)
        self._down = OneWay(world, to_process)
        self.up = OneWay(world, lambda message: self._session.on_message(self, message))
        self._over = self.closed_here = False

    def send(self, message: tuple[Any, ...]) -> None:
        self._down.send(message)

    def close(self, error: Exception | None = None) -> None:
        """By the node."""
        self.closed_here = not self._over
        self._down.closed = True
        self._ended()

    def process_died(self) -> None:
        self._down.closed = True
        self.up.close(self._ended)

    def _ended(self) -> None:
        if not self._over:
            self._over = True
            asyncio.get_running_loop().call_soon(self._session.on_close, self, None)
