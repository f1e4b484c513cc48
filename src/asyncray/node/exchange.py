"""Streams between node managers, on which they agree about copies of objects: dialled when needed, closed when idle."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final

from asyncray import messages
from asyncray.bounded import Remembered
from asyncray.config import Config
from asyncray.errors import ConnectionFailed, NodeDiedError, ProtocolError
from asyncray.messages import Message
from asyncray.platform import Platform
from asyncray.rpc.network import Channel
from asyncray.rpc.service import Manager
from asyncray.rpc.stream import FrameStream

_log = logging.getLogger(__name__)

ROUTE = "/asyncray.Node/Exchange"

_DEAD_KEPT: Final = 10_000
_REDIAL: Final = (0.1, 0.3, 1.0, 3.0)
"""Seconds before a node that must be told something is dialled again; the last, until it is known to be dead."""
_MOST_REDIALS: Final = 600
"""Half an hour, and more. The control plane would have said that such a node is dead, unless it does not know it; and
what a node has not been told leaves it with copies that it can evict."""

Handler = Callable[..., None]


class ExchangeLink:
    """Another node, while there is a stream with it or one is being dialled.

    Both sides may dial at the same time: each sends on the stream that it had first. What is sent before there is one
    waits for it. The end of either stream ends the link.
    """

    def __init__(self, node_id: bytes, address: str) -> None:
        self.node_id = node_id
        self.address = address
        self.stream: FrameStream | None = None
        self.streams: list[FrameStream] = []
        self.channel: Channel | None = None
        """Of the stream that was dialled here."""
        self.lost = False
        self.used_at = 0.0
        self._backlog: list[Message] = []

    def send(self, *message: Any) -> None:
        self.used_at = asyncio.get_running_loop().time()
        if self.stream is not None:
            self.stream.send(message)
        elif not self.lost:
            self._backlog.append(message)

    def attach(self, stream: FrameStream) -> None:
        if self.lost:  # while it was dialled
            stream.close()
            return
        self.streams.append(stream)
        if self.stream is None:
            self.stream = stream
            for message in self._backlog:
                stream.send(message)
            self._backlog = []

    def close(self) -> None:
        self.lost = True
        for stream in self.streams:
            stream.close()
        if self.channel is not None:
            self.channel.close()
        self.streams, self._backlog, self.stream, self.channel = [], [], None, None


@dataclass(slots=True, eq=False)
class _Untold:
    """What a node must be told, whatever happens to links."""

    address: str
    messages: dict[int, Message] = field(default_factory=dict)
    """By sequence, until they are acknowledged."""
    redials: int = 0
    timer: asyncio.TimerHandle | None = None

    def stop(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class _Receiver:
    """Receives for one stream; the node behind it is known from its HELLO, or from having been dialled."""

    def __init__(self, exchange: Exchange, link: ExchangeLink | None) -> None:
        self._exchange = exchange
        self._link = link

    def on_message(self, stream: FrameStream, message: list[Any]) -> None:
        link = self._link
        if link is None:
            if message[0] != messages.HELLO:
                stream.close(ProtocolError("a stream between nodes begins with HELLO"))
            else:
                self._link = self._exchange.accepted(message[1], stream)
        elif link.lost:
            stream.close()
        else:
            self._exchange.received(link, stream, message)

    def on_close(self, stream: FrameStream, error: Exception | None) -> None:
        if self._link is not None:
            self._exchange.lose(self._link, error)


class Exchange(Manager):
    """All links of this node with others."""

    def __init__(self, node_id: bytes, node_address: Callable[[], str], platform: Platform, config: Config) -> None:
        self._node_id = node_id
        self._node_address = node_address
        self._platform = platform
        self._config = config
        self._links: dict[bytes, ExchangeLink] = {}
        self._dead: Remembered[bytes, None] = Remembered(_DEAD_KEPT)
        self._untold: dict[bytes, _Untold] = {}
        self._sequences = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._idle_timer: asyncio.TimerHandle | None = None
        self._stopping = False
        self.handlers: dict[int, Handler] = {messages.DROPPED: self._on_dropped}
        """Called with the link, then the fields of the message."""
        self.is_busy: Callable[[bytes], bool] = lambda node_id: False
        """Whether something is under way with a node, so that an idle link is kept."""
        self.on_lost: list[Callable[[ExchangeLink, Exception], None]] = []
        self.on_death: list[Callable[[bytes], None]] = []
        """Called with the id of a node that the control plane has said to be dead."""
        self.streams = {ROUTE: lambda stream: _Receiver(self, None)}

    async def stop(self) -> None:
        self._stopping = True
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        for untold in self._untold.values():
            untold.stop()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for link in list(self._links.values()):
            self.lose(link, None)

    # ------------------------------------------------------------------ sending

    def link(self, node_id: bytes, address: str) -> ExchangeLink:
        """The link with a node, dialled if there is none. It is lost already if the node is dead."""
        link = self._links.get(node_id)
        if link is None:
            link = ExchangeLink(node_id, address)
            if self._stopping or self.is_dead(node_id):
                link.lost = True
                return link
            self._links[node_id] = link
            self._spawn(self._dial(link), f"dial node {node_id.hex()[:8]}")
        return link

    def find(self, node_id: bytes) -> ExchangeLink | None:
        return self._links.get(node_id)

    def is_dead(self, node_id: bytes) -> bool:
        return node_id in self._dead

    def drop(self, node_id: bytes, address: str, keys: list[bytes], *, freed: bool) -> None:
        """Sends DROP, and again if the link is lost, until the node has acknowledged it or is dead."""
        if self.is_dead(node_id) or self._stopping:
            return
        message = (messages.DROP, next(self._sequences), keys, freed)
        untold = self._untold.setdefault(node_id, _Untold(address))
        untold.messages[message[1]] = message
        if untold.timer is None:
            self.link(node_id, address).send(*message)

    # ---------------------------------------------------------------- receiving

    def accepted(self, address: list[Any], stream: FrameStream) -> ExchangeLink:
        node_id = address[0]
        link = self._links.get(node_id)
        if self.is_dead(node_id):
            link = ExchangeLink(node_id, address[3])
            link.lost = True
        elif link is None:
            link = self._links[node_id] = ExchangeLink(node_id, address[3])
        stream.watch()
        self._touch(link)
        link.attach(stream)
        return link

    def received(self, link: ExchangeLink, stream: FrameStream, message: list[Any]) -> None:
        handler = self.handlers.get(message[0])
        if handler is None:
            stream.close(ProtocolError(f"message {message[0]} does not belong on a stream between nodes"))
            return
        self._touch(link)
        handler(link, *message[1:])

    def lose(self, link: ExchangeLink, error: Exception | None) -> None:
        """The link has ended: whoever needs the node dials again."""
        if self._links.get(link.node_id) is not link:
            return
        del self._links[link.node_id]
        link.close()
        cause = error or ConnectionFailed("the connection was closed by the other node")
        for callback in self.on_lost:
            callback(link, cause)
        untold = self._untold.get(link.node_id)
        if untold is not None and untold.redials >= _MOST_REDIALS:
            _log.warning(
                "node %s is told no more which copies it can drop: it cannot be reached", link.node_id.hex()[:8]
            )
            untold.stop()
            del self._untold[link.node_id]
        elif untold is not None and not self._stopping:
            pause = _REDIAL[min(untold.redials, len(_REDIAL) - 1)]
            untold.redials += 1
            untold.stop()
            untold.timer = asyncio.get_running_loop().call_later(pause, self._tell_again, link.node_id, untold)

    def node_died(self, node_id: bytes) -> None:
        """As the control plane says."""
        self._dead[node_id] = None
        untold = self._untold.pop(node_id, None)
        if untold is not None:
            untold.stop()
        link = self._links.get(node_id)
        if link is not None:
            self.lose(link, NodeDiedError("the node is dead"))
        for callback in self.on_death:
            callback(node_id)

    # ---------------------------------------------------------------- internals

    def _on_dropped(self, link: ExchangeLink, sequence: int) -> None:
        untold = self._untold.get(link.node_id)
        if untold is not None:
            untold.messages.pop(sequence, None)
            if not untold.messages:
                untold.stop()
                del self._untold[link.node_id]

    def _tell_again(self, node_id: bytes, untold: _Untold) -> None:
        untold.timer = None
        link = self.link(node_id, untold.address)
        for message in untold.messages.values():
            link.send(*message)

    def _touch(self, link: ExchangeLink) -> None:
        loop = asyncio.get_running_loop()
        link.used_at = loop.time()
        if self._idle_timer is None and not self._stopping:
            self._idle_timer = loop.call_later(self._config.exchange_idle_timeout, self._close_idle)

    def _close_idle(self) -> None:
        """The side that has dialled closes. What the other sends at this moment is lost with the link, as it may be
        at any time."""
        self._idle_timer = None
        loop = asyncio.get_running_loop()
        timeout = self._config.exchange_idle_timeout
        for link in list(self._links.values()):
            idle = loop.time() - link.used_at >= timeout
            busy = link.node_id in self._untold or self.is_busy(link.node_id)
            if idle and not busy and link.channel is not None and link.stream is not None:
                self.lose(link, None)
        if self._links:
            self._idle_timer = loop.call_later(timeout, self._close_idle)

    async def _dial(self, link: ExchangeLink) -> None:
        hello = (messages.HELLO, [self._node_id, self._node_id, "", self._node_address()], "node")
        try:
            channel = await self._platform.network.connect(link.address, keepalive=True)
            try:
                stream = await channel.open(ROUTE, _Receiver(self, link), hello)
            except BaseException:
                channel.close()
                raise
        except Exception as error:  # an address that another node has told may be anything
            _log.debug("cannot reach node %s at %s: %s", link.node_id.hex()[:8], link.address, error)
            if link.stream is None:  # else the other side has dialled meanwhile
                self.lose(link, error)
            return
        if link.lost:
            stream.close()
            channel.close()
            return
        link.channel = channel
        self._touch(link)
        link.attach(stream)

    def _spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
