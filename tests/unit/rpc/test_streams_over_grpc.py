"""Streams between two ends in one process, over real sockets."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from collections.abc import AsyncIterator
from typing import Any

import pytest

from asyncray import messages
from asyncray.config import Config
from asyncray.errors import AsyncrayError, ConnectionFailed, ProtocolError
from asyncray.proto import Empty, NodeStub
from asyncray.rpc.network import Channel, GrpcNetwork
from asyncray.rpc.stream import FrameStream

from .endpoints import PATIENCE, ROUTE, TOKEN, Recorder, Server, number_of, release

pytestmark = pytest.mark.usefixtures("leaves_nothing_behind")


@pytest.fixture
async def channel(target: str) -> AsyncIterator[Channel]:
    channel = await GrpcNetwork(TOKEN).connect(target)
    yield channel
    channel.close()


def echo(stream: FrameStream, message: list[Any]) -> None:
    stream.send(message)


async def test_messages_arrive_in_order_in_both_directions(server: Server, channel: Channel) -> None:
    server.on_message = echo
    recorder = Recorder()
    stream = await channel.open(ROUTE, recorder, release(0))
    for number in range(1, 20_000):
        stream.send(release(number))
        if number % 700 == 0:
            await asyncio.sleep(0)
    await recorder.received(20_000)
    assert [number_of(message) for message in recorder.messages] == list(range(20_000))


async def test_messages_of_every_size_arrive(server: Server, channel: Channel) -> None:
    server.on_message = echo
    recorder = Recorder()
    stream = await channel.open(ROUTE, recorder)
    sizes = [0, 1, 100, 16_370, 16_384, 65_536, 1_000_000, 5_000_000, 40_000_000]
    for number, size in enumerate(sizes):
        stream.send((messages.BORROW, number.to_bytes(1, "big") * size, number))
    await recorder.received(len(sizes))
    for number, message in enumerate(recorder.messages):
        assert message == [messages.BORROW, number.to_bytes(1, "big") * sizes[number], number]


async def test_more_data_than_the_flow_control_window_arrives(socket_path: str) -> None:
    config = Config(http2_window=70_000)
    server = Server()
    server.on_message = echo
    network = GrpcNetwork(TOKEN, config)
    server.listener = await network.listen(streams={ROUTE: server.accept}, unix_path=socket_path)
    channel = await network.connect(server.unix)
    recorders = [Recorder() for _ in range(3)]
    streams = [await channel.open(ROUTE, recorder) for recorder in recorders]
    for number in range(60):
        for stream in streams:
            stream.send((messages.BORROW, bytes(10_000), number))
    for recorder in recorders:
        await recorder.received(60)
        assert [message[2] for message in recorder.messages] == list(range(60))
    channel.close()
    await server.listener.close()


async def test_streams_of_a_channel_do_not_mix(server: Server, channel: Channel) -> None:
    server.on_message = echo
    recorders = [Recorder() for _ in range(20)]
    streams = [await channel.open(ROUTE, recorder, release(number)) for number, recorder in enumerate(recorders)]
    for number, stream in enumerate(streams):
        stream.send(release(100 + number))
    for number, recorder in enumerate(recorders):
        await recorder.received(2)
        assert [number_of(message) for message in recorder.messages] == [number, 100 + number]


async def test_open_returns_after_the_peer_has_taken_the_stream(server: Server, channel: Channel) -> None:
    await channel.open(ROUTE, Recorder())
    assert len(server.accepted) == 1


async def test_the_first_messages_come_before_all_others(server: Server, channel: Channel) -> None:
    stream = await channel.open(ROUTE, Recorder(), release(1), release(2))
    stream.send(release(3))
    await server.last.recorder.received(3)
    assert [number_of(message) for message in server.last.recorder.messages] == [1, 2, 3]


async def test_an_acceptor_may_send_before_it_has_received(server: Server, channel: Channel) -> None:
    def accept(stream: FrameStream) -> Recorder:
        stream.send(release(7))
        return Recorder()

    server.accept = accept  # type: ignore[method-assign]
    network = GrpcNetwork(TOKEN)
    listener = await network.listen(streams={ROUTE: accept}, host="127.0.0.1")
    other = await network.connect(f"127.0.0.1:{listener.port}")
    recorder = Recorder()
    await other.open(ROUTE, recorder)
    assert number_of((await recorder.received(1))[0]) == 7
    other.close()
    await listener.close()


# ---- ends


async def test_a_close_by_the_client_is_clean_on_both_sides_and_loses_nothing(server: Server, channel: Channel) -> None:
    recorder = Recorder()
    stream = await channel.open(ROUTE, recorder)
    for number in range(1000):
        stream.send(release(number))
    stream.close()
    assert await recorder.ended() is None
    assert await server.last.recorder.ended() is None
    assert len(server.last.recorder.messages) == 1000


async def test_a_close_by_the_server_is_clean_on_both_sides_and_loses_nothing(server: Server, channel: Channel) -> None:
    recorder = Recorder()
    await channel.open(ROUTE, recorder)
    for number in range(1000):
        server.last.stream.send(release(number))
    server.last.stream.close()
    assert await recorder.ended() is None
    assert await server.last.recorder.ended() is None
    assert len(recorder.messages) == 1000


async def test_closing_both_sides_at_once_is_clean(server: Server, channel: Channel) -> None:
    recorder = Recorder()
    stream = await channel.open(ROUTE, recorder)
    server.last.stream.close()
    stream.close()
    assert await recorder.ended() is None
    assert await server.last.recorder.ended() is None


async def test_the_error_of_the_server_reaches_the_client(server: Server, channel: Channel) -> None:
    recorder = Recorder()
    await channel.open(ROUTE, recorder)
    server.last.stream.close(ProtocolError("naïve: 100 %\nof it"))
    assert isinstance(await server.last.recorder.ended(), ProtocolError)
    error = await recorder.ended()
    assert isinstance(error, ProtocolError)
    assert "naïve: 100 %\nof it" in str(error)


async def test_errors_of_other_kinds_keep_their_text(server: Server, channel: Channel) -> None:
    recorder = Recorder()
    await channel.open(ROUTE, recorder)
    server.last.stream.close(KeyError("what it was" + "!" * 100_000))
    error = await recorder.ended()
    assert type(error) is AsyncrayError
    assert "what it was" in str(error)


async def test_the_server_learns_that_the_client_closed_with_an_error(server: Server, channel: Channel) -> None:
    for error, expected in ((ProtocolError("bad"), ProtocolError), (KeyError("bug"), ConnectionFailed)):
        recorder = Recorder()
        stream = await channel.open(ROUTE, recorder)
        stream.close(error)
        assert await recorder.ended() is error
        assert type(await server.last.recorder.ended()) is expected


@pytest.mark.parametrize("side", ["client", "server"])
async def test_a_malformed_message_harms_no_other_stream_of_the_connection(
    server: Server, channel: Channel, side: str, caplog: pytest.LogCaptureFixture
) -> None:
    server.on_message = echo
    good, bad = Recorder(), Recorder()
    good_stream = await channel.open(ROUTE, good)
    bad_stream = await channel.open(ROUTE, bad)
    at_server = server.last
    with caplog.at_level(logging.INFO):
        (bad_stream if side == "server" else at_server.stream).send((9999, "?"))
        assert isinstance(await bad.ended(), ProtocolError)
        assert isinstance(await at_server.recorder.ended(), ProtocolError)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    good_stream.send(release(5))
    assert number_of((await good.received(1))[0]) == 5


async def test_closing_a_channel_closes_its_streams_cleanly(server: Server, channel: Channel) -> None:
    recorders = [Recorder() for _ in range(3)]
    for recorder in recorders:
        stream = await channel.open(ROUTE, recorder)
        stream.send(release(1))
    channel.close()
    channel.close()
    assert channel.closed
    for recorder in recorders:
        assert await recorder.ended() is None
    for accepted in server.accepted:
        assert await accepted.recorder.ended() is None
        assert len(accepted.recorder.messages) == 1


async def test_closing_a_listener_closes_its_streams_cleanly(server: Server, channel: Channel) -> None:
    recorder = Recorder()
    await channel.open(ROUTE, recorder)
    await server.listener.close()
    assert server.last.recorder.ends == [None], "on_close is called before close() returns"
    assert await recorder.ended() is None
    with pytest.raises(ConnectionFailed):
        while True:
            await channel.open(ROUTE, Recorder())


async def test_after_stop_accepting_old_streams_go_on_and_new_ones_are_refused(
    server: Server, channel: Channel
) -> None:
    server.on_message = echo
    recorder = Recorder()
    stream = await channel.open(ROUTE, recorder)
    server.listener.stop_accepting()
    with pytest.raises(ConnectionFailed, match="stopping"):
        await channel.open(ROUTE, Recorder())
    with pytest.raises(ConnectionFailed, match="cannot connect"):
        await GrpcNetwork(TOKEN).connect(channel.target)
    stream.send(release(1))
    await recorder.received(1)


# ---- opening


async def test_an_unknown_route_is_refused(channel: Channel) -> None:
    recorder = Recorder()
    with pytest.raises(ProtocolError, match=r"there is no /asyncray\.Peer/Nothing"):
        await channel.open("/asyncray.Peer/Nothing", recorder)
    with pytest.raises(ProtocolError, match="there is no"):
        await channel.stub(NodeStub).status(Empty())
    await asyncio.sleep(0)
    assert not recorder.ends


async def test_a_closed_channel_opens_nothing(channel: Channel) -> None:
    channel.close()
    with pytest.raises(ConnectionFailed, match="closed here"):
        await channel.open(ROUTE, Recorder())
    with pytest.raises(ConnectionFailed, match="closed here"):
        await channel.stub(NodeStub).status(Empty())


async def test_opening_fails_when_the_channel_is_closed_meanwhile(server: Server, channel: Channel) -> None:
    recorder = Recorder()
    opening = asyncio.create_task(channel.open(ROUTE, recorder))
    await asyncio.sleep(0)
    channel.close()
    with pytest.raises(ConnectionFailed):
        await opening
    assert not recorder.ends


async def test_a_cancelled_open_leaves_no_stream(server: Server, channel: Channel) -> None:
    recorder = Recorder()
    opening = asyncio.create_task(channel.open(ROUTE, recorder))
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await channel.open(ROUTE, Recorder())
    assert isinstance(await server.accepted[0].recorder.ended(), ConnectionFailed)
    assert not recorder.ends
    assert not recorder.messages


async def test_who_gave_up_opening_a_stream_is_not_told_of_its_end(server: Server, channel: Channel) -> None:
    recorder = Recorder()
    opening = asyncio.create_task(channel.open(ROUTE, recorder))
    await asyncio.sleep(0)
    opening.cancel()
    channel.close()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert recorder.ends == []


async def test_a_first_message_that_cannot_be_sent_opens_nothing(server: Server, channel: Channel) -> None:
    with pytest.raises(TypeError):
        await channel.open(ROUTE, Recorder(), (messages.RELEASE, object()))
    await channel.open(ROUTE, Recorder())
    assert len(server.accepted) == 1


async def test_streams_that_are_over_are_forgotten(server: Server, channel: Channel) -> None:
    streams = []
    for number in range(50):
        recorder = Recorder()
        stream = await channel.open(ROUTE, recorder, release(number))
        await server.last.recorder.received(1)
        (stream if number % 2 else server.last.stream).close()
        await recorder.ended()
        await server.last.recorder.ended()
        streams += [weakref.ref(stream), weakref.ref(server.last.stream)]
    server.accepted.clear()
    del stream, recorder
    gc.collect()
    assert [stream for stream in streams if stream() is not None] == []


async def test_streams_above_the_limit_of_the_peer_wait_for_others_to_end(server: Server, target: str) -> None:
    channel = await GrpcNetwork(TOKEN).connect(target)
    streams = [await channel.open(ROUTE, Recorder()) for _ in range(1000)]
    waiting = asyncio.create_task(channel.open(ROUTE, Recorder()))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    streams[0].close()
    async with asyncio.timeout(PATIENCE):
        await waiting
    also_waiting = asyncio.create_task(channel.open(ROUTE, Recorder()))
    await asyncio.sleep(0)
    channel.close()
    with pytest.raises(ConnectionFailed):
        await also_waiting
