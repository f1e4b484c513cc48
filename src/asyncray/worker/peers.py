"""Links with the other processes that run user code: one per process, dialled when first needed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from asyncray import messages
from asyncray.errors import AsyncrayError, NodeDiedError, ProtocolError
from asyncray.messages import Address, Message
from asyncray.rpc.network import Channel
from asyncray.rpc.stream import FrameStream

if TYPE_CHECKING:
    from asyncray.worker.runtime import Runtime
    from asyncray.worker.task import Template

_log = logging.getLogger(__name__)

ROUTE = "/asyncray.Peer/Session"

Handler = Callable[..., None]

_FEW_TEMPLATES: Final = 8
"""Up to so many a tuple is searched as fast as a set, and takes a third of the memory."""


class PeerLink:
    """Another process. What is sent before the stream is there waits for it.

    Both sides may dial at the same time; each then sends on the stream that it had first, for as long as
    that lives, so that the messages of one direction keep their order. The end of either stream means that
    the process is gone.
    """

    # In a large cluster a process has thousands of links: with slots, and without what few of them need, each takes a
    # third.
    __slots__ = (
        "_backlog",
        "_waiting",
        "address",
        "channel",
        "leased",
        "lost",
        "process_id",
        "received_templates",
        "stream",
        "streams",
        "templates",
    )

    def __init__(self, address: Address) -> None:
        self.address = address
        self.process_id: bytes = address[0]
        self.stream: FrameStream | None = None
        """On which to send."""
        self.streams: list[FrameStream] = []
        """Two when both sides have dialled."""
        self.channel: Channel | None = None
        """Of the stream that was dialled here."""
        self.templates: tuple[int, ...] | set[int] = ()
        """Numbers of the templates that the other side has been told."""
        self.received_templates: dict[int, Any] = {}
        """What the other side has told of its templates."""
        self.leased = False
        """Whether the other side, a worker, has been told of this process's job."""
        self.lost = False
        self._backlog: list[Message] = []
        self._waiting: list[Callable[[], None]] | None = None

    def when_open(self, callback: Callable[[], None]) -> None:
        """Calls back when what has been sent so far is on its way, or never will be."""
        if self.stream is not None or self.lost:
            callback()
        else:
            self._waiting = [*(self._waiting or ()), callback]

    def send(self, message: Message) -> None:
        stream = self.stream
        if stream is not None:
            stream.send(message)
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
            self._settle()

    def close(self) -> None:
        """Ends all of its streams: the other side must not go on with one of which this side knows nothing more."""
        for stream in self.streams:
            stream.close()
        self.streams = []
        self._backlog = []
        if self.channel is not None:
            self.channel.close()
            self.channel = None
        self._settle()

    def _settle(self) -> None:
        waiting, self._waiting = self._waiting, None
        for callback in waiting or ():
            callback()

    def tell(self, template: Template) -> None:
        """Makes sure that the other side knows the template."""
        if template.number not in self.templates:
            if isinstance(self.templates, set):
                self.templates.add(template.number)
            elif len(self.templates) < _FEW_TEMPLATES:
                self.templates = (*self.templates, template.number)
            else:
                self.templates = {*self.templates, template.number}
            fields = (template.number, template.function_id, template.name, template.num_returns, template.is_method)
            self.send((messages.TEMPLATE, *fields))


class _PeerStream:
    """Receives for one stream; the process behind it is known from its HELLO, or from having been dialled."""

    __slots__ = ("_link", "_peers")

    def __init__(self, peers: Peers, link: PeerLink | None) -> None:
        self._peers = peers
        self._link = link

    def on_message(self, stream: FrameStream, message: list[Any]) -> None:
        link = self._link
        if link is None:
            if message[0] != messages.HELLO:
                stream.close(ProtocolError("a peer stream begins with HELLO"))
                return
            self._link = self._peers.accepted(message[1], stream)
            return
        if link.lost:
            stream.close()
            return
        handler = self._peers.handlers.get(message[0])
        if handler is None:
            stream.close(ProtocolError(f"message {message[0]} does not belong on a peer stream"))
            return
        handler(link, *message[1:])

    def on_close(self, stream: FrameStream, error: Exception | None) -> None:
        if self._link is not None:
            self._peers.lose(self._link, error)


class Peers:
    """All links of this process."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._links: dict[bytes, PeerLink] = {}
        self.handlers: dict[int, Handler] = {}
        self.on_lost: list[Callable[[PeerLink, str], None]] = []
        self.streams = {ROUTE: lambda stream: _PeerStream(self, None)}

    def link(self, address: Address) -> PeerLink:
        """The link with the process at `address`, dialled if there is none."""
        link = self._links.get(address[0])
        if link is None and self._runtime.stopping:
            link = PeerLink(address)
            link.lost = True
        elif link is None:
            link = self._links[address[0]] = PeerLink(address)
            self._runtime.ownership.process_connected(link.process_id)
            self._runtime.spawn(self._dial(link), name=f"dial {link.process_id.hex()[:8]}")
        return link

    def find(self, process_id: bytes) -> PeerLink | None:
        return self._links.get(process_id)

    def accepted(self, address: Address, stream: FrameStream) -> PeerLink:
        link = self._links.get(address[0])
        if link is None:
            link = self._links[address[0]] = PeerLink(address)
            self._runtime.ownership.process_connected(link.process_id)
        link.attach(stream)
        return link

    def node_died(self, node_id: bytes) -> None:
        """Every process there is gone, though the end of its connection may take the kernel minutes to find."""
        for link in list(self._links.values()):
            if link.address[1] == node_id:
                self.lose(link, NodeDiedError(f"its node {node_id.hex()[:8]} is dead"))

    def lose(self, link: PeerLink, error: Exception | None) -> None:
        """The process is gone, or out of reach: everything that depends on it is told, once."""
        if link.lost:
            return
        link.lost = True
        if self._links.get(link.process_id) is link:
            del self._links[link.process_id]
        link.close()
        cause = str(error) if error else "its connection ended"
        for callback in self.on_lost:
            callback(link, cause)

    def close(self) -> None:
        for link in list(self._links.values()):
            self.lose(link, None)

    async def _dial(self, link: PeerLink) -> None:
        try:
            link.channel = channel = await self._runtime.platform.network.connect(self._runtime.endpoint(link.address))
            hello = (messages.HELLO, self._runtime.address, self._runtime.role)
            stream = await channel.open(ROUTE, _PeerStream(self, link), hello)
        except (AsyncrayError, OSError) as error:
            _log.debug("cannot reach process %s: %s", link.process_id.hex()[:8], error)
            if link.stream is None:  # else the other side has dialled meanwhile
                self.lose(link, error)
            return
        link.attach(stream)
        if link.lost:
            link.close()
