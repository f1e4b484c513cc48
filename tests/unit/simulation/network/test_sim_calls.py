"""Unary calls over the simulated network behave as over the real one."""

from __future__ import annotations

import asyncio

import pytest

from asyncray.config import Config
from asyncray.errors import AsyncrayError, ConnectionFailed, ProtocolError
from asyncray.proto import ControlStub, Empty, KvKey, KvPutRequest
from asyncray.rpc.network import Channel
from asyncray.simulation.network import Conditions

from ...rpc.endpoints import Server
from ...rpc.test_unary_calls import Control
from .laboratory import EXACT, REMOTE, Laboratory, simulated


async def control_of(lab: Laboratory) -> tuple[Control, Channel, Server]:
    control = Control()
    server = await lab.serve(services=[control])
    return control, await lab.connect(server.tcp), server


async def put(channel: Channel) -> bool:
    return (await channel.stub(ControlStub).kv_put(KvPutRequest(value=b"1"))).added


@simulated
async def test_a_call_returns_its_reply_after_two_latencies(lab: Laboratory) -> None:
    _, channel, _ = await control_of(lab)
    start = lab.loop.time()
    reply = await lab.within(lab.client, channel.stub(ControlStub).list_nodes(Empty()))
    assert [node.hostname for node in reply.nodes] == ["a", "b"]
    assert lab.loop.time() - start == pytest.approx(2 * REMOTE)


@pytest.mark.parametrize("size", [0, 1, 20_000, 10_000_000])
@simulated
async def test_requests_and_replies_of_any_size_arrive(lab: Laboratory, size: int) -> None:
    _, channel, _ = await control_of(lab)
    reply = await lab.within(lab.client, channel.stub(ControlStub).kv_get(KvKey(key=b"k" * size)))
    assert reply.value == b"k" * 2 * size


def test_too_large_requests_and_replies_are_refused_and_the_connection_goes_on() -> None:
    lab = Laboratory(config=Config(frame_limit=1_000, frame_target=1_000, inline_limit=1_000))

    async def run() -> None:
        _, channel, _ = await control_of(lab)
        with pytest.raises(ProtocolError, match="too large"):
            await lab.within(lab.client, channel.stub(ControlStub).kv_put(KvPutRequest(value=bytes(1_001))))
        with pytest.raises(ProtocolError, match="limit"):
            await lab.within(lab.client, channel.stub(ControlStub).kv_get(KvKey(key=bytes(600))))
        assert await lab.within(lab.client, put(channel))

    lab.run(run())


def test_thousands_of_calls_at_once_are_all_answered_through_a_small_window() -> None:
    lab = Laboratory(Conditions(local=EXACT.local, remote=EXACT.remote, window=100))

    async def run() -> None:
        _, channel, _ = await control_of(lab)
        stub = channel.stub(ControlStub)
        calls = [lab.client.spawn(stub.kv_get(KvKey(key=b"%d" % number)), "call") for number in range(3000)]
        replies = await asyncio.gather(*calls)
        assert [reply.value for reply in replies] == [b"%d%d" % (number, number) for number in range(3000)]

    lab.run(run())


@simulated
async def test_a_method_that_fails_fails_the_call_only(lab: Laboratory) -> None:
    _, channel, _ = await control_of(lab)
    with pytest.raises(AsyncrayError, match="Internal Server Error"):
        await lab.within(lab.client, channel.stub(ControlStub).list_actors(Empty()))
    assert await lab.within(lab.client, put(channel))


@simulated
async def test_a_method_that_is_not_implemented_is_named(lab: Laboratory) -> None:
    _, channel, _ = await control_of(lab)
    with pytest.raises(ProtocolError, match="UNIMPLEMENTED"):
        await lab.within(lab.client, channel.stub(ControlStub).kv_delete(KvKey()))


@simulated
async def test_a_method_that_nobody_serves_is_named(lab: Laboratory) -> None:
    server = await lab.serve()
    channel = await lab.connect(server.tcp)
    with pytest.raises(ProtocolError, match=r"there is no /asyncray\.Control/KvPut here"):
        await lab.within(lab.client, put(channel))


