"""What the drivers of a large cluster do: trees of short tasks in waves, and actors that call each other."""

from __future__ import annotations

import asyncio
import random
from typing import Any, Final

import asyncray
from asyncray.simulation.scale.plan import Plan, shares

ACTOR_SLOT: Final = "actor_slot"
"""A resource of which each node has twice as much as it needs: placement then gives all nodes equally many actors."""
_BRANCHES: Final = 5
_LEAVES: Final = 20
TREE: Final = 1 + _BRANCHES * (1 + _LEAVES)
"""Tasks of a whole tree."""
_LOAD: Final = 4.0
"""Leaves in flight for each CPU: some wait, so that leases are spread over all nodes."""


@asyncray.remote
async def leaf(seconds: float) -> int:
    """Works for a while. How many tasks this was: 1."""
    await asyncio.sleep(seconds)
    return 1


@asyncray.remote
async def branch(seed: int, size: int, mean: float) -> int:
    """A task that submits `size - 1` leaves. How many tasks these were."""
    numbers = random.Random(seed)
    await asyncio.sleep(_duration(numbers, mean))
    leaves: list[int] = await asyncio.gather(*(leaf.remote(_duration(numbers, mean)) for _ in range(size - 1)))
    return 1 + sum(leaves)


@asyncray.remote
async def tree(seed: int, size: int, mean: float) -> int:
    """A task that submits branches, `size` tasks in all. How many these were."""
    numbers = random.Random(seed)
    await asyncio.sleep(_duration(numbers, mean))
    parts = [share for share in shares(size - 1, _BRANCHES) if share]
    branches: list[int] = await asyncio.gather(*(branch.remote(numbers.getrandbits(32), part, mean) for part in parts))
    return 1 + sum(branches)


@asyncray.remote(resources={ACTOR_SLOT: 1})
class Member:
    """An actor that counts its calls, and passes them on."""

    def __init__(self) -> None:
        self._calls = 0

    async def count(self) -> int:
        self._calls += 1
        return self._calls

    async def relay(self, neighbour: Any) -> int:
        """Calls the neighbour, too. How many calls these were: 2."""
        self._calls += 1
        await neighbour.count.remote()
        return 2


async def drive(plan: Plan, number: int) -> tuple[int, int]:
    """The program of one driver: its share of all tasks and actors. How many tasks and actor calls it has had."""
    numbers = random.Random(f"{plan.seed}/scale/{number}")
    async with asyncray.init():
        return await asyncio.gather(
            _plant(plan, shares(plan.tasks, plan.drivers)[number], numbers),
            _call_actors(plan, shares(plan.actors, plan.drivers)[number]),
        )


async def _plant(plan: Plan, tasks: int, numbers: random.Random) -> int:
    """Keeps so many trees growing that the cluster is busy."""
    leaves = _LOAD * plan.nodes * plan.cpus_per_node / plan.drivers
    room = asyncio.Semaphore(max(1, round(leaves / TREE)))

    async def grow(seed: int, size: int) -> int:
        async with room:
            done: int = await tree.remote(seed, size, plan.task_seconds)
            return done

    whole, rest = divmod(tasks, TREE)
    sizes = [TREE] * whole + [rest] * bool(rest)
    return sum(await asyncio.gather(*(grow(numbers.getrandbits(32), size) for size in sizes)))


async def _call_actors(plan: Plan, count: int) -> int:
    """Makes a ring of actors, and has each call the next, again and again."""
    if not count:
        return 0
    member: Any = Member
    actors = [member.remote() for _ in range(count)]
    neighbours = [*actors[1:], actors[0]]
    calls: int = sum(await asyncio.gather(*(actor.count.remote() for actor in actors)))
    for _ in range(plan.actor_calls):
        calls += sum(
            await asyncio.gather(
                *(actor.relay.remote(neighbour) for actor, neighbour in zip(actors, neighbours, strict=True))
            )
        )
    return calls


def _duration(numbers: random.Random, mean: float) -> float:
    """Most tasks are shorter than the mean, a few much longer."""
    return numbers.expovariate(1 / mean) if mean else 0.0
