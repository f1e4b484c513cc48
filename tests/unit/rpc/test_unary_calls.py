from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from asyncray.errors import AsyncrayError, ConnectionFailed, ProtocolError
from asyncray.proto import (
    ControlBase,
    ControlStub,
    Empty,
    Frame,
    KvGetReply,
    KvKey,
    KvPutReply,
    KvPutRequest,
    ListNodesReply,
    NodeInfo,
)
from asyncray.rpc.network import Channel, GrpcNetwork, Listener

from .endpoints import PATIENCE, TOKEN
from .raw_http2 import prefixed, raw_client

pytestmark = pytest.mark.usefixtures("leaves_nothing_behind")


class Control(ControlBase):
    """Serves what the tests call."""

    def __init__(self) -> None:
        self.called = 0
        self.cancelled = 0
        self.entered = asyncio.Event()
        self.left = asyncio.Event()

    async def kv_put(self, request: KvPutRequest) -> KvPutReply:
        self.called += 1
        return KvPutReply(added=len(request.value) > 0)

    async def kv_get(self, request: KvKey) -> KvGetReply:
        return KvGetReply(found=True, value=request.key * 2)

    async def list_nodes(self, request: Empty) -> ListNodesReply:
        return ListNodesReply(nodes=[NodeInfo(hostname="a"), NodeInfo(hostname="b")])

    async def list_jobs(self, request: Empty) -> ListNodesReply:  # type: ignore[override]
        self.entered.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.left.set()
        return ListNodesReply()

    async def list_actors(self, request: Empty) -> ListNodesReply:  # type: ignore[override]
        raise ValueError("a bug")


@pytest.fixture
def control() -> Control:
    return Control()


@pytest.fixture
async def listener(control: Control, socket_path: str) -> AsyncIterator[Listener]:
    listener = await GrpcNetwork(TOKEN).listen(services=[control], unix_path=socket_path)
    yield listener
    await listener.close()


@pytest.fixture
async def channel(listener: Listener) -> AsyncIterator[Channel]:
    channel = await GrpcNetwork(TOKEN).connect(f"unix:{listener.unix_path}")
    yield channel
    channel.close()


@pytest.fixture
def stub(channel: Channel) -> ControlStub:
    return channel.stub(ControlStub)


async def test_a_call_returns_its_reply(stub: ControlStub) -> None:
    reply = await stub.list_nodes(Empty())
    assert [node.hostname for node in reply.nodes] == ["a", "b"]
    assert (await stub.kv_put(KvPutRequest(value=b""))).added is False


@pytest.mark.parametrize("size", [0, 1, 20_000, 10_000_000])
async def test_requests_and_replies_of_any_size_arrive(stub: ControlStub, size: int) -> None:
    reply = await stub.kv_get(KvKey(key=b"k" * size))
    assert reply.value == b"k" * 2 * size


async def test_too_large_a_request_is_refused_and_the_connection_goes_on(stub: ControlStub) -> None:
    with pytest.raises(ProtocolError, match="too large"):
        await stub.kv_put(KvPutRequest(value=bytes(64 * 1024 * 1024 + 1)))
    assert (await stub.kv_put(KvPutRequest(value=b"1"))).added


async def test_too_large_a_reply_is_refused_and_the_connection_goes_on(stub: ControlStub) -> None:
    with pytest.raises(ProtocolError, match="limit"):
        await stub.kv_get(KvKey(key=bytes(33 * 1024 * 1024)))
    assert (await stub.kv_put(KvPutRequest(value=b"1"))).added


async def test_a_thousand_calls_at_once_are_all_answered(stub: ControlStub, control: Control) -> None:
    async with asyncio.timeout(PATIENCE):
        replies = await asyncio.gather(*(stub.kv_get(KvKey(key=b"%d" % number)) for number in range(1000)))
    assert [reply.value for reply in replies] == [b"%d%d" % (number, number) for number in range(1000)]


