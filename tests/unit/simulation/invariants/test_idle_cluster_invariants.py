"""A real control plane, node manager and driver in one loop, over Unix sockets, with no work to do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from asyncray.config import Config
from asyncray.control.service import ControlPlane
from asyncray.ids import NodeId
from asyncray.node.control_link import NodeIdentity
from asyncray.node.service import NodeManager, NodeSettings
from asyncray.platform import Platform
from asyncray.resources import to_units
from asyncray.rpc.network import GrpcNetwork
from asyncray.rpc.service import Service
from asyncray.simulation.invariants import ClusterState, consistency, quiescence
from asyncray.store.tcp_bulk import TcpBulk
from asyncray.worker.runtime import Job, Membership, Runtime

from ....conftest import Surroundings

pytestmark = pytest.mark.usefixtures("leaves_nothing_behind")

CONFIG = Config(resource_report_interval=0.01, reference_sweep_interval=0.01, idle_sweep_interval=0.01)
PATIENCE = 10.0


class NoWorkers:
    """A launcher for nodes without CPUs, which need none."""

    async def start(self, on_exit: Callable[[bytes, str], None]) -> None:
        pass

    def launch(self, process_id: bytes, specification: dict[str, object]) -> None:
        raise AssertionError("nobody asked for a worker")

    def kill(self, process_id: bytes) -> None:
        raise AssertionError("there is no worker")

    def clean(self, process_id: bytes) -> None:
        pass

    async def stop(self) -> None:
        pass


class Cluster:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._platform = Platform(GrpcNetwork("secret"), bulk=TcpBulk("secret"))
        self._control_target = f"unix:{directory}/control"
        self.control = ControlPlane(self._platform.network, CONFIG, unix_path=f"{directory}/control")
        self.nodes: list[NodeManager] = []
        self.drivers: list[Runtime] = []

    @property
    def state(self) -> ClusterState:
        return ClusterState(self.control, list(self.nodes), list(self.drivers))

    def new_node(self) -> NodeManager:
        node_id = NodeId.random()
        path = f"{self._directory}/{len(self.nodes)}"
        identity = NodeIdentity(node_id, "host", 1, str(self._directory))
        resources = to_units({"memory": 4, "object_store_memory": 1 << 22})
        settings = NodeSettings(identity, resources, self._control_target, path)
        self.nodes.append(NodeManager(settings, self._platform, NoWorkers(), CONFIG))
        return self.nodes[-1]

    async def driver(self, node: NodeManager) -> Runtime:
        place = f"unix:{self._directory}/{self.nodes.index(node)}"
        membership = Membership(place, self._control_target, node.leases._node_id, str(self._directory))
        job = Job(self._platform.entropy(4), {"pid": 1})
        runtime = Runtime(self._platform, CONFIG, membership, "driver", self._platform.entropy(16), job)
        self.drivers.append(runtime)
        await runtime.start()
        return runtime

    async def quiet(self) -> None:
        """Returns when nothing is left; checks all the while that nothing is wrong."""
        left: list[str] = []
        try:
            async with asyncio.timeout(PATIENCE):
                while left := quiescence(self.state):
                    assert consistency(self.state) == []
                    await asyncio.sleep(0.001)
        except TimeoutError:
            raise AssertionError("\n".join(left)) from None


@asynccontextmanager
async def serving(*services: Service) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        for service in services:
            ready = asyncio.Event()
            tasks.create_task(service.serve(on_ready=ready.set))
            await ready.wait()
        yield
        for service in reversed(services):
            service.request_stop("the test is over")


async def test_an_idle_cluster_is_quiet(surroundings: Surroundings) -> None:
    cluster = Cluster(surroundings.temporary)
    async with serving(cluster.control, cluster.new_node(), cluster.new_node()):
        first, second = [await cluster.driver(node) for node in cluster.nodes]
        assert consistency(cluster.state) == []
        await cluster.quiet()
        await first.stop()
        cluster.drivers.remove(first)
        await cluster.quiet()
        await second.stop()


async def test_objects_and_functions_leave_nothing_behind(surroundings: Surroundings) -> None:
    cluster = Cluster(surroundings.temporary)
    async with serving(cluster.control, cluster.new_node()):
        driver = await cluster.driver(cluster.nodes[0])
        small, large = await driver.puts.put("small"), await driver.puts.put(bytes(1 << 20))
        await driver.functions.export(b"f" * 16, b"pickled")
        value = await large
        assert len(value) == 1 << 20
        left = quiescence(cluster.state)
        for kind in ("is in the store", "is pinned by driver", "is kept: local 1"):
            assert any(kind in text for text in left), (kind, left)
        assert consistency(cluster.state) == []
        del small, large, value
        await cluster.quiet()
        await driver.stop()


async def test_a_driver_that_died_unnoticed_is_named(surroundings: Surroundings) -> None:
    cluster = Cluster(surroundings.temporary)
    async with serving(cluster.control, cluster.new_node()):
        driver = await cluster.driver(cluster.nodes[0])
        await cluster.quiet()
        name, job = driver.process_id.hex()[:8], (driver.job_id or b"").hex()
        cluster.drivers.clear()
        node = f"node {cluster.nodes[0].leases._node_id.hex()[:8]}"
        assert quiescence(cluster.state) == [
            f"{node}: what a worker must know of job {job} is kept, which has ended",
            f"{node}: driver {name} has a session, and does not live",
            f"control plane: driver {name} is known as living, and does not",
            f"control plane: job {job} runs, and its driver {name} does not live",
        ]
        await driver.stop()
