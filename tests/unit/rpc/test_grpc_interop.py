"""Any gRPC tool can talk to our streams and methods: here Google's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgpack
import pytest

from asyncray import messages
from asyncray.proto import Empty, Frame, NodeBase, NodeStatus
from asyncray.rpc.network import GrpcNetwork

from .endpoints import PATIENCE, ROUTE, TOKEN, Recorder, Server, number_of, release

grpc = pytest.importorskip("grpc")
aio = pytest.importorskip("grpc.aio")

pytestmark = [pytest.mark.usefixtures("leaves_nothing_behind"), pytest.mark.asyncio(loop_factories=["asyncio"])]

AUTHORIZED = (("authorization", f"Bearer {TOKEN}"),)


class Node(NodeBase):
    async def status(self, request: Empty) -> NodeStatus:
        return NodeStatus(workers=3)


@pytest.fixture
async def node() -> AsyncIterator[Server]:
    server = Server()
    server.on_message = lambda stream, message: stream.send(message)
    server.listener = await GrpcNetwork(TOKEN).listen(
        services=[Node()], streams={ROUTE: server.accept}, host="127.0.0.1"
    )
    yield server
    await server.listener.close()


@pytest.fixture
async def google(node: Server) -> AsyncIterator[Any]:
    async with aio.insecure_channel(node.tcp, options=[("grpc.max_receive_message_length", -1)]) as channel:
        yield channel


def frame(*batch: Any) -> bytes:
    return bytes(Frame(body=msgpack.packb(batch)))


def contents(data: bytes) -> list[list[Any]]:
    batch: list[list[Any]] = msgpack.unpackb(Frame().parse(data).body)
    return batch


async def test_a_google_client_calls_a_method(google: Any) -> None:
    async with asyncio.timeout(PATIENCE):
        reply = await google.unary_unary("/asyncray.Node/Status")(bytes(Empty()), metadata=AUTHORIZED)
    assert NodeStatus().parse(reply).workers == 3


async def test_a_google_client_speaks_on_a_stream(google: Any, node: Server) -> None:
    async with asyncio.timeout(PATIENCE):
        call = google.stream_stream(ROUTE)(metadata=AUTHORIZED)
        await call.write(frame(release(1), release(2)))
        assert [number_of(message) for message in contents(await call.read())] == [1, 2]
        large = [messages.RELEASE, bytes(6_000_000)]
        await call.write(frame(large))
        assert contents(await call.read()) == [large]
        await call.done_writing()
        assert await call.read() == aio.EOF
        assert await call.code() == grpc.StatusCode.OK
        assert await node.last.recorder.ended() is None


async def test_a_google_client_sees_why_a_stream_was_closed(google: Any) -> None:
    async with asyncio.timeout(PATIENCE):
        call = google.stream_stream(ROUTE)(metadata=AUTHORIZED)
        await call.write(frame([9999]))
        with pytest.raises(aio.AioRpcError) as error:
            await call.read()
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "kind 9999" in error.value.details()


async def test_a_google_client_without_the_token_is_refused(google: Any, node: Server) -> None:
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(aio.AioRpcError) as error:
            await google.unary_unary("/asyncray.Node/Status")(b"")
        assert error.value.code() == grpc.StatusCode.UNAUTHENTICATED
        with pytest.raises(aio.AioRpcError) as error:
            await google.stream_stream(ROUTE)(metadata=(("authorization", "Bearer wrong"),)).read()
        assert error.value.code() == grpc.StatusCode.UNAUTHENTICATED
    assert not node.accepted


async def test_a_cancelled_google_call_ends_the_stream(google: Any, node: Server) -> None:
    async with asyncio.timeout(PATIENCE):
        call = google.stream_stream(ROUTE)(metadata=AUTHORIZED)
        await call.write(frame(release(1)))
        await call.read()
        call.cancel()
    assert "CANCEL" in str(await node.last.recorder.ended())


async def test_our_client_speaks_to_a_google_server() -> None:
    async def session(requests: Any, context: Any) -> AsyncIterator[bytes]:
        assert dict(context.invocation_metadata())["authorization"] == f"Bearer {TOKEN}"
        # grpcio sends its headers with the first message: our client's open waits for them.
        await context.send_initial_metadata(())
        async for request in requests:
            yield request

    server = aio.server(options=[("grpc.max_receive_message_length", -1)])
    handler = grpc.stream_stream_rpc_method_handler(session)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("asyncray.Peer", {"Session": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = await GrpcNetwork(TOKEN).connect(f"127.0.0.1:{port}")
    recorder = Recorder()
    stream = await channel.open(ROUTE, recorder)
    large = [messages.RELEASE, bytes(6_000_000)]
    stream.send(release(1))
    stream.send(large)
    await recorder.received(2)
    assert recorder.messages == [list(release(1)), large]
    stream.close()
    assert await recorder.ended() is None
    channel.close()
    await server.stop(None)
