"""A driver is killed while it joins a cluster, at every moment: nobody keeps anything of it."""

from __future__ import annotations

import asyncio

import pytest

import asyncray
from asyncray.errors import AsyncrayError
from asyncray.simulation.invariants import ClusterState, quiescence
from asyncray.testing import SimCluster, simulated


async def stay() -> None:
    async with asyncray.init():
        await asyncio.sleep(1000)


@simulated(seeds=3)
async def test_nothing_is_left_of_a_driver_that_is_killed_while_it_joins(cluster: SimCluster) -> None:
    node = await cluster.add_node(num_cpus=1)
    for tick in range(30):
        program = cluster.driver(stay(), node)
        await asyncio.sleep(tick * 0.00005)
        (driver,) = cluster.drivers()
        cluster.kill_driver(driver)
        with pytest.raises(AsyncrayError, match="SIGKILL"):
            await program
        await asyncio.sleep(10)
        state = ClusterState(cluster.control, [node.manager], list(cluster.runtimes.values()))
        assert quiescence(state) == []
