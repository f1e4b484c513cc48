"""One end of a simulated connection."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from asyncray.errors import ConnectionFailed
from asyncray.simulation.network.link import Headers, Link, Request
from asyncray.simulation.network.silence import Silence
from asyncray.simulation.network.wire import Wire
from asyncray.simulation.process import Process

if TYPE_CHECKING:
    from asyncray.simulation.network.endpoint import SimulatedEndpoint
    from asyncray.simulation.network.listener import SimulatedListener
    from asyncray.simulation.network.network import SimulatedNetwork
    from asyncray.simulation.network.traffic import Traffic

_CONCURRENT_STREAMS: Final = 1000
"""Calls and streams that may be open on a connection, as in `rpc/http2_connection.py`; more wait at the caller."""


class Connection:
    """What the kernel and HTTP/2 are to a real process, of either side. Its streams end with it."""

    __slots__ = (
        "__weakref__",
        "_loop",
        "_numbers",
        "_endpoint",
        "_oldest",
        "_others",
        "_reason",
        "_silence",
        "_taken",
        "_waiting",
        "closed",
        "heard_at",
        "listener",
        "local_address",
        "network",
        "out",
        "peer",
        "process",
        "remote",
        "traffic",
        "warned",
    )

    out: Wire
    peer: Connection
    traffic: Traffic
    """What has arrived here, and at all other processes of this role from those of the peer's."""

    def __init__(
        self,
        network: SimulatedNetwork,
        endpoint: SimulatedEndpoint,
        remote: str,
        local_address: str,
        listener: SimulatedListener | None = None,
    ) -> None:
        """`listener`: of the accepting end."""
        self.process: Process = endpoint.process
        self.remote = remote
        self.local_address = local_address
        self.listener = listener
        self._oldest: Link | None = None
        """A stream or call that is open, if any is. Most connections have one stream: a dictionary would take 230 bytes
        for it."""
        self._others: dict[int, Link] | None = None
        """Those that have begun later, by number; once there were any."""
        self.closed = False
        self.warned = False
        """Somebody was told that the peer has shown the wrong token."""
        self.network = network
        self._endpoint = endpoint
        self._loop = asyncio.get_running_loop()
        self.heard_at = self._loop.time()
        """When something last came from the peer."""
        self._numbers = 0
        self._taken = 0
        """Of the dialling end: streams and calls that are open, or about to begin."""
        self._waiting: deque[asyncio.Future[None]] | None = None
        """Those for which there was no room, once there was any."""
        self._reason = ""
        self._silence: Silence | None = None
        """Once silence is of interest: of most connections never."""

    # ---- its life

    def lost(self) -> ConnectionFailed:
        """The error for what needs this connection, which is closed."""
        detail = f": {self._reason}" if self._reason else ""
        return ConnectionFailed(f"the connection to {self.remote} was lost{detail}")

    def close(self) -> None:
        """Closes, after what was sent."""
        self._hang_up("it was closed here")

    def abort(self, reason: str) -> None:
        """Closes; what has not got through is lost."""
        self.out.discard_held()
        self._hang_up(reason)

    def cut(self, reason: str) -> None:
        """The connection is gone, and both ends are told."""
        if not self.closed:
            self._end(reason)
            self.network.forget(self)

    def die(self) -> None:
        """The process is dead: its kernel tells the peer, unless the machine is dead, too."""
        if self._silence is not None:
            self._silence.stop()
        self.closed = True
        self._oldest = self._others = None
        if self.network.is_dead(self.process.host):
            self.out.shut()
        else:
            self.out.finish(Connection.on_closed, "")
            self.peer.out.discard()
        self._endpoint.connections.pop(self, None)
        self.network.forget(self)

    def _hang_up(self, reason: str) -> None:
        if self.closed:
            return
        self._end(reason)
        self.out.finish(Connection.on_closed, "")
        self.peer.out.discard()
        self.network.forget(self)

    def _end(self, reason: str) -> None:
        self.closed = True
        self._reason = reason
        if self._silence is not None:
            self._silence.stop()
        self._endpoint.connections.pop(self, None)
        links = self.links()
        self._oldest = self._others = None
        for link in links:
            link.on_connection_lost(self.lost())
            self._freed()

    # ---- silence

    def watch(self) -> None:
        """From now on, silence of the peer counts as its death."""
        if not self.closed and self._noticing().watch(self._loop.time()):
            self.review()

    def review(self, *, resumed: bool = False) -> None:
        """A fault has begun or ended that may concern the connection; `resumed`: of this process itself."""
        if self.closed:
            return
        unreachable = not self.network.is_open(self.process.host, self.peer.process.host)
        frozen = self.peer.process.frozen
        if unreachable or frozen or self._silence is not None:
            self._noticing().review(self._loop, unreachable=unreachable, frozen=frozen, resumed=resumed)

    def _noticing(self) -> Silence:
        if self._silence is None:
            self._silence = Silence(self, self.network.config, self.network.conditions, self.abort)
        return self._silence

    # ---- streams and calls

    async def reserve(self) -> None:
        """Waits until one more stream or call can begin. Raises ConnectionFailed."""
        if not self.closed:
            if self._taken < _CONCURRENT_STREAMS:
                self._taken += 1
            else:
                await self._wait_for_room()
            if not self.closed:
                return
            self._freed()
        raise self.lost()

    async def _wait_for_room(self) -> None:
        if self._waiting is None:
            self._waiting = deque()
        turn = self._loop.create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._freed()
            raise

    def start(self, link: Link) -> None:
        """Gives a stream or call its number, after `reserve`."""
        self._numbers += 1
        self.add(link, self._numbers)

    def add(self, link: Link, number: int) -> None:
        """A stream or call of that number has begun."""
        link.number = number
        if self._others:
            self._others[number] = link
        elif self._oldest is None:
            self._oldest = link
        else:
            self._others = {number: link}

    def find(self, number: int) -> Link | None:
        """The stream or call with that number, unless it is over."""
        link = self._oldest
        if link is not None and link.number == number:
            return link
        return self._others.get(number) if self._others else None

    def links(self) -> list[Link]:
        """Streams and calls that are open, in the order in which they have begun."""
        oldest = () if self._oldest is None else (self._oldest,)
        return [*oldest, *(self._others or {}).values()]

    def forget(self, link: Link) -> None:
        if self._oldest is link:
            self._oldest = None
            self._freed()
        elif self._others and self._others.pop(link.number, None) is not None:
            self._freed()

    def _freed(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)  # it takes over the place
                return
        self._taken -= 1  # at the accepting end nobody counts

    def send_end(self, number: int, headers: Headers | None) -> None:
        self.out.send(Connection.on_end, number, headers)

    def send_reset(self, number: int, code: int) -> None:
        self.out.send(Connection.on_reset, number, code)

    # ---- packets

    def on_request(self, number: int, request: Request) -> None:
        if self.closed:
            return
        if request.message is not None:
            self.network.call_arrived(self, request.route, request.message)
        assert self.listener is not None
        self.listener.take(self, number, request)

    def on_taken(self, number: int, _: None) -> None:
        link = self.find(number)
        if link is not None:
            link.on_taken()

    def on_frame(self, number: int, body: bytes) -> None:
        link = self.find(number)
        if link is not None:
            traffic = self.traffic
            traffic.frames += 1
            traffic.bytes += len(body)
            network = self.network
            if network.watchers or network.detailed:
                network.frame_arrived(self, link.route, body)
            link.on_data(body)

    def on_reply(self, number: int, message: bytes) -> None:
        link = self.find(number)
        if link is not None:
            self.network.call_arrived(self, link.route, message)
            link.on_data(message)

    def on_end(self, number: int, headers: Headers | None) -> None:
        link = self.find(number)
        if link is not None:
            link.on_end(headers)

    def on_reset(self, number: int, code: int) -> None:
        link = self.find(number)
        if link is not None:
            link.on_reset(code)

    def on_closed(self, number: int, reason: str) -> None:
        """The peer has closed the connection."""
        if not self.closed:
            self._end(reason)
            self.out.discard()
            self.network.forget(self)
