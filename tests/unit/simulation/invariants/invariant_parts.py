"""Real components without a network, in a state that tests can spoil."""

from __future__ import annotations

from itertools import count
from random import Random
from types import SimpleNamespace
from typing import Any

from asyncray import messages
from asyncray.config import Config
from asyncray.ids import store_key
from asyncray.node.control_link import NodeIdentity
from asyncray.node.service import NodeManager, NodeSettings
from asyncray.platform import Platform
from asyncray.resources import to_units
from asyncray.simulation.disk import SimulatedDisk
from asyncray.simulation.invariants import ClusterState
from asyncray.simulation.memory import SimulatedArenas
from asyncray.store.table import ObjectTable
from asyncray.worker.runtime import Job, Membership, Runtime

from ...node.puppet_node import Launches, Puppet

NODE = b"n" * 16
JOB = b"job1"


class Node:
    """A node manager whose processes are puppets: one driver, and workers that come up when told to."""

    def __init__(self, **amounts: float) -> None:
        numbers = count(1)
        self.launches = Launches()
        self.manager = NodeManager(
            NodeSettings(NodeIdentity(NODE, "host", 1, "/session"), to_units(amounts), "unix:/control", "/node.sock"),
            Platform(None, entropy=lambda size: next(numbers).to_bytes(size, "little")),  # type: ignore[arg-type]
            self.launches,
            Config(),
        )
        listener: Any = SimpleNamespace(host="127.0.0.1", port=1)
        self.manager.listener = listener
        self.manager.store.use(ObjectTable(1 << 20), SimulatedArenas(SimulatedDisk(Random(0))).create(1 << 20))
        self.sessions = self.manager.sessions

    @property
    def state(self) -> ClusterState:
        return ClusterState(None, [self.manager], [])

    async def start(self) -> Node:
        await self.manager.pool.start()
        self.driver = Puppet(self, b"d" * 16, JOB)  # type: ignore[arg-type]
        return self

    def come_up(self, most: int = 100) -> list[Puppet]:
        """Workers that were launched register, at most so many."""
        starting, self.launches.starting = self.launches.starting[:most], self.launches.starting[most:]
        return [Puppet(self, process_id, None) for process_id in starting]  # type: ignore[arg-type]


async def busy_node() -> Node:
    """Has two leases, a queue, a lease that waits for its worker, an actor, and objects in all states."""
    node = await Node(CPU=3, GPU=2, memory=8).start()
    first, second = node.come_up(2)
    node.driver.ask(1, CPU=1, GPU=0.5)
    node.driver.ask(2, CPU=1)
    first.say(messages.BLOCKED)
    node.driver.ask(3, CPU=3)
    node.manager.actors.place(b"actor-----------", JOB, {}, {"memory": 10_000}, {}, [b"", b"", "Actor"])
    node.driver.ask(4, CPU=0.5, memory=1)
    objects = [store_key(bytes([number]) * 20, b"d" * 16) for number in range(4)]
    for object_id in objects:
        first.say(messages.CREATE, 1, object_id, 100_000)
    for object_id in objects[:3]:
        first.say(messages.SEAL, object_id)
    for object_id in objects[:2]:
        second.say(messages.PIN, 1, object_id, 100_000, [], messages.FOR_GET)
    node.driver.say(messages.PIN, 1, objects[2], 100_000, [], messages.FOR_GET)
    node.driver.say(messages.FREE, objects[:1])
    node.driver.say(messages.PIN, 2, objects[3], 100_000, [], messages.FOR_GET)
    return node


def driver_runtime() -> Runtime:
    """Has not been started: it belongs to no cluster."""
    membership = Membership("unix:/node.sock", "unix:/control.sock", NODE, "/sockets")
    numbers = count(1)
    platform = Platform(None, entropy=lambda size: next(numbers).to_bytes(size, "big"))  # type: ignore[arg-type]
    return Runtime(platform, Config(), membership, "driver", b"d" * 16, Job(JOB))
