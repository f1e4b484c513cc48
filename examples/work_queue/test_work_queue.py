"""`pytest examples/work_queue`: the work queue on simulated clusters, with what goes wrong drawn from seeds."""

from __future__ import annotations

import asyncio
import random

from work_queue import work_through

import asyncray
from asyncray.testing import Profile, SimCluster, faults, simulated

JOBS = range(12)
SQUARES = {job: job * job for job in JOBS}
ROUGH = Profile("workers die and hang", worker_dies=1.5, worker_freezes=4.0)


@simulated(seeds=20, horizon=300)
async def test_when_nothing_fails_each_job_is_handed_out_once(cluster: SimCluster) -> None:
    await cluster.add_node(num_cpus=4)
    async with asyncray.init():
        assert await work_through(JOBS) == (SQUARES, len(JOBS))


@simulated(seeds=20, horizon=300)
async def test_one_death_costs_a_lease_at_most_whoever_dies(cluster: SimCluster) -> None:
    await cluster.add_node(num_cpus=4)
    async with asyncray.init():
        run = asyncio.create_task(work_through(JOBS, seconds_a_job=10, lease_s=60))
        await asyncio.sleep(5)
        cluster.kill_worker(random.choice(cluster.workers()))  # of the seed, as all random numbers in a simulation
        results, handed_out = await run
    assert results == SQUARES
    if handed_out == len(JOBS) + 1:  # a consumer, whose job had to wait
        assert 60 < asyncio.get_running_loop().time() < 72
    else:  # the board, and with it four leases
        assert handed_out == len(JOBS) + 4
        assert 35 < asyncio.get_running_loop().time() < 47


@simulated(seeds=20, horizon=300)
async def test_the_only_consumer_is_started_again(cluster: SimCluster) -> None:
    await cluster.add_node(num_cpus=1)
    async with asyncray.init():
        run = asyncio.create_task(work_through(JOBS, consumers=1))
        await asyncio.sleep(random.uniform(0.1, 1))
        cluster.kill_worker(random.choice(cluster.workers()))
        results, _ = await run
        assert results == SQUARES


@simulated(seeds=50, horizon=300)
async def test_every_result_is_there_whoever_dies_or_hangs(cluster: SimCluster) -> None:
    for _ in range(2):
        await cluster.add_node(num_cpus=2)
    async with asyncray.init():
        async with faults(cluster, ROUGH):
            results, _ = await work_through(JOBS, seconds_a_job=2)
        assert results == SQUARES
