"""Links with the other processes that run user code: one per process, dialled when first needed, ended when idle."""

from __future__ import annotations

import logging
from collections.abc import Callable, Container
from typing import TYPE_CHECKING, Any, Final

from asyncray import messages
from asyncray.errors import NodeDiedError, ProtocolError
from asyncray.messages import Address, Message
from asyncray.rpc.network import Channel
from asyncray.rpc.stream import Accept, FrameStream
from asyncray.worker.parting import Parting

if TYPE_CHECKING:
    from asyncray.worker.runtime import Runtime
    from asyncray.worker.task import Template

_log = logging.getLogger(__name__)

ROUTE = "/asyncray.Peer/Session"

Handler = Callable[..., None]

_FEW_TEMPLATES: Final = 8
"""Up to so many a tuple is searched as fast as a set, and takes a third of the memory."""

_LOOKS: Final = 3
"""So many looks in a row must find a link idle before this process asks to part."""


class PeerLink(Parting[FrameStream]):
    """Another process. What is sent before the stream is there waits for it.

    Both sides may dial at the same time; each then sends on the stream that it had first, for as long as
    that lives, so that the messages of one direction keep their order. Who has sent anything with the opening of a
    stream, to save a round trip, has that one. The end of either stream means that the process is gone, unless the
    two have agreed to part.
    """

    # In a large cluster a process has thousands of links: with slots, and without what few of them need, each takes a
    # third.
    __slots__ = (
        "_backlog",
        "_waiting",
        "address",
        "calls",
        "channel",
        "counted",
        "dialling",
        "early",
        "idle",
        "leased",
        "lost",
        "process_id",
        "received_templates",
        "stream",
        "templates",
    )

    def __init__(self, address: Address) -> None:
        super().__init__()
        self.address = address
        self.process_id: bytes = address[0]
        self.stream: FrameStream | None = None
        """On which to send; None also while the other side has been asked to part."""
        self.channel: Channel | None = None
        """Of the stream that was dialled here."""
        self.dialling = False
        self.early = False
        """Whether something has been sent with the opening of a stream that is not there yet."""
        self.calls = 0
        """Calls of the other side that have not been answered."""
        self.counted = 0
        """Messages either way, when they were last counted."""
        self.idle = 0
        """How often in a row there were no new ones."""
        self.templates: tuple[int, ...] | set[int] = ()
        """Numbers of the templates that the other side has been told."""
        self.received_templates: dict[int, Any] | None = None
        """What the other side has told of its templates."""
        self.leased = False
        """Whether the other side, a worker, has been told of this process's job."""
        self.lost = False
        """It has ended, one way or another."""
        self._backlog: list[Message] | None = None
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
            self.sent += 1
            stream.send(message)
        elif not self.lost:
            if self._backlog is None:
                self._backlog = []
            self._backlog.append(message)

    def attach(self, stream: FrameStream) -> None:
        if self.lost:  # while it was dialled
            stream.close()
        elif self.came(stream) and self.stream is None and not self.early:
            self._use(stream)

    def take_early(self) -> list[Message]:
        """What is to be sent with the opening of a stream, when there is none yet; what comes after that follows it."""
        if self.stream is not None or self.asked is not None:
            return []
        backlog, self._backlog = self._backlog or [], None
        self.early = bool(backlog)
        self.sent += len(backlog)
        return backlog

    def close(self) -> None:
        """Ends all of its streams: the other side must not go on with one of which this side knows nothing more."""
        for stream in (*self.streams, *self.late):
            stream.close()
        self.streams, self.late, self.asked = (), (), None
        self._backlog = None
        if self.channel is not None:
            self.channel.close()
            self.channel = None
        self._settle()

    @property
    def has_backlog(self) -> bool:
        return bool(self._backlog)

    def ask_to_part(self) -> None:
        stream = self.stream
        assert stream is not None
        stream.send((messages.PART, self.received, len(self.streams)))
        self.ask(stream)
        self.stream = None
        self.templates, self.leased = (), False  # of what is sent from now on the other side may know nothing

    def stay(self) -> None:
        """The other side does not want to part."""
        stream = self.refused()
        if stream is not None:
            self._use(stream)

    def begin_anew(self) -> bool:
        """The two have parted. Whether there is something for the next link already; if not, this is the end."""
        if self.streams:
            self._use(self.streams[0])
            return True
        self.received_templates = None
        self.lost = not self._backlog
        if self.lost:
            self.stream = None
            self._settle()
        return not self.lost

    def _use(self, stream: FrameStream) -> None:
        self.stream = stream
        backlog, self._backlog = self._backlog, None
        for message in backlog or ():
            self.sent += 1
            stream.send(message)
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
        if handler is not None:
            link.heard(stream)
            handler(link, *message[1:])
        elif (parting := self._peers.partings.get(message[0])) is not None:
            parting(link, stream, *message[1:])
        else:
            stream.close(ProtocolError(f"message {message[0]} does not belong on a peer stream"))

    def on_close(self, stream: FrameStream, error: Exception | None) -> None:
        if self._link is not None:
            self._peers.lose(self._link, error)


