"""Every service of a running cluster, over every socket, refuses whoever has not the token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import pytest_asyncio

import asyncray
from asyncray import messages
from asyncray.errors import AuthenticationError
from asyncray.proto import ControlStub, Empty, Frame, KillActorRequest, KvKey, KvPutRequest, NodeStatus, NodeStub
from asyncray.rpc.network import Channel, GrpcNetwork
from asyncray.rpc.stream import FrameStream

from ..unit.rpc.raw_http2 import raw_client
from .conftest import runtime
from .polling import PATIENCE

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("shared_cluster")]

SERVICES = ("control", "node", "driver", "worker")
STREAMS = {
    "control": ("/asyncray.Control/ProcessSession", "/asyncray.Control/NodeSession"),
    "node": ("/asyncray.Node/Session",),
    "driver": ("/asyncray.Peer/Session",),
    "worker": ("/asyncray.Peer/Session",),
}
WRONG = {"authorization": "Bearer wrong"}
PLACES = [(service, kind) for service in SERVICES for kind in ("unix", "tcp")]


@asyncray.remote
class Neighbour:
    """Keeps a worker, and says where it listens."""

    def address(self) -> list[Any]:
        return runtime().address

    def value(self) -> str:
        return "unharmed"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def targets(shared_cluster: None) -> AsyncIterator[dict[tuple[str, str], str]]:
    """Where the services listen: `unix:/path`, and `host:port`."""
    driver = runtime()
    node = driver.nodes.own
    assert node is not None
    neighbour = Neighbour.remote()
    worker = await neighbour.address.remote()
    yield {
        ("control", "unix"): driver.membership.control_target,
        ("control", "tcp"): driver.job["address"],
        ("node", "unix"): driver.membership.node_target,
        ("node", "tcp"): node.address,
        ("driver", "unix"): f"unix:{driver.address[2]}",
        ("driver", "tcp"): driver.address[3],
        ("worker", "unix"): f"unix:{worker[2]}",
        ("worker", "tcp"): worker[3],
    }
    assert await neighbour.value.remote() == "unharmed"


@pytest.fixture(params=PLACES, ids=" over ".join)
def place(request: pytest.FixtureRequest, targets: dict[tuple[str, str], str]) -> tuple[str, str]:
    """A service, and its address."""
    service, _ = request.param
    return service, targets[request.param]


class Ignorant:
    """Receives nothing that matters."""

    def __init__(self) -> None:
        self.ended: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def on_message(self, stream: FrameStream, message: list[Any]) -> None: ...

    def on_close(self, stream: FrameStream, error: Exception | None) -> None:
        self.ended.set_result(error)


def token() -> str:
    """The cluster's."""
    directory = runtime().membership.socket_dir.removesuffix("/s")
    with open(f"{directory}/token") as file:
        return file.read()


async def connect(target: str, credential: str) -> Channel:
    return await GrpcNetwork(credential).connect(target)


# ---- by our own client


@pytest.mark.parametrize("credential", ["wrong", "x" * 1000])
async def test_a_stream_with_a_wrong_token_is_refused(place: tuple[str, str], credential: str) -> None:
    service, target = place
    channel = await connect(target, credential)
    for route in STREAMS[service]:
        with pytest.raises(AuthenticationError, match="ASYNCRAY_TOKEN"):
            await channel.open(route, Ignorant(), (messages.HELLO, [bytes(16), bytes(16), "", ""], "driver"))
    channel.close()


async def test_a_stream_with_the_right_token_is_taken(place: tuple[str, str]) -> None:
    service, target = place
    channel = await connect(target, token())
    for route in STREAMS[service]:
        receiver = Ignorant()
        stream = await channel.open(route, receiver)
        stream.close()
        assert await receiver.ended is None
    channel.close()


async def test_no_call_of_the_control_plane_or_a_node_is_answered_without_the_token(
    targets: dict[tuple[str, str], str],
) -> None:
    for kind in ("unix", "tcp"):
        control, node = await connect(targets["control", kind], "wrong"), await connect(targets["node", kind], "wrong")
        calls = [
            control.stub(ControlStub).kv_put(KvPutRequest("functions", b"key", b"value", overwrite=True)),
            control.stub(ControlStub).kv_get(KvKey("functions", b"key")),
            control.stub(ControlStub).list_nodes(Empty()),
            control.stub(ControlStub).kill_actor(KillActorRequest(bytes(16))),
            node.stub(NodeStub).status(Empty()),
        ]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [AuthenticationError] * len(calls)
        control.close()
        node.close()
    stub = await runtime().control.stub()
    assert not (await stub.kv_get(KvKey("functions", b"key"))).found


