"""A control plane without sockets: the tests hold the other end of each of its streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import msgpack
import pytest

from asyncray.config import Config
from asyncray.control.service import ControlPlane
from asyncray.errors import ProtocolError
from asyncray.ids import ActorId, FunctionId, JobId, NodeId, ProcessId, TaskId
from asyncray.messages import (
    ACTOR_PLACED,
    HELLO,
    JOB,
    JOB_ACCEPTED,
    NODE_ACCEPTED,
    PLACE_ACTOR,
    REGISTER_NODE,
    SHAPES,
    SUBSCRIBE_ACTOR,
    VIEW,
)
from asyncray.proto import ActorSpec, ControlBase
from asyncray.resources import to_units

PATIENCE = 5.0


def over_the_wire(message: Any) -> list[Any]:
    received: list[Any] = msgpack.unpackb(msgpack.packb(message), strict_map_key=False)
    shape = tuple(map(type, received))
    assert shape in SHAPES[received[0]], f"a peer would refuse {received}"
    return received


class FakeStream:
    """Both ends of a stream: what the control plane has sent waits in `inbox`."""

    def __init__(self, accept: Callable[[Any], Any]) -> None:
        self.inbox: list[list[Any]] = []
        self.closed = False
        self.error: Exception | None = None
        self._arrived = asyncio.Event()
        self.receiver = accept(self)

    def send(self, message: Any) -> None:
        if not self.closed:
            self.inbox.append(over_the_wire(message))
            self._arrived.set()

    def send_packed(self, packed: bytes) -> None:
        self.send(msgpack.unpackb(packed))

    def close(self, error: Exception | None = None) -> None:
        if not self.closed:
            self.closed, self.error = True, error
            self._arrived.set()
            asyncio.get_running_loop().call_soon(self.receiver.on_close, self, error)

    def deliver(self, *message: Any) -> None:
        """The peer sends."""
        assert not self.closed, self.error
        try:
            self.receiver.on_message(self, over_the_wire(message))
        except ProtocolError as error:
            self.close(error)

    async def next(self, kind: int) -> list[Any]:
        """Takes the oldest message of that kind; waits for it if need be. Others stay."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for message in self.inbox:
                    if message[0] == kind:
                        self.inbox.remove(message)
                        return message
                assert not self.closed, self.error
                self._arrived.clear()
                await self._arrived.wait()

    async def ended(self) -> Exception | None:
        async with asyncio.timeout(PATIENCE):
            while not self.closed:
                self._arrived.clear()
                await self._arrived.wait()
        return self.error

    def kinds(self) -> list[int]:
        return [message[0] for message in self.inbox]


class FakeNode(FakeStream):
    """A node manager that has joined."""

    def __init__(self, accept: Callable[[Any], Any], node_id: NodeId, amounts: Mapping[str, float]) -> None:
        super().__init__(accept)
        self.node_id = node_id
        self.total = to_units(amounts)
        info = {"hostname": "host", "pid": 7, "total": self.total, "labels": {"zone": "a"}, "session_dir": "/s"}
        self.deliver(REGISTER_NODE, node_id, "127.0.0.1:1", {**info, "head": False})

    def worker(self) -> list[Any]:
        """The address of a new worker."""
        return [ProcessId.random(), self.node_id, "/worker.sock", "127.0.0.1:2"]

    async def start_actor(self) -> tuple[ActorId, list[Any]]:
        """Takes the next placement, and answers that the actor lives in a new worker."""
        placement = await self.next(PLACE_ACTOR)
        address = self.worker()
        self.deliver(ACTOR_PLACED, placement[1], address, 99, None)
        return ActorId(placement[1]), address


class FakeProcess(FakeStream):
    """A driver or a worker that has said hello."""

    def __init__(self, accept: Callable[[Any], Any], address: list[Any], role: str) -> None:
        super().__init__(accept)
        self.process_id = ProcessId(address[0])
        self.job_id = JobId.random()
        self.deliver(HELLO, address, role)

    def subscribe(self, actor_id: bytes) -> None:
        self.deliver(SUBSCRIBE_ACTOR, actor_id)


