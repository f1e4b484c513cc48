"""Two processes' `Peers`, and connections between them that a test moves on, a packet at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Coroutine, Generator
from types import SimpleNamespace
from typing import Any

from asyncray import messages
from asyncray.config import Config
from asyncray.errors import ConnectionFailed
from asyncray.worker.peers import ROUTE, PeerLink, Peers

_TAKEN = "taken"
_END = "end"
_LOOK = Config().link_idle_timeout


class Stream:
    """One end. What it sends lies in a queue until the test delivers it."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self.receiver: Any = None
        self.other: Stream
        self.sent: deque[Any] = deque()
        self.closed = False

    def send(self, message: Any) -> None:
        if not self.closed:
            self.sent.append(list(message))

    def close(self, error: Exception | None = None) -> None:
        assert error is None, error
        if not self.closed:
            self.closed = True
            self.sent.append(_END)
            self.side.world.ended.append(self)

    def deliver(self) -> None:
        """The first packet that this end has sent arrives at the other."""
        packet, other = self.sent.popleft(), self.other
        if other.closed:
            return
        if packet == _END:
            other.closed = True
            other.side.world.ended.append(other)
        elif packet == _TAKEN:
            other.side.dials[other] = True
        else:
            if other.receiver is None:
                other.receiver = other.side.peers.streams[ROUTE](other)  # type: ignore[arg-type]
                other.sent.append(_TAKEN)
            other.receiver.on_message(other, packet)


class _Step:
    def __await__(self) -> Generator[None, None, None]:
        yield


class Channel:
    """A connection with one stream."""

    def __init__(self, side: Side, near: Stream) -> None:
        self._side = side
        self._near = near
        self.stream: Stream | None = None

    async def open(self, route: str, receiver: Any, *first: Any) -> Stream:
        near, far = self._near, Stream(self._side.other)
        near.other, far.other, near.receiver = far, near, receiver
        self.stream = near
        self._side.world.streams += [near, far]
        for message in first:
            near.send(message)
        await _Step()
        if near.closed:
            raise ConnectionFailed("cut")
        return near

    def close(self) -> None:
        if self.stream is not None:
            self.stream.close()


class Side:
    """One process."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.other: Side
        self.address: list[Any] = [name.encode().ljust(16), bytes(16), f"/{name}", ""]
        self.dials: dict[Stream, bool] = {}
        """Those under way, and whether they can go on."""
        self._connecting: Stream
        self._coroutines: dict[Stream, Coroutine[Any, Any, Any]] = {}
        self.needed: set[bytes] = set()
        self.received: list[int] = []
        self.sent: list[int] = []
        self.lost = 0
        self._now = 0.0
        runtime: Any = SimpleNamespace(
            platform=SimpleNamespace(network=self),
            config=Config(),
            ownership=SimpleNamespace(process_connected=lambda process_id: None),
            endpoint=lambda address: "",
            address=self.address,
            role="worker",
            stopping=False,
            spawn=self._spawn,
        )
        self.peers = Peers(runtime)
        self.peers.needed.append(lambda: self.needed)
        self.peers.handlers[messages.COPY] = self._on_message
        self.peers.on_lost.append(self._on_lost)

    async def connect(self, target: str) -> Channel:
        self._connecting = near = Stream(self)
        await _Step()
        return Channel(self, near)

    def send(self, *, wants_answer: bool = False) -> None:
        self._send(self.peers.link(self.other.address), wants_answer)

    def look(self) -> None:
        """As the sweep does from time to time."""
        self._now += _LOOK
        self.peers.sweep(self._now)

    def set_needed(self, *, needed: bool) -> None:
        self.needed = {self.other.address[0]} if needed else set()

    def resume(self, stream: Stream) -> None:
        """A dial has its connection, and opens the stream; or returns, or fails."""
        del self.dials[stream]
        opened = stream.receiver is not None
        try:
            self._coroutines[stream].send(None)
        except StopIteration:
            del self._coroutines[stream]
            return
        assert not opened, "it has dialled a second time"
        self.dials[stream] = False

    def _spawn(self, coroutine: Coroutine[Any, Any, Any], *, name: str) -> None:
        coroutine.send(None)
        self._coroutines[self._connecting] = coroutine
        self.dials[self._connecting] = True

    def _send(self, link: PeerLink, wants_answer: bool) -> None:
        self.sent.append(len(self.sent))
        link.send((messages.COPY, self.sent[-1], wants_answer))

    def _on_message(self, link: PeerLink, number: int, wants_answer: bool) -> None:
        self.received.append(number)
        if wants_answer:
            self._send(link, False)

    def _on_lost(self, link: PeerLink, cause: str) -> None:
        self.lost += 1


class World:
    """Both processes."""

    def __init__(self) -> None:
        self.streams: list[Stream] = []
        self.ended: deque[Stream] = deque()
        """Whose receivers have not been told yet."""
        self.sides = [Side(self, "one"), Side(self, "two")]
        self.sides[0].other, self.sides[1].other = self.sides[1], self.sides[0]

    def can_deliver(self) -> list[Stream]:
        return [stream for stream in self.streams if stream.sent]

    def can_resume(self) -> list[tuple[Side, Stream]]:
        return [(side, stream) for side in self.sides for stream, ready in side.dials.items() if ready or stream.closed]

    def tell_ended(self) -> None:
        """What the loop does in its next turn."""
        while self.ended:
            stream = self.ended.popleft()
            if stream.receiver is not None and stream not in stream.side.dials:
                stream.receiver.on_close(stream, None)

    def cut(self, stream: Stream) -> None:
        """The connection breaks; what is under way on it is lost."""
        for end in (stream, stream.other):
            end.sent.clear()
            if not end.closed:
                end.closed = True
                self.ended.append(end)

    def settle(self) -> None:
        """Everything arrives."""
        while True:
            self.tell_ended()
            if deliverable := self.can_deliver():
                deliverable[0].deliver()
            elif resumable := self.can_resume():
                resumable[0][0].resume(resumable[0][1])
            else:
                return

    def rest(self) -> None:
        """For a long time nobody needs anything."""
        for side in self.sides:
            side.set_needed(needed=False)
        self.settle()
        for _ in range(5):
            for side in self.sides:
                side.look()
            self.settle()

    def is_at_rest(self) -> bool:
        """Whether nothing is left of any link."""
        nothing = not any(side.peers._links or side.peers._farewells or side.dials for side in self.sides)
        return nothing and all(stream.closed for stream in self.streams)
