"""Drivers whose queues never end, on one node: who gets how much, how soon, and at what cost."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random

import pytest

from asyncray.node.reclaim import TURN

from .lease_process import Process, Work
from .lease_world import LeaseWorld, cpus
from .virtual_loop import virtually


class Busy:
    """A driver that always has tasks waiting."""

    def __init__(self, world: LeaseWorld, seconds: float, *, children: int = 0, demand: float = 1) -> None:
        self.world = world
        self.driver: Process = world.driver()
        self.done = 0
        self.first: float | None = None
        self._seconds = seconds
        self._children = children
        self._demand = demand
        self._begun = asyncio.get_running_loop().time()
        for _ in range(50):
            self._submit()

    def _submit(self) -> None:
        leaves = [Work("leaf", cpus(1), self._seconds) for _ in range(self._children)]
        work = Work("root", cpus(self._demand), self._seconds, leaves)
        self.driver.submit(work, self._one_done)

    def _one_done(self) -> None:
        self.done += 1
        if self.first is None:
            self.first = asyncio.get_running_loop().time() - self._begun
        if self.driver.alive:
            self._submit()


async def world_with(cpu_count: float, seed: int = 0) -> LeaseWorld:
    world = LeaseWorld(cpus(cpu_count), Random(seed))
    await world.start()
    await asyncio.sleep(0.2)
    return world


@pytest.mark.parametrize(("drivers", "cpu_count"), [(2, 2), (2, 4), (3, 2), (2, 3), (5, 2), (2, 1)])
@virtually
async def test_drivers_get_equal_shares(drivers: int, cpu_count: int) -> None:
    world = await world_with(cpu_count)
    busy = [Busy(world, 0.005) for _ in range(drivers)]
    await asyncio.sleep(1)
    before = [each.done for each in busy]
    await asyncio.sleep(4)
    shares = [each.done - was for each, was in zip(busy, before, strict=True)]
    assert max(shares) <= (2.1 if cpu_count % drivers and cpu_count > drivers else 1.3) * min(shares), shares
    assert sum(shares) >= 0.85 * 4 * cpu_count / 0.005, "too much time is lost in between"


@virtually
async def test_a_driver_that_comes_later_is_served_within_a_turn_and_a_task() -> None:
    world = await world_with(2)
    Busy(world, 0.03)
    await asyncio.sleep(1)
    late = Busy(world, 0.03)
    await asyncio.sleep(1)
    assert late.first is not None and late.first < TURN + 2 * 0.03 + 0.1


@virtually
async def test_a_driver_is_served_between_the_nested_tasks_of_another() -> None:
    world = await world_with(2)
    nested = Busy(world, 0.002, children=6)
    await asyncio.sleep(1)
    late = Busy(world, 0.002)
    await asyncio.sleep(2)
    assert late.first is not None and late.first < 2 * TURN
    assert late.done > 100
    assert nested.done > 20


@virtually
async def test_one_long_task_does_not_keep_others_from_the_cpus_beside_it() -> None:
    world = await world_with(2)
    first = world.driver()
    first.submit(Work("long", cpus(1), 60.0))
    await asyncio.sleep(0.1)
    for _ in range(200):
        first.submit(Work("short", cpus(1), 0.005))
    await asyncio.sleep(0.1)
    late = Busy(world, 0.005)
    await asyncio.sleep(1)
    assert late.first is not None and late.first < 4 * TURN


@virtually
async def test_leases_change_hands_a_few_times_per_turn_at_most() -> None:
    world = await world_with(2)
    granted: Counter[bytes] = Counter()
    for _ in range(3):
        Busy(world, 0.001)
    end = asyncio.get_running_loop().time() + 3
    while asyncio.get_running_loop().time() < end:
        await asyncio.sleep(0.005)
        granted.update(world.leases.leases.keys() - granted.keys())
    assert len(granted) <= 3 * 3 * (2 / TURN), "leases are passed around too often"


@virtually
async def test_a_deep_tree_of_tasks_is_worked_off_depth_first_with_few_workers() -> None:
    def tree(depth: int) -> Work:
        return Work(f"depth {depth}", cpus(1), 1e-4, [tree(depth - 1) for _ in range(2)] if depth else [], 1e-4)

    world = await world_with(2)
    world.driver().submit(tree(7))
    await world.done(within=30)
    assert len(world.work) == 255
    assert world.launcher.launched <= 24
    await world.quiet()


@pytest.mark.parametrize("depth", [1, 5, 30])
@virtually
async def test_nested_tasks_end_at_any_depth_on_one_cpu(depth: int) -> None:
    work = Work("leaf", cpus(1), 0.001)
    for level in range(depth):
        work = Work(f"level {level}", cpus(1), 0.001, [work], 0.001)
    world = await world_with(1)
    world.driver().submit(work)
    await world.done(within=10)
    await world.quiet()