class _Farewell:
    """Receives for the streams of a link that is over, until they have ended."""

    __slots__ = ("_all", "_channel", "_streams", "node_id")

    def __init__(self, everything: dict[_Farewell, None], link: PeerLink, streams: tuple[FrameStream, ...]) -> None:
        self._all = everything
        self._streams = streams
        self._channel, link.channel = link.channel, None
        self.node_id: bytes = link.address[1]
        everything[self] = None
        for stream in streams:
            stream.receiver = self

    def on_message(self, stream: FrameStream, message: list[Any]) -> None:
        if message[0] == messages.PARTED:  # both have asked, and agreed
            self.close()

    def on_close(self, stream: FrameStream, error: Exception | None) -> None:
        self.close()

    def close(self) -> None:
        if self in self._all:
            del self._all[self]
            for stream in self._streams:
                stream.close()
            if self._channel is not None:
                self._channel.close()


class Peers:
    """All links of this process."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._links: dict[bytes, PeerLink] = {}
        self._farewells: dict[_Farewell, None] = {}
        self._next_look = 0.0
        self.handlers: dict[int, Handler] = {}
        self.partings: dict[int, Handler] = {
            messages.PART: self._on_part,
            messages.PARTED: self._on_parted,
            messages.STAY: self._on_stay,
        }
        self.needed: list[Callable[[], Container[bytes]]] = []
        """Each says with which processes a link must last, for a death to be noticed, or for an answer to come."""
        self.on_lost: list[Callable[[PeerLink, str], None]] = []
        self.on_parted: list[Callable[[PeerLink], None]] = []
        """A link has ended, and its process lives: another one can be dialled."""
        self.streams: dict[str, Accept] = {ROUTE: self._accept}

    def link(self, address: Address) -> PeerLink:
        """The link with the process at `address`, dialled if there is none."""
        link = self._links.get(address[0])
        if link is None and self._runtime.stopping:
            link = PeerLink(address)
            link.lost = True
        elif link is None:
            link = self._links[address[0]] = PeerLink(address)
            self._runtime.ownership.process_connected(link.process_id)
            self._begin_to_dial(link)
        return link

    def find(self, process_id: bytes) -> PeerLink | None:
        return self._links.get(process_id)

    def accepted(self, address: Address, stream: FrameStream) -> PeerLink:
        link = self._links.get(address[0])
        if link is None:
            link = PeerLink(address)
            link.lost = self._runtime.stopping
            if not link.lost:
                self._links[address[0]] = link
                self._runtime.ownership.process_connected(link.process_id)
        link.attach(stream)
        return link

    def _accept(self, stream: FrameStream) -> _PeerStream:
        return _PeerStream(self, None)

    def node_died(self, node_id: bytes) -> None:
        """Every process there is gone, though the end of its connection may take the kernel minutes to find."""
        for link in list(self._links.values()):
            if link.address[1] == node_id:
                self.lose(link, NodeDiedError(f"its node {node_id.hex()[:8]} is dead"))
        for farewell in list(self._farewells):
            if farewell.node_id == node_id:
                farewell.close()

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
        for farewell in list(self._farewells):
            farewell.close()

    def sweep(self, now: float) -> None:
        """Asks those to part with whom there has been nothing to do for a while."""
        if now < self._next_look:
            return
        self._next_look = now + self._runtime.config.link_idle_timeout / (_LOOKS - 1)
        needed = None
        for link in list(self._links.values()):
            count = link.sent + link.received
            link.idle = link.idle + 1 if link.counted == count else 0
            link.counted = count
            if link.idle >= _LOOKS - 1 and link.stream is not None:
                if needed is None:
                    needed = [processes() for processes in self.needed]
                if self._is_free(link, needed):
                    link.ask_to_part()

    def _is_free(self, link: PeerLink, needed: list[Container[bytes]]) -> bool:
        """Whether nothing needs the link."""
        busy = link.dialling or link.calls or link.has_backlog
        return not busy and not any(link.process_id in processes for processes in needed)

    def _on_part(self, link: PeerLink, stream: FrameStream, received: int, streams: int) -> None:
        free = self._is_free(link, [processes() for processes in self.needed])
        agrees = link.agrees(stream, received, streams, free=free)
        stream.send((messages.PARTED if agrees else messages.STAY,))
        if agrees:
            self._part(link)

    def _on_parted(self, link: PeerLink, stream: FrameStream) -> None:
        if link.asked is None:
            stream.close(ProtocolError("a process parts that was not asked to"))
        else:
            self._part(link).close()

    def _on_stay(self, link: PeerLink, stream: FrameStream) -> None:
        link.stay()

    def _part(self, link: PeerLink) -> _Farewell:
        """The link is over, and its process not lost. What is there for the next one goes on with that."""
        farewell = _Farewell(self._farewells, link, link.parted())
        if not link.begin_anew():
            del self._links[link.process_id]
            for callback in self.on_parted:
                callback(link)
        elif link.stream is None:
            self._begin_to_dial(link)
        return farewell

    def _begin_to_dial(self, link: PeerLink) -> None:
        link.dialling = True
        self._runtime.spawn(self._dial(link), name=f"dial {link.process_id.hex()[:8]}")

    async def _dial(self, link: PeerLink) -> None:
        try:
            link.channel = channel = await self._runtime.platform.network.connect(self._runtime.endpoint(link.address))
            hello = (messages.HELLO, self._runtime.address, self._runtime.role)
            stream = await channel.open(ROUTE, _PeerStream(self, link), hello, *link.take_early())
        except Exception as error:  # an address that another process has told may be anything
            _log.debug("cannot reach process %s: %s", link.process_id.hex()[:8], error)
            link.dialling = False
            if link.stream is None:  # else the other side has dialled meanwhile
                self.lose(link, error)
            if link.channel is not None:
                link.channel.close()
                link.channel = None
            return
        link.dialling = link.early = False
        link.attach(stream)
        if link.lost:
            link.close()