class FakeNetwork:
    def __init__(self) -> None:
        self.handlers: Any = None
        self.streams: Mapping[str, Callable[[Any], Any]] = {}

    async def listen(self, *, services: Any, streams: Any, **where: Any) -> FakeNetwork:
        (self.handlers,) = services
        self.streams = streams
        return self

    def stop_accepting(self) -> None:
        self.streams = {}

    async def close(self) -> None:
        assert not self.streams


class Cluster:
    """A running control plane, and whoever the test lets talk to it."""

    def __init__(self, control: ControlPlane, network: FakeNetwork) -> None:
        self.control = control
        self.network = network
        self.calls: ControlBase = network.handlers

    def stream(self, name: str) -> FakeStream:
        """A stream on which nothing was said."""
        return FakeStream(self.network.streams[f"/asyncray.Control/{name}"])

    async def lost(self, node: FakeNode) -> None:
        """Returns when the control plane knows that the node is dead."""
        async with asyncio.timeout(PATIENCE):
            while self.control.nodes.table.death_cause(node.node_id) is None:
                await asyncio.sleep(0)

    async def ended(self, driver: FakeProcess) -> None:
        """Returns when the control plane knows that the driver's job is over."""
        async with asyncio.timeout(PATIENCE):
            while self.control.jobs.get(driver.job_id).alive:  # type: ignore[union-attr]
                await asyncio.sleep(0)

    async def node(self, node_id: NodeId | None = None, **amounts: float) -> FakeNode:
        accept = self.network.streams["/asyncray.Control/NodeSession"]
        node = FakeNode(accept, node_id or NodeId.random(), amounts or {"CPU": 4})
        await node.next(NODE_ACCEPTED)
        await node.next(VIEW)
        return node

    def process(self, address: list[Any] | None = None, role: str = "worker") -> FakeProcess:
        accept = self.network.streams["/asyncray.Control/ProcessSession"]
        address = address or [ProcessId.random(), NodeId.random(), "/process.sock", "127.0.0.1:3"]
        return FakeProcess(accept, address, role)

    async def driver(self, **info: Any) -> FakeProcess:
        driver = self.process(role="driver")
        driver.deliver(JOB, driver.job_id, {"pid": 5, "entrypoint": "app.py", "sys_path": ["/app"], **info})
        await driver.next(JOB_ACCEPTED)
        return driver

    def actor(self, owner: FakeProcess, /, **fields: Any) -> ActorSpec:
        """The specification of an actor with Ray's default resources."""
        defaults: dict[str, Any] = {
            "actor_id": ActorId.random(),
            "job_id": owner.job_id,
            "class_id": FunctionId.of(b"class"),
            "class_name": "Counter",
            "owner": owner.process_id,
            "arguments": msgpack.packb([b"arguments", None]),
            "placement": {"CPU": 1.0},
            "creation_task_id": TaskId.random(),
        }
        return ActorSpec(**{**defaults, **fields})

    async def create(self, owner: FakeProcess, /, **fields: Any) -> ActorId:
        spec = self.actor(owner, **fields)
        reply = await self.calls.create_actor(spec)
        assert reply.created, reply.error
        return ActorId(spec.actor_id)


@pytest.fixture
def config() -> Config:
    """Times that a test can wait for."""
    return Config(resource_report_interval=0.01, infeasible_warning_after=0.01)


@pytest.fixture
async def cluster(config: Config) -> AsyncIterator[Cluster]:
    network = FakeNetwork()
    control = ControlPlane(network, config, unix_path="/control.sock")  # type: ignore[arg-type]
    ready = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(control.serve(on_ready=ready.set))
        await ready.wait()
        yield Cluster(control, network)
        control.request_stop("the test is over")