# ---- by another gRPC implementation


@pytest.mark.parametrize("metadata", [None, WRONG, {"authorization": ""}, {"authorization": "Basic eDp5"}], ids=str)
async def test_other_clients_are_refused_without_the_token(
    targets: dict[tuple[str, str], str], metadata: dict[str, str] | None
) -> None:
    for (service, _), target in targets.items():
        async with grpc.aio.insecure_channel(target) as channel:
            given = list(metadata.items()) if metadata else None
            for route in STREAMS[service]:
                stream = channel.stream_stream(route)(metadata=given, timeout=PATIENCE)
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await stream.read()
                assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await channel.unary_unary("/asyncray.Node/Status")(b"", metadata=given, timeout=PATIENCE)
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_other_clients_are_served_with_the_token(targets: dict[tuple[str, str], str]) -> None:
    metadata = [("authorization", f"Bearer {token()}")]
    for kind in ("unix", "tcp"):
        async with grpc.aio.insecure_channel(targets["node", kind]) as channel:
            answer = await channel.unary_unary("/asyncray.Node/Status")(b"", metadata=metadata, timeout=PATIENCE)
            assert NodeStatus().parse(answer).node.total["CPU"] == 2


# ---- with the token, but nonsense


def nonsense() -> dict[str, tuple[bytes, bool]]:
    """Frames, and whether each ends its stream."""
    return {
        "no messages": (bytes(Frame(b"\x90")), False),
        "not msgpack": (bytes(Frame(b"\xc1\xc1\xc1")), True),
        "cut short": (bytes(Frame(b"\xdc\xff\xff")), True),
        "not a list": (bytes(Frame(b"\x01")), True),
        "an unknown kind": (bytes(Frame(b"\x91\x92\xcd\x03\xe7\x01")), True),
        "a wrong shape": (bytes(Frame(b"\x91\x92\x0f\xa1x")), True),
        "no hello first": (bytes(Frame(b"\x91\x92\x0f\xc4\x01x")), True),
        "not a frame": (b"\xff" * 100, True),
        "deeply nested": (bytes(Frame(b"\x91" * 100_000)), True),
    }


@pytest.mark.parametrize("name", nonsense())
async def test_a_malformed_frame_closes_its_stream_and_harms_nobody(
    targets: dict[tuple[str, str], str], name: str
) -> None:
    frame, ends = nonsense()[name]
    metadata = [("authorization", f"Bearer {token()}")]
    for service in SERVICES:
        async with grpc.aio.insecure_channel(targets[service, "unix"]) as channel:
            for route in STREAMS[service]:
                stream = channel.stream_stream(route)(metadata=metadata, timeout=PATIENCE)
                await stream.write(frame)
                if ends:
                    with pytest.raises(grpc.aio.AioRpcError) as closed:
                        await stream.read()
                    assert closed.value.code() is not grpc.StatusCode.DEADLINE_EXCEEDED
                    assert "\n" not in (closed.value.details() or "")
                else:
                    await stream.done_writing()
                    assert await stream.read() is grpc.aio.EOF
    await still_works()


async def test_an_oversized_frame_is_refused_before_it_is_received(targets: dict[tuple[str, str], str]) -> None:
    limit = runtime().config.frame_limit
    head = b"\0" + (limit + 1000).to_bytes(4, "big") + b"\x0a"
    for service in SERVICES:
        async with raw_client(targets[service, "unix"].removeprefix("unix:")) as client:
            stream = client.request(STREAMS[service][0], token())
            client.send(stream, head + bytes(1000))
            trailers = await client.trailers(stream)
            assert trailers["grpc-status"] != "0"
    await still_works()


async def still_works() -> None:
    """Tasks run, actors live, objects are stored, and the sessions of this driver have not ended."""

    @asyncray.remote
    def double(number: int) -> int:
        return 2 * number

    assert await asyncio.gather(*(double.remote(number) for number in range(10))) == list(range(0, 20, 2))
    assert await Neighbour.remote().value.remote() == "unharmed"
    assert len(await (await asyncray.put(bytes(200_000)))) == 200_000
    assert [node["Alive"] for node in await asyncray.nodes()] == [True]


async def test_connections_that_say_nothing_or_speak_something_else_harm_nobody(
    targets: dict[tuple[str, str], str],
) -> None:
    writers = []
    for service in SERVICES:
        path = targets[service, "unix"].removeprefix("unix:")
        for greeting in (b"", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\0" * 100, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"):
            _, writer = await asyncio.open_unix_connection(path)
            writer.write(greeting)
            writers.append(writer)
    await still_works()
    for writer in writers:
        writer.close()
    await still_works()