@simulated
async def test_a_request_that_is_not_its_message_is_refused(lab: Laboratory) -> None:
    control, channel, _ = await control_of(lab)
    call = channel._new_call()  # type: ignore[attr-defined]

    async def send() -> bytes:
        await call.begin("/asyncray.Control/KvPut", None)
        call.send(b"\x0a\x01\xff")
        return bytes(await call.reply)

    with pytest.raises(ProtocolError, match="this is not a KvPutRequest"):
        await lab.within(lab.client, send())
    assert control.called == 0


@simulated
async def test_a_call_that_takes_too_long_times_out_on_both_sides(lab: Laboratory) -> None:
    control, channel, _ = await control_of(lab)
    start = lab.loop.time()
    with pytest.raises(TimeoutError):
        await lab.within(lab.client, channel.stub(ControlStub).list_jobs(Empty(), timeout=0.5))
    assert lab.loop.time() - start == pytest.approx(0.5)
    await control.left.wait()
    assert lab.loop.time() - start == pytest.approx(0.5 + REMOTE)
    assert control.cancelled == 1


@simulated
async def test_a_server_ends_a_call_in_time_when_its_caller_cannot_be_heard(lab: Laboratory) -> None:
    control, channel, _ = await control_of(lab)
    call = lab.client.spawn(channel.stub(ControlStub).list_jobs(Empty(), timeout=0.5), "call")
    await control.entered.wait()
    lab.network.partition(lab.client.host, lab.server.host)
    await control.left.wait()
    with pytest.raises(TimeoutError):
        await call


@simulated
async def test_a_cancelled_call_is_cancelled_at_the_server(lab: Laboratory) -> None:
    control, channel, _ = await control_of(lab)
    call = lab.client.spawn(channel.stub(ControlStub).list_jobs(Empty()), "call")
    await control.entered.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await control.left.wait()
    assert control.cancelled == 1


@simulated
async def test_closing_the_channel_fails_its_calls_and_leaves_no_cancellation_behind(lab: Laboratory) -> None:
    control, channel, _ = await control_of(lab)
    call = lab.client.spawn(channel.stub(ControlStub).list_jobs(Empty()), "call")
    await control.entered.wait()
    lab.client.call(channel.close)
    with pytest.raises(ConnectionFailed):
        await call
    assert call.cancelling() == 0
    await control.left.wait()


@simulated
async def test_closing_the_listener_cancels_its_calls_and_waits_for_them(lab: Laboratory) -> None:
    control, channel, server = await control_of(lab)
    call = lab.client.spawn(channel.stub(ControlStub).list_jobs(Empty()), "call")
    await control.entered.wait()
    await lab.within(lab.server, server.listener.close())
    assert control.left.is_set()
    with pytest.raises(ConnectionFailed):
        await call


@simulated
async def test_calls_waiting_for_a_free_stream_fail_with_the_connection(lab: Laboratory) -> None:
    control, channel, _ = await control_of(lab)
    stub = channel.stub(ControlStub)
    calls = [lab.client.spawn(stub.list_jobs(Empty()), "call") for _ in range(1100)]
    await control.entered.wait()
    lab.client.call(channel.close)
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(result) for result in results} == {ConnectionFailed}


@simulated
async def test_a_caller_that_gives_up_while_it_waits_leaves_its_turn_to_the_next(lab: Laboratory) -> None:
    control, channel, _ = await control_of(lab)
    stub = channel.stub(ControlStub)
    holding = [lab.client.spawn(stub.list_jobs(Empty()), "holding") for _ in range(1000)]
    await control.entered.wait()
    waiting = [lab.client.spawn(stub.kv_get(KvKey(key=b"k")), "waiting") for _ in range(5)]
    await asyncio.sleep(1)
    assert not any(call.done() for call in waiting)
    holding[0].cancel()
    for call in waiting[:4]:
        call.cancel()
    assert (await waiting[4]).value == b"kk"


@simulated
async def test_a_killed_server_fails_the_calls_to_it_and_its_methods_never_go_on(lab: Laboratory) -> None:
    control, channel, _ = await control_of(lab)
    call = lab.client.spawn(channel.stub(ControlStub).list_jobs(Empty()), "call")
    await control.entered.wait()
    lab.server.kill("a test")
    with pytest.raises(ConnectionFailed, match="was lost"):
        await call
    assert not control.left.is_set()
