"""The control plane behind a real socket: the same managers, this time over gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgpack
import pytest

from asyncray.config import Config
from asyncray.control.service import ControlPlane
from asyncray.ids import ActorId, FunctionId, JobId, NodeId, ProcessId, TaskId
from asyncray.messages import (
    ACTOR_DIED,
    ACTOR_PLACED,
    ACTOR_STATE,
    HELLO,
    JOB,
    JOB_ACCEPTED,
    JOB_ENDED,
    NODE_ACCEPTED,
    PLACE_ACTOR,
    REGISTER_NODE,
    SUBSCRIBE_ACTOR,
    VIEW,
)
from asyncray.proto import ActorName, ActorSpec, ControlStub, Empty, KvKey, KvPutRequest
from asyncray.rpc.network import Channel, GrpcNetwork
from asyncray.rpc.stream import FrameStream

pytestmark = pytest.mark.usefixtures("leaves_nothing_behind")


class Inbox:
    """Receives on one stream."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[list[Any]] = asyncio.Queue()
        self.closed: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def on_message(self, stream: FrameStream, message: list[Any]) -> None:
        self.messages.put_nowait(message)

    def on_close(self, stream: FrameStream, error: Exception | None) -> None:
        self.closed.set_result(error)

    async def next(self, kind: int) -> list[Any]:
        async with asyncio.timeout(10):
            while (message := await self.messages.get())[0] != kind:
                pass
            return message


@pytest.fixture
async def channel(tmp_path: Path) -> AsyncIterator[Channel]:
    network = GrpcNetwork("secret")
    path = str(tmp_path / "control.sock")
    control = ControlPlane(network, Config(resource_report_interval=0.01), unix_path=path)
    ready = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(control.serve(on_ready=ready.set))
        await ready.wait()
        assert control.port == 0, "it was given no host"
        channel = await network.connect(f"unix:{path}")
        yield channel
        channel.close()
        control.request_stop("the test is over")


async def test_an_actor_lives_and_dies_over_grpc(channel: Channel) -> None:
    stub = channel.stub(ControlStub)
    node_id, job_id, class_id = NodeId.random(), JobId.random(), FunctionId.of(b"class")
    assert (await stub.kv_put(KvPutRequest(namespace="functions", key=class_id, value=b"class"))).added
    assert (await stub.kv_get(KvKey(namespace="functions", key=class_id))).value == b"class"

    node = Inbox()
    register = (REGISTER_NODE, node_id, "127.0.0.1:1", {"total": {"CPU": 20_000}, "hostname": "here"})
    node_stream = await channel.open("/asyncray.Control/NodeSession", node, register)
    await node.next(NODE_ACCEPTED)
    assert (await node.next(VIEW))[1] == [[node_id, "127.0.0.1:1", {"CPU": 20_000}, {"CPU": 20_000}, {}, True]]
    (info,) = (await stub.list_nodes(Empty())).nodes
    assert (info.node_id, info.total, info.alive) == (node_id, {"CPU": 2.0}, True)

    driver, driver_id = Inbox(), ProcessId.random()
    hello = (HELLO, [driver_id, node_id, "/driver.sock", ""], "driver")
    driver_stream = await channel.open("/asyncray.Control/ProcessSession", driver, hello, (JOB, job_id, {"pid": 1}))
    await driver.next(JOB_ACCEPTED)

    actor_id = ActorId.random()
    spec = ActorSpec(
        actor_id=actor_id,
        job_id=job_id,
        class_id=class_id,
        class_name="Counter",
        owner=driver_id,
        arguments=msgpack.packb([b"arguments", None]),
        placement={"CPU": 1.0},
        creation_task_id=TaskId.random(),
        name="counter",
    )
    assert (await stub.create_actor(spec)).created
    driver_stream.send((SUBSCRIBE_ACTOR, actor_id))
    assert (await node.next(PLACE_ACTOR))[1] == actor_id
    worker = [ProcessId.random(), node_id, "/worker.sock", ""]
    node_stream.send((ACTOR_PLACED, actor_id, worker, 7, None))
    while (state := await driver.next(ACTOR_STATE))[2] != "ALIVE":
        assert state[2] == "PENDING"
    assert state[3] == worker
    found = await stub.get_actor(ActorName(name="counter"))
    assert found.found and found.actor.pid == 7
    node_stream.send((ACTOR_DIED, actor_id, "signal 9", None))
    assert (await driver.next(ACTOR_STATE))[2] == "DEAD"

    driver_stream.close()
    assert await node.next(JOB_ENDED) == [JOB_ENDED, job_id]
    node_stream.close()
    async with asyncio.timeout(10):
        await asyncio.gather(driver.closed, node.closed)


async def test_a_taken_job_id_is_refused_with_a_clear_error(channel: Channel) -> None:
    job_id = JobId.random()
    inboxes = [Inbox(), Inbox()]
    for inbox in inboxes:
        hello = (HELLO, [ProcessId.random(), NodeId.random(), "", ""], "driver")
        await channel.open("/asyncray.Control/ProcessSession", inbox, hello, (JOB, job_id, {}))
    await inboxes[0].next(JOB_ACCEPTED)
    async with asyncio.timeout(10):
        assert "is taken: connect again with another" in str(await inboxes[1].closed)
