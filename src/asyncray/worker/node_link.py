"""Streams with node managers: this process's own, and those of other nodes that it leases workers from."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from asyncray import messages
from asyncray.errors import NodeDiedError, ProtocolError
from asyncray.messages import Message
from asyncray.rpc.network import Channel
from asyncray.rpc.stream import FrameStream

if TYPE_CHECKING:
    from asyncray.worker.runtime import Runtime

ROUTE = "/asyncray.Node/Session"

Handler = Callable[..., None]

_LOOKS: Final = 3
"""So many looks in a row must find a link to be of no use before it ends."""


class NodeLink:
    """The stream with one node manager. `target` is where it was dialled."""

    __slots__ = (
        "_backlog",
        "_leaving",
        "_next_request",
        "_nodes",
        "_requests",
        "address",
        "arena",
        "channel",
        "lost",
        "node_id",
        "stream",
        "target",
        "unused",
        "welcomed",
    )

    def __init__(self, nodes: Nodes, target: str) -> None:
        self._nodes = nodes
        self.target = target
        self.stream: FrameStream | None = None
        self.channel: Channel | None = None
        self.node_id = b""
        self.address = ""
        self.arena: tuple[str, int, int, str] = ("", 0, 0, "")
        """What the platform attaches to: path and capacity, bytes and path of the overflow."""
        self.welcomed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.lost = False
        """It has ended, one way or another."""
        self.unused = 0
        """How often in a row it was found to be of no use."""
        self._leaving = 0
        """Number of the LEAVE after which nothing was sent."""
        self._requests: dict[int, asyncio.Future[list[Any]]] = {}
        self._next_request = 0
        self._backlog: list[Message] = []

    @property
    def awaits_answers(self) -> bool:
        return bool(self._requests) or self.stream is None

    def send(self, *message: Any) -> None:
        self.unused = self._leaving = 0
        if self.stream is not None:
            self.stream.send(message)
        elif not self.lost:
            self._backlog.append(message)

    async def request(self, kind: int, *fields: Any) -> list[Any]:
        """Sends a message that carries a request number, and waits for its answer's other fields.

        Raises NodeDiedError.
        """
        _, answer = self.ask(kind, *fields)
        return await answer

    def ask(self, kind: int, *fields: Any) -> tuple[int, asyncio.Future[list[Any]]]:
        """The same for those that want to take it back by its number. Shield the answer, or it goes unheard."""
        self._next_request += 1
        number = self._next_request
        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        if self.lost:
            future.set_exception(NodeDiedError(f"the node at {self.target} is gone"))
        else:
            self._requests[number] = future
            self.send(kind, number, *fields)
        return number, future

    def answered(self, number: int, *fields: Any) -> None:
        """Hands an answer to its request."""
        future = self._requests.pop(number, None)
        if future is not None and not future.done():
            future.set_result(list(fields))

    def leave(self) -> None:
        """Asks for the end of the link, which comes with the answer, unless something else is sent before."""
        self._next_request += 1
        self.send(messages.LEAVE, self._next_request)
        self._leaving = self._next_request

    def left(self, number: int) -> bool:
        """The node has answered a LEAVE, so that all that was sent before has arrived. Whether the link is over now."""
        if number != self._leaving:
            return False
        self.lost = True
        if self.stream is not None:
            self.stream.close()
        if self.channel is not None:
            self.channel.close()
        return True

    def take_backlog(self) -> list[Message]:
        """What is to be sent with the opening of the stream; what comes after that follows it."""
        backlog, self._backlog = self._backlog, []
        return backlog

    def opened(self, channel: Channel, stream: FrameStream) -> None:
        if self.lost:  # while it was dialled
            channel.close()
            return
        self.channel, self.stream = channel, stream
        for message in self.take_backlog():
            stream.send(message)

    def on_message(self, stream: FrameStream, message: list[Any]) -> None:
        if message[0] == messages.WELCOME:
            _, self.node_id, self.address, *arena = message
            self.arena = tuple(arena)
            if not self.welcomed.done():
                self.welcomed.set_result(None)
            return
        handler = self._nodes.handlers.get(message[0])
        if handler is None:
            stream.close(ProtocolError(f"message {message[0]} does not belong on a node's stream"))
            return
        handler(self, *message[1:])

    def on_close(self, stream: FrameStream, error: Exception | None) -> None:
        self.fail(error)

    def fail(self, error: Exception | None) -> None:
        if self.lost:
            return
        self.lost = True
        self._backlog = []
        if self.channel is not None:
            self.channel.close()
        text = f"the connection with the node at {self.target} ended: {error or 'it stopped'}"
        waiting: list[asyncio.Future[Any]] = [self.welcomed, *self._requests.values()]
        self._requests.clear()
        for future in waiting:
            if not future.done():
                future.set_exception(NodeDiedError(text))  # for each its own: an error keeps what waited for it
                future.exception()  # it may be that nobody waits
        self._nodes.failed(self, NodeDiedError(text))


class Nodes:
    """The own node, and others by their addresses."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._links: dict[str, NodeLink] = {}
        self._next_look = 0.0
        self.handlers: dict[int, Handler] = {messages.LEFT: self._on_left}
        self.on_lost: list[Callable[[NodeLink, NodeDiedError], None]] = []
        self.own: NodeLink | None = None

    async def connect(self, target: str) -> NodeLink:
        """Joins the node of this machine. Raises ConnectionFailed, AuthenticationError."""
        self.own = self._links[target] = NodeLink(self, target)
        try:
            await self._open(self.own)
            await self.own.welcomed
        except BaseException as error:
            self.own.fail(error if isinstance(error, Exception) else None)
            raise
        return self.own

    def other(self, target: str, node_id: bytes = b"") -> NodeLink:
        """The node that listens there, dialled if need be. With its id, its death is heeded before it answers."""
        if self.own is not None and target == self.own.address:  # another node has sent a request home
            return self.own
        link = self._links.get(target)
        if link is None and self._runtime.stopping:
            link = NodeLink(self, target)
            link.lost = True
        elif link is None:
            link = self._links[target] = NodeLink(self, target)
            link.node_id = node_id
            self._runtime.spawn(self._dial(link), name=f"dial node {target}")
        return link

    def find(self, target: str) -> NodeLink | None:
        """The link that was dialled there, if it lives."""
        return self._links.get(target)

    def node_died(self, node_id: bytes) -> None:
        """As the own node has learned from the control plane."""
        for link in self.all():
            if link.node_id == node_id and link is not self.own:
                link.fail(NodeDiedError("it is dead"))

    def failed(self, link: NodeLink, cause: NodeDiedError) -> None:
        if self._links.get(link.target) is link:
            del self._links[link.target]
        for callback in self.on_lost:
            callback(link, cause)

    def all(self) -> list[NodeLink]:
        return list(self._links.values())

    def sweep(self, now: float) -> None:
        """Leaves nodes that have been of no use for a while. What has leases or requests for them there says so."""
        if now < self._next_look:
            return
        self._next_look = now + self._runtime.config.link_idle_timeout / (_LOOKS - 1)
        needed = self._runtime.submitter.leases.nodes_needed()
        for link in self.all():
            if link is self.own or link.awaits_answers or link.target in needed:
                link.unused = 0
                continue
            link.unused += 1
            if link.unused == _LOOKS:  # for the answer there is time
                link.leave()

    def _on_left(self, link: NodeLink, number: int) -> None:
        if link.left(number) and self._links.get(link.target) is link:
            del self._links[link.target]

    def close(self) -> None:
        for link in self.all():
            if link.stream is not None:
                link.stream.close()
            if link.channel is not None:
                link.channel.close()

    async def _dial(self, link: NodeLink) -> None:
        try:
            await self._open(link)
        except Exception as error:  # an address that another node has told may be anything
            link.fail(error)

    async def _open(self, link: NodeLink) -> None:
        runtime = self._runtime
        channel = await runtime.platform.network.connect(link.target)
        hello = (messages.HELLO, runtime.address, runtime.role)
        register = (messages.REGISTER, runtime.pid, runtime.job_id, runtime.job)
        try:
            link.opened(channel, await channel.open(ROUTE, link, hello, register, *link.take_backlog()))
        except BaseException:
            channel.close()
            raise
