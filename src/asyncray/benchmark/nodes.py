"""Rows: several nodes, which share nothing but the machine they run on."""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Final

import asyncray
from asyncray import sync
from asyncray.benchmark.row import Calls, Plan, Row, Throughput
from asyncray.benchmark.workloads import array_of_ones, size_of
from asyncray.testing import Cluster

LARGE: Final = 500_000_000
"""Bytes of what is fetched from another node."""
SHARED: Final = 100_000_000
"""Bytes of what several nodes read."""
READERS: Final = 4
KILLED: Final = 3
"""Nodes that are killed one after the other."""
STORE: Final = 2_000_000_000
"""Bytes of each node's object store."""
POLL: Final = 0.005

HOME: Final = {"num_cpus": 1, "object_store_memory": STORE}
"""The node of the driver."""


def reader(number: int) -> dict[str, Any]:
    """A node whose tasks ask for a resource of its own."""
    return {**HOME, "resources": {f"reader {number}": 1}}


def on_reader(number: int, function: Any) -> Any:
    return function.options(resources={f"reader {number}": 0.5})


@contextmanager
def several_nodes(*nodes: dict[str, Any]) -> Iterator[str]:
    """Starts a cluster of these; gives its address."""

    async def start() -> Cluster:
        await cluster.__aenter__()
        for settings in nodes:
            await cluster.add_node(**settings)
        return cluster

    cluster = Cluster()
    with asyncio.Runner() as runner:
        try:
            runner.run(start())
            yield cluster.address
        finally:
            runner.run(cluster.__aexit__(None, None, None))


class OnSeveralNodes(Throughput):
    nodes: ClassVar[tuple[dict[str, Any], ...]]
    """Settings of each; the first is the driver's."""
    needs_numpy = True

    def samples(self, plan: Plan) -> list[float]:
        with several_nodes(*self.nodes) as self._address:
            return super().samples(plan)

    def settings(self) -> dict[str, Any]:
        return {"address": self._address}


class FetchFromAnotherNode(OnSeveralNodes):
    """Each object is another one, and complete before its time begins to count."""

    name = "500 MB from another node"
    unit = "GB/s"
    goal = 2
    amount = LARGE / 1e9
    tidies = True
    nodes = (HOME, reader(1))

    async def prepare(self, blocking: bool) -> None:
        self._ref = on_reader(1, array_of_ones).remote(LARGE)
        await asyncray.wait([self._ref], fetch_local=False)

    async def run(self) -> None:
        await asyncray.get(self._ref)

    def run_blocking(self) -> None:
        sync.get(self._ref)

    async def tidy(self) -> None:
        del self._ref
        await self.prepare(False)


class Broadcast(OnSeveralNodes, Calls):
    """One object of the driver's node is read on all others at once: bytes that all of them get."""

    name = "broadcast of 100 MB to 4 nodes"
    unit = "GB/s"
    amount = READERS * SHARED / 1e9
    tidies = True
    nodes = (HOME, *map(reader, range(READERS)))

    async def prepare(self, blocking: bool) -> None:
        import numpy

        self._array = numpy.ones(SHARED // 8)
        self._ref = await asyncray.put(self._array)

    def submit(self) -> Any:
        return self.to(READERS)

    def to(self, count: int) -> list[Any]:
        """Readings on so many of the nodes."""
        return [on_reader(number, size_of).remote(self._ref) for number in range(count)]

    async def tidy(self) -> None:
        self._ref = await asyncray.put(self._array)


class BroadcastTime(Broadcast):
    name = "broadcast of 100 MB to 4 nodes: time"
    unit = "s"
    less_is_better = True

    def samples(self, plan: Plan) -> list[float]:
        return [self.amount / rate for rate in super().samples(plan)]


class BroadcastBesideOne(Broadcast):
    """Its time as a multiple of that of one transfer, which is measured in turn with it: 4 if each cost the same."""

    name = "broadcast of 100 MB to 4 nodes: time, as transfers to one node"
    unit = "x"
    less_is_better = True

    async def _slice(self, seconds: float) -> float:
        taken: dict[int, list[float]] = {1: [], READERS: []}
        end = time.perf_counter() + seconds
        while time.perf_counter() < end or not taken[1]:
            for count, times in taken.items():
                start = time.perf_counter()
                await asyncray.get(self.to(count))
                times.append(time.perf_counter() - start)
                await self.tidy()
        return statistics.fmean(taken[READERS]) / statistics.fmean(taken[1])

    def _blocking_slice(self, seconds: float) -> float:
        return sync.run(self._slice(seconds))


class KilledNode(Row):
    """From SIGKILL to the daemon of a node until the driver is told that it is dead."""

    name = "a killed node noticed after"
    unit = "s"
    goal = 1
    less_is_better = True

    def samples(self, plan: Plan) -> list[float]:
        with asyncio.Runner(loop_factory=plan.loop_factory()) as runner:
            return runner.run(self._measure())

    async def _measure(self) -> list[float]:
        async with asyncio.timeout(self.limit), Cluster() as cluster:
            await cluster.add_node()
            async with asyncray.init(address=cluster.address):
                return [await self._notice(cluster) for _ in range(KILLED)]

    async def _notice(self, cluster: Cluster) -> float:
        node = await cluster.add_node()
        start = time.perf_counter()
        os.kill(node.pid, signal.SIGKILL)
        while node.node_id in [entry["NodeID"] for entry in await asyncray.nodes() if entry["Alive"]]:  # noqa: ASYNC110
            await asyncio.sleep(POLL)
        taken = time.perf_counter() - start
        await cluster.kill_node(node)
        return taken


ROWS = (FetchFromAnotherNode, Broadcast, BroadcastTime, BroadcastBesideOne, KilledNode)
