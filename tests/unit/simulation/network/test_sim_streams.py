"""Streams over the simulated network behave as over the real one."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from typing import Any

import pytest

from asyncray import messages
from asyncray.errors import AsyncrayError, ConnectionFailed, ProtocolError
from asyncray.rpc.stream import FrameStream
from asyncray.simulation.network import Conditions

from ...rpc.endpoints import ROUTE, Recorder, number_of, release
from .laboratory import EXACT, REMOTE, Laboratory, simulated


def echo(stream: FrameStream, message: list[Any]) -> None:
    stream.send(message)


@simulated
async def test_messages_arrive_in_order_in_both_directions(lab: Laboratory) -> None:
    server, stream, recorder = await lab.stream()
    server.last.recorder._on_message = echo
    for number in range(5_000):
        lab.client.call(stream.send, release(number))
        if number % 700 == 0:
            await asyncio.sleep(0)
    await recorder.received(5_000)
    assert [number_of(message) for message in recorder.messages] == list(range(5_000))


@simulated
async def test_what_is_sent_in_one_turn_is_one_frame(lab: Laboratory) -> None:
    server, stream, _ = await lab.stream()
    for number in range(100):
        lab.client.call(stream.send, release(number))
    await server.last.recorder.received(100)
    assert lab.network.traffic["driver", "node"].frames == 1


@simulated
async def test_messages_of_every_size_arrive(lab: Laboratory) -> None:
    server, stream, recorder = await lab.stream()
    server.last.recorder._on_message = echo
    sizes = [0, 1, 16_384, 5_000_000, 40_000_000]
    for number, size in enumerate(sizes):
        lab.client.call(stream.send, (messages.BORROW, b"%d" % number * size, number))
    await recorder.received(len(sizes))
    assert [len(message[1]) for message in recorder.messages] == sizes


@simulated
async def test_streams_of_a_channel_do_not_mix(lab: Laboratory) -> None:
    server = await lab.serve()
    server.on_message = echo
    channel = await lab.connect(server.tcp)
    recorders = [Recorder() for _ in range(20)]
    streams = [await lab.open(channel, recorder, release(number)) for number, recorder in enumerate(recorders)]
    for number, stream in enumerate(streams):
        lab.client.call(stream.send, release(100 + number))
    for number, recorder in enumerate(recorders):
        await recorder.received(2)
        assert [number_of(message) for message in recorder.messages] == [number, 100 + number]


@simulated
async def test_the_first_messages_come_before_all_others(lab: Laboratory) -> None:
    server = await lab.serve()
    channel = await lab.connect(server.tcp)
    large = (messages.BORROW, bytes(3_000_000), 0)
    stream = await lab.open(channel, Recorder(), release(1), large, release(2))
    assert len(server.accepted) == 1
    lab.client.call(stream.send, release(3))
    received = await server.last.recorder.received(4)
    assert [number_of(message) for message in received if message[0] == messages.RELEASE] == [1, 2, 3]


@simulated
async def test_an_acceptor_may_send_before_it_has_received(lab: Laboratory) -> None:
    def accept(stream: FrameStream) -> Recorder:
        stream.send(release(7))
        return Recorder()

    listener = await lab.within(
        lab.server, lab.endpoints[lab.server].listen(streams={ROUTE: accept}, host=lab.server.host)
    )
    recorder = Recorder()
    await lab.open(await lab.connect(f"{listener.host}:{listener.port}"), recorder)
    assert number_of((await recorder.received(1))[0]) == 7


# ---- ends


@simulated
async def test_a_close_by_the_client_is_clean_on_both_sides_and_loses_nothing(lab: Laboratory) -> None:
    server, stream, recorder = await lab.stream()
    for number in range(1000):
        lab.client.call(stream.send, release(number))
    lab.client.call(stream.close)
    assert await recorder.ended() is None
    assert await server.last.recorder.ended() is None
    assert len(server.last.recorder.messages) == 1000


@simulated
async def test_a_close_by_the_server_is_clean_on_both_sides_and_loses_nothing(lab: Laboratory) -> None:
    server, _, recorder = await lab.stream()
    for number in range(1000):
        lab.server.call(server.last.stream.send, release(number))
    lab.server.call(server.last.stream.close)
    assert await recorder.ended() is None
    assert await server.last.recorder.ended() is None
    assert len(recorder.messages) == 1000


@simulated
async def test_closing_both_sides_at_once_is_clean(lab: Laboratory) -> None:
    server, stream, recorder = await lab.stream()
    lab.server.call(server.last.stream.close)
    lab.client.call(stream.close)
    assert await recorder.ended() is None
    assert await server.last.recorder.ended() is None


@simulated
async def test_the_error_of_the_server_reaches_the_client(lab: Laboratory) -> None:
    server, _, recorder = await lab.stream()
    lab.server.call(server.last.stream.close, ProtocolError("naïve: 100 %\nof it"))
    assert isinstance(await server.last.recorder.ended(), ProtocolError)
    error = await recorder.ended()
    assert isinstance(error, ProtocolError)
    assert "naïve: 100 %\nof it" in str(error)


@simulated
async def test_errors_of_other_kinds_keep_their_text(lab: Laboratory) -> None:
    server, _, recorder = await lab.stream()
    lab.server.call(server.last.stream.close, KeyError("what it was" + "!" * 100_000))
    error = await recorder.ended()
    assert type(error) is AsyncrayError
    assert "what it was" in str(error)


@pytest.mark.parametrize(("error", "expected"), [(ProtocolError("bad"), ProtocolError), (KeyError(), ConnectionFailed)])
@simulated
async def test_the_server_learns_that_the_client_closed_with_an_error(
    lab: Laboratory, error: Exception, expected: type[Exception]
) -> None:
    server, stream, recorder = await lab.stream()
    lab.client.call(stream.close, error)
    assert await recorder.ended() is error
    assert type(await server.last.recorder.ended()) is expected


@pytest.mark.parametrize("side", ["client", "server"])
@simulated
async def test_a_malformed_message_harms_no_other_stream_of_the_connection(
    lab: Laboratory, side: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = await lab.serve()
    server.on_message = echo
    channel = await lab.connect(server.tcp)
    good, bad = Recorder(), Recorder()
    good_stream = await lab.open(channel, good)
    bad_stream = await lab.open(channel, bad)
    at_server = server.last
    with caplog.at_level(logging.INFO):
        if side == "server":
            lab.client.call(bad_stream.send, (9999, "?"))
        else:
            lab.server.call(at_server.stream.send, (9999, "?"))
        assert isinstance(await bad.ended(), ProtocolError)
        assert isinstance(await at_server.recorder.ended(), ProtocolError)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    lab.client.call(good_stream.send, release(5))
    assert number_of((await good.received(1))[0]) == 5


@simulated
async def test_closing_a_channel_closes_its_streams_cleanly(lab: Laboratory) -> None:
    server = await lab.serve()
    channel = await lab.connect(server.tcp)
    recorders = [Recorder() for _ in range(3)]
    for recorder in recorders:
        stream = await lab.open(channel, recorder)
        lab.client.call(stream.send, release(1))
    lab.client.call(channel.close)
    lab.client.call(channel.close)
    assert channel.closed
    for recorder in recorders:
        assert await recorder.ended() is None
    for accepted in server.accepted:
        assert await accepted.recorder.ended() is None
        assert len(accepted.recorder.messages) == 1


@simulated
async def test_closing_a_listener_closes_its_streams_cleanly(lab: Laboratory) -> None:
    server = await lab.serve()
    channel = await lab.connect(server.tcp)
    recorder = Recorder()
    await lab.open(channel, recorder)
    await lab.within(lab.server, server.listener.close())
    assert server.last.recorder.ends == [None], "on_close is called before close() returns"
    assert await recorder.ended() is None
    assert channel.closed
    with pytest.raises(ConnectionFailed, match="was lost"):
        await lab.open(channel, Recorder())


@simulated
async def test_after_stop_accepting_old_streams_go_on_and_new_ones_are_refused(lab: Laboratory) -> None:
    server = await lab.serve()
    server.on_message = echo
    channel = await lab.connect(server.tcp)
    recorder = Recorder()
    stream = await lab.open(channel, recorder)
    server.listener.stop_accepting()
    with pytest.raises(ConnectionFailed, match="stopping"):
        await lab.open(channel, Recorder())
    with pytest.raises(ConnectionFailed, match="cannot connect"):
        await lab.connect(channel.target)
    lab.client.call(stream.send, release(1))
    await recorder.received(1)


# ---- opening


@simulated
async def test_an_unknown_route_is_refused(lab: Laboratory) -> None:
    server = await lab.serve()
    channel = await lab.connect(server.tcp)
    recorder = Recorder()
    with pytest.raises(ProtocolError, match=r"there is no /asyncray\.Peer/Nothing"):
        await lab.within(lab.client, channel.open("/asyncray.Peer/Nothing", recorder))
    assert not recorder.ends


@simulated
async def test_a_closed_channel_opens_nothing(lab: Laboratory) -> None:
    server = await lab.serve()
    channel = await lab.connect(server.tcp)
    lab.client.call(channel.close)
    with pytest.raises(ConnectionFailed, match="closed here"):
        await lab.open(channel, Recorder())


@simulated
async def test_opening_fails_when_the_channel_is_closed_meanwhile(lab: Laboratory) -> None:
    server = await lab.serve()
    channel = await lab.connect(server.tcp)
    recorder = Recorder()
    opening = lab.client.spawn(channel.open(ROUTE, recorder), "opening")
    await asyncio.sleep(0)
    lab.client.call(channel.close)
    with pytest.raises(ConnectionFailed):
        await opening
    assert not recorder.ends


@simulated
async def test_a_cancelled_open_leaves_no_stream(lab: Laboratory) -> None:
    server = await lab.serve()
    channel = await lab.connect(server.tcp)
    recorder = Recorder()
    opening = lab.client.spawn(channel.open(ROUTE, recorder), "opening")
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await lab.open(channel, Recorder())
    assert isinstance(await server.accepted[0].recorder.ended(), ConnectionFailed)
    assert not recorder.ends


@simulated
async def test_a_first_message_that_cannot_be_sent_opens_nothing(lab: Laboratory) -> None:
    server = await lab.serve()
    channel = await lab.connect(server.tcp)
    with pytest.raises(TypeError):
        await lab.open(channel, Recorder(), (messages.RELEASE, object()))
    await lab.open(channel, Recorder())
    assert len(server.accepted) == 1


@simulated
async def test_streams_that_are_over_are_forgotten(lab: Laboratory) -> None:
    server = await lab.serve()
    channel = await lab.connect(server.tcp)
    streams = []
    for number in range(20):
        recorder = Recorder()
        stream = await lab.open(channel, recorder, release(number))
        await server.last.recorder.received(1)
        lab.client.call(stream.close) if number % 2 else lab.server.call(server.last.stream.close)
        await recorder.ended()
        await server.last.recorder.ended()
        streams += [weakref.ref(stream), weakref.ref(server.last.stream)]
    server.accepted.clear()
    del stream, recorder
    gc.collect()
    assert [stream for stream in streams if stream() is not None] == []


@simulated
async def test_a_connection_that_is_over_does_not_wait_for_the_garbage_collector(lab: Laboratory) -> None:
    for closed_by_client in (True, False):
        server = await lab.serve()
        channel = await lab.connect(server.tcp)
        recorder = Recorder()
        stream = await lab.open(channel, recorder, release(0))
        await server.last.recorder.received(1)
        near = channel._connection  # type: ignore[attr-defined]
        parts = [weakref.ref(part) for part in (near, near.peer, stream, server.last.stream)]
        if closed_by_client:
            lab.client.call(channel.close)
        else:
            await lab.within(lab.server, server.listener.close())
        await recorder.ended()
        await server.last.recorder.ended()
        server.accepted.clear()
        del channel, stream, near, recorder
        assert [part for part in parts if part() is not None] == []


@simulated
async def test_streams_above_the_limit_wait_for_others_to_end(lab: Laboratory) -> None:
    server = await lab.serve()
    channel = await lab.connect(server.tcp)
    streams = [await lab.open(channel, Recorder()) for _ in range(1000)]
    waiting = lab.client.spawn(channel.open(ROUTE, Recorder()), "waiting")
    await asyncio.sleep(5)
    assert not waiting.done()
    lab.client.call(streams[0].close)
    await waiting
    also_waiting = lab.client.spawn(channel.open(ROUTE, Recorder()), "also waiting")
    await asyncio.sleep(5)
    lab.client.call(channel.close)
    with pytest.raises(ConnectionFailed):
        await also_waiting


# ---- the window


def small_window(size: int) -> Laboratory:
    return Laboratory(
        Conditions(local=EXACT.local, remote=EXACT.remote, bandwidth=EXACT.bandwidth, window=size),
    )


def test_more_data_than_the_window_arrives() -> None:
    lab = small_window(70_000)

    async def run() -> None:
        server = await lab.serve()
        server.on_message = echo
        channel = await lab.connect(server.tcp)
        recorders = [Recorder() for _ in range(3)]
        streams = [await lab.open(channel, recorder) for recorder in recorders]
        for number in range(60):
            for stream in streams:
                lab.client.call(stream.send, (messages.BORROW, bytes(10_000), number))
        for recorder in recorders:
            await recorder.received(60)
            assert [message[2] for message in recorder.messages] == list(range(60))

    lab.run(run())


def test_a_peer_that_does_not_read_holds_up_who_waits_until_it_reads_again() -> None:
    lab = small_window(500_000)

    async def run() -> None:
        server, stream, _ = await lab.stream()
        lab.freeze(lab.server)
        sent = 0

        async def send() -> None:
            nonlocal sent
            while True:
                stream.send((messages.RELEASE, bytes(100_000)))
                sent += 1
                await stream.drained()

        sending = lab.client.spawn(send(), "sending")
        await asyncio.sleep(100)
        assert sent == 5, "four fit into the window, and one waits"
        assert 100_000 <= stream.unsent < 101_000
        sending.cancel()
        lab.thaw(lab.server)
        await lab.within(lab.client, stream.drained())
        assert stream.unsent == 0
        await server.last.recorder.received(5)

    lab.run(run())


def test_a_stream_that_is_closed_while_its_window_is_full_says_so() -> None:
    lab = small_window(150_000)

    async def run() -> None:
        server, stream, recorder = await lab.stream()
        lab.freeze(lab.server)
        for _ in range(3):
            lab.client.call(stream.send, (messages.RELEASE, bytes(100_000)))
            lab.client.call(stream.flush)
        waiting = lab.client.spawn(stream.drained(), "waiting")
        await asyncio.sleep(0)
        assert not waiting.done()
        lab.client.call(stream.close)
        await waiting
        assert await recorder.ended() is None
        lab.thaw(lab.server)
        assert isinstance(await server.last.recorder.ended(), ConnectionFailed), "not all arrived: no clean end"
        assert len(server.last.recorder.messages) == 1

    lab.run(run())


@simulated
async def test_an_opening_that_was_cancelled_may_lose_its_connection_before_it_notices(lab: Laboratory) -> None:
    server = await lab.serve()
    channel = await lab.connect(server.tcp)
    recorder = Recorder()
    opening = asyncio.get_running_loop().create_task(lab.open(channel, recorder))
    await asyncio.sleep(REMOTE)  # it has asked, and there is no answer yet
    opening.cancel()
    lab.client.call(channel.close)
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert recorder.ends == []
