"""Links with other processes, over streams that only note what happens to them."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from asyncray import messages
from asyncray.errors import ConnectionFailed
from asyncray.worker.peers import ROUTE, PeerLink, Peers

OTHER = [b"other" + bytes(11), bytes(16), "/other", ""]
HELLO = [messages.HELLO, OTHER, "worker"]


class Stream:
    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.closed = False

    def send(self, message: Any) -> None:
        self.sent.append(message)

    def close(self, error: Exception | None = None) -> None:
        self.closed = True


class Channel:
    def __init__(self, network: Network) -> None:
        self._network = network
        self.stream = Stream()
        self.closed = False

    async def open(self, route: str, receiver: Any, *first: Any) -> Stream:
        assert route == ROUTE
        self.receiver = receiver
        self.stream.sent += first[1:]
        await self._network.opened.wait()
        if self._network.refuses:
            raise self._network.refusal
        return self.stream

    def close(self) -> None:
        self.closed = True


class Network:
    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.refuses = False
        self.refusal: Exception = ConnectionFailed("refused")
        self.channels: list[Channel] = []

    async def connect(self, target: str) -> Channel:
        self.channels.append(Channel(self))
        return self.channels[-1]


class World:
    """This process: its peers, and what they are told to do without."""

    def __init__(self) -> None:
        self.network = Network()
        self.tasks: list[asyncio.Task[Any]] = []
        self.runtime: Any = SimpleNamespace(
            platform=SimpleNamespace(network=self.network),
            ownership=SimpleNamespace(process_connected=lambda process_id: None),
            endpoint=lambda address: f"unix:{address[2]}",
            address=[b"self" + bytes(12), bytes(16), "/self", ""],
            role="driver",
            stopping=False,
            spawn=self._spawn,
        )
        self.peers = Peers(self.runtime)
        self.received: list[Any] = []
        self.lost: list[PeerLink] = []
        self.peers.handlers[messages.RELEASE] = lambda link, object_id: self.received.append((link, object_id))
        self.peers.on_lost.append(lambda link, cause: self.lost.append(link))

    def _spawn(self, coroutine: Any, *, name: str) -> asyncio.Task[Any]:
        self.tasks.append(asyncio.get_running_loop().create_task(coroutine))
        return self.tasks[-1]

    async def settle(self) -> None:
        self.network.opened.set()
        await asyncio.gather(*self.tasks)

    async def dials(self) -> None:
        """Returns when the dial waits for the other side."""
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert self.network.channels

    def accepts(self) -> tuple[Any, Stream]:
        stream = Stream()
        receiver = self.peers.streams[ROUTE](stream)  # type: ignore[arg-type]
        receiver.on_message(stream, HELLO)  # type: ignore[arg-type]
        return receiver, stream


async def test_what_is_sent_before_a_connection_is_there_leaves_with_the_opening_of_the_stream() -> None:
    world = World()
    link = world.peers.link(OTHER)
    link.send((messages.RELEASE, b"1"))
    await world.dials()
    stream = world.network.channels[0].stream
    assert [message[1] for message in stream.sent] == [b"1"]
    _, accepted = world.accepts()
    link.send((messages.RELEASE, b"2"))
    await world.settle()
    link.send((messages.RELEASE, b"3"))
    assert [message[1] for message in stream.sent] == [b"1", b"2", b"3"]
    assert accepted.sent == [] and link.sent == 3


async def test_what_is_sent_early_leaves_on_the_stream_that_is_there_first() -> None:
    world = World()
    link = world.peers.link(OTHER)
    link.send((messages.RELEASE, b"1"))
    _, accepted = world.accepts()
    link.send((messages.RELEASE, b"2"))
    await world.settle()
    link.send((messages.RELEASE, b"3"))
    assert [message[1] for message in accepted.sent] == [b"1", b"2", b"3"]
    assert world.network.channels[0].stream.sent == []


async def test_the_end_of_one_of_two_streams_ends_both_and_the_connection() -> None:
    world = World()
    link = world.peers.link(OTHER)
    receiver, accepted = world.accepts()
    await world.settle()
    channel = world.network.channels[0]
    receiver.on_close(accepted, None)
    assert accepted.closed and channel.stream.closed and channel.closed
    assert world.lost == [link]
    channel.receiver.on_close(channel.stream, None)
    assert world.lost == [link], "it is told once"


async def test_a_stream_of_a_lost_link_is_not_listened_to() -> None:
    world = World()
    link = world.peers.link(OTHER)
    await world.settle()
    channel = world.network.channels[0]
    world.peers.lose(link, None)
    late = Stream()
    channel.receiver.on_message(late, [messages.RELEASE, b"1"])
    assert world.received == [] and late.closed


async def test_a_refused_dial_loses_the_link_and_closes_the_connection() -> None:
    world = World()
    world.network.refuses = True
    link = world.peers.link(OTHER)
    await world.settle()
    assert world.lost == [link] and world.network.channels[0].closed
    assert world.peers.link(OTHER) is not link


async def test_a_dial_that_fails_for_any_other_reason_loses_the_link() -> None:
    world = World()
    world.network.refuses, world.network.refusal = True, IndexError("an address without a port")
    link = world.peers.link(OTHER)
    await world.settle()
    assert world.lost == [link] and not link.dialling


async def test_a_refused_dial_does_no_harm_when_the_other_side_has_dialled() -> None:
    world = World()
    world.network.refuses = True
    link = world.peers.link(OTHER)
    _, accepted = world.accepts()
    await world.settle()
    assert world.lost == [] and not accepted.closed
    assert world.network.channels[0].closed, "nothing travels on it"
    assert world.peers.link(OTHER) is link


async def test_a_link_lost_while_it_is_dialled_leaves_no_connection() -> None:
    world = World()
    link = world.peers.link(OTHER)
    await world.dials()
    world.peers.lose(link, None)
    await world.settle()
    channel = world.network.channels[0]
    assert channel.closed and channel.stream.closed


async def test_a_link_lost_while_it_is_dialled_leaves_no_connection_when_the_stream_is_refused_then() -> None:
    world = World()
    world.network.refuses = True
    link = world.peers.link(OTHER)
    world.peers.lose(link, None)
    await world.settle()
    assert world.network.channels[0].closed


@pytest.mark.parametrize("connected_before", [True, False])
async def test_nobody_is_dialled_once_the_runtime_stops(connected_before: bool) -> None:
    world = World()
    if connected_before:
        world.peers.link(OTHER)
        await world.settle()
    world.runtime.stopping = True
    world.peers.close()
    link = world.peers.link(OTHER)
    link.send((messages.RELEASE, b"1"))
    await world.settle()
    assert link.lost and len(world.network.channels) == connected_before


async def test_who_dials_a_runtime_that_stops_is_turned_away() -> None:
    world = World()
    world.runtime.stopping = True
    world.peers.close()
    _, accepted = world.accepts()
    assert accepted.closed and world.peers.find(OTHER[0]) is None
