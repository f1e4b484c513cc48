"""One object to many nodes: what it costs its owner, its node, and how long it takes."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

import asyncray
from asyncray.simulation.network import Conditions
from asyncray.simulation.network.traffic import kinds_of
from asyncray.simulation.process import Process
from asyncray.testing import SimCluster

SIZE = 1024 * 1024
SLOW = Conditions(bandwidth=4e7)
"""A copy from one node to another takes 26 virtual milliseconds."""


class Reader:
    def read(self, value: bytes) -> int:
        return len(value)

    def ready(self) -> None: ...


class Broadcast:
    """Has an object read on `count` nodes at the same time, none of which is its owner's."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.seconds = 0.0
        self.at_owner: Counter[str] = Counter()
        """Messages that the owner has got, by kind."""
        self.between_nodes: Counter[tuple[str, str]] = Counter()
        """Messages that the first node has got and sent, by direction and kind."""
        SimCluster(seed=count, conditions=SLOW).run(self._run)

    def _heard(self, time: float, source: Process, target: Process, route: str, body: bytes) -> None:
        if target.name == "driver 1" and route.endswith("Session"):
            self.at_owner.update(kinds_of(body))
        if route.endswith("Exchange"):
            for name, direction in ((target.name, "got"), (source.name, "sent")):
                if name == "node 1":
                    self.between_nodes.update((direction, kind) for kind in kinds_of(body))

    async def _run(self, cluster: SimCluster) -> None:
        await cluster.add_node(num_cpus=0)
        for _ in range(self.count):
            await cluster.add_node(num_cpus=1, resources={"place": 1})
        loop = asyncio.get_running_loop()
        async with asyncray.init():
            value = await asyncray.put(bytes(SIZE))
            readers = [
                asyncray.remote(Reader).options(num_cpus=0, resources={"place": 1}).remote() for _ in range(self.count)
            ]
            await asyncray.get([reader.ready.remote() for reader in readers])
            await asyncio.sleep(1)
            cluster.world.network.watchers.append(self._heard)
            begun = loop.time()
            results = await asyncray.get([reader.read.remote(value) for reader in readers])
            self.seconds = loop.time() - begun
            await asyncio.sleep(1)
            assert results == [SIZE] * self.count
            del value
            await asyncio.sleep(1)
            for node in cluster.nodes:
                assert node.manager.store.table.used == 0
                assert node.manager.transfers.copies.trees == {}


@pytest.fixture(scope="module")
def broadcasts() -> dict[int, Broadcast]:
    return {count: Broadcast(count) for count in (1, 4, 16, 64)}


def test_the_owner_hears_of_two_copies_however_many_there_are(broadcasts: dict[int, Broadcast]) -> None:
    """Apart from the results of the tasks that read them."""
    for count, broadcast in broadcasts.items():
        others = {kind: number for kind, number in broadcast.at_owner.items() if kind not in ("RESULT", "RELEASE")}
        assert others.pop("COPY", 0) == min(count, 2)
        assert sum(others.values()) <= 4, others


def test_the_node_of_the_owner_serves_few_and_sends_the_others_on(broadcasts: dict[int, Broadcast]) -> None:
    for count, broadcast in broadcasts.items():
        assert broadcast.between_nodes["got", "PULL"] == count
        served = broadcast.between_nodes["sent", "PULL_GRANTED"]
        assert served <= 2 + 2 * count.bit_length()
        assert served + broadcast.between_nodes["sent", "PULL_REDIRECTED"] == count


def test_the_time_grows_with_the_logarithm_of_the_number_of_nodes(broadcasts: dict[int, Broadcast]) -> None:
    one = broadcasts[1].seconds
    assert one > 0.026
    for count, broadcast in broadcasts.items():
        assert broadcast.seconds < one * (1 + count.bit_length()), count
    assert broadcasts[64].seconds < 64 * one / 8