async def test_a_request_that_is_not_its_message_is_refused_and_harms_nothing_else(
    listener: Listener, control: Control, caplog: pytest.LogCaptureFixture
) -> None:
    async with raw_client(listener.unix_path or "") as raw:
        bad, good = raw.request("/asyncray.Control/KvPut"), raw.request("/asyncray.Control/KvPut")
        raw.send(bad, prefixed(b"\x0a\x01\xff"), end=True)
        raw.send(good, prefixed(bytes(KvPutRequest(value=b"1"))), end=True)
        response = await raw.response(bad)
        assert response["grpc-status"] == "3"
        assert "KvPutRequest" in response["grpc-message"]
        assert (await raw.trailers(good))["grpc-status"] == "0"
    assert control.called == 1
    assert "Traceback" not in caplog.text


async def test_a_method_that_fails_fails_the_call_only(stub: ControlStub) -> None:
    with pytest.raises(AsyncrayError, match="Internal Server Error"):
        await stub.list_actors(Empty())
    assert (await stub.kv_put(KvPutRequest(value=b"1"))).added


async def test_a_method_that_is_not_implemented_is_named(stub: ControlStub) -> None:
    with pytest.raises(ProtocolError, match="UNIMPLEMENTED"):
        await stub.kv_delete(KvKey())


async def test_a_call_that_takes_too_long_times_out_on_both_sides(stub: ControlStub, control: Control) -> None:
    with pytest.raises(TimeoutError):
        await stub.list_jobs(Empty(), timeout=0.05)
    async with asyncio.timeout(PATIENCE):
        await control.left.wait()


async def test_a_cancelled_call_is_cancelled_at_the_server(stub: ControlStub, control: Control) -> None:
    call = asyncio.create_task(stub.list_jobs(Empty()))
    async with asyncio.timeout(PATIENCE):
        await control.entered.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await control.left.wait()
    assert control.cancelled == 1


async def test_closing_the_channel_fails_its_calls_and_leaves_no_cancellation_behind(
    stub: ControlStub, channel: Channel, control: Control
) -> None:
    call = asyncio.create_task(stub.list_jobs(Empty()))
    await control.entered.wait()
    channel.close()
    with pytest.raises(ConnectionFailed):
        await call
    assert call.cancelling() == 0
    async with asyncio.timeout(PATIENCE):
        await control.left.wait()


async def test_closing_the_listener_cancels_its_calls_and_waits_for_them(
    stub: ControlStub, listener: Listener, control: Control
) -> None:
    call = asyncio.create_task(stub.list_jobs(Empty()))
    await control.entered.wait()
    await listener.close()
    assert control.left.is_set()
    with pytest.raises(ConnectionFailed):
        await call


async def test_calls_waiting_for_a_free_stream_fail_with_the_connection(
    stub: ControlStub, channel: Channel, control: Control
) -> None:
    calls = [asyncio.create_task(stub.list_jobs(Empty())) for _ in range(1100)]
    async with asyncio.timeout(PATIENCE):
        await control.entered.wait()
        channel.close()
        results = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(result) for result in results} == {ConnectionFailed}


async def test_a_caller_that_gives_up_while_it_waits_for_a_free_stream_leaves_its_turn_to_the_next(
    stub: ControlStub, control: Control
) -> None:
    holding = [asyncio.create_task(stub.list_jobs(Empty())) for _ in range(1000)]
    async with asyncio.timeout(PATIENCE):
        await control.entered.wait()
        waiting = [asyncio.create_task(stub.kv_get(KvKey(key=b"k"))) for _ in range(5)]
        await asyncio.sleep(0.05)
        assert not any(call.done() for call in waiting)
        holding[0].cancel()
        for call in waiting[:4]:
            call.cancel()
        assert (await waiting[4]).value == b"kk"
        for call in holding:
            call.cancel()
        await asyncio.wait(holding)


async def test_a_stream_cannot_be_called_as_a_method(stub: ControlStub) -> None:
    with pytest.raises(NotImplementedError, match=r"Channel\.open"):
        async for _ in stub.node_session([Frame()]):
            pass
