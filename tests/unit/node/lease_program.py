"""What happens in a `LeaseWorld`, as hypothesis draws it: trees of tasks, and mishaps."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from random import Random

from hypothesis import strategies as st

from asyncray.resources import Resources, to_units

from .lease_process import CRASHED, OK, Process, Work
from .lease_world import LeaseWorld

PLAIN = [to_units({"CPU": amount}) for amount in (1, 0.5, 0)]
LEAVES = [*PLAIN, *(to_units(amounts) for amounts in ({"CPU": 1, "GPU": 0.5}, {"GPU": 1}, {"CPU": 2}))]
TOTAL = to_units({"CPU": 2, "GPU": 2})
DURATIONS = [0.0, 0.0001, 0.001, 0.02, 0.3]
LONGEST = 120.0
"""Virtual seconds in which any program is done, unless something hangs."""


@dataclass(frozen=True)
class Plan:
    """A `Work` to be made: worlds change theirs."""

    demand: tuple[tuple[str, int], ...]
    before: float
    after: float
    children: tuple[Plan, ...]
    crashes: int
    retries: int

    def work(self) -> Work:
        return Work(
            kind=f"{self.demand} {self.before} {self.after} {len(self.children)} {self.retries}",
            demand=dict(self.demand),
            before=self.before,
            after=self.after,
            children=[child.work() for child in self.children],
            crashes=self.crashes,
            retries=self.retries,
        )


def plans(demands: list[Resources], children: st.SearchStrategy[tuple[Plan, ...]]) -> st.SearchStrategy[Plan]:
    return st.builds(
        Plan,
        demand=st.sampled_from([tuple(sorted(demand.items())) for demand in demands]),
        before=st.sampled_from(DURATIONS),
        after=st.sampled_from(DURATIONS),
        children=children,
        crashes=st.sampled_from([0] * 8 + [1, 2]),
        retries=st.sampled_from([3, 3, 1, 0]),
    )


# What a task holds while it waits for its children, other than CPU, these cannot get: only leaves take GPUs.
leaves = plans(LEAVES, st.just(()))
parents = plans(PLAIN, st.lists(leaves, min_size=1, max_size=5).map(tuple))
grandparents = plans(PLAIN, st.lists(st.one_of(parents, leaves), min_size=1, max_size=3).map(tuple))
trees = st.one_of(leaves, parents, grandparents)


@dataclass(frozen=True)
class Submit:
    driver: int
    plan: Plan
    copies: int


@dataclass(frozen=True)
class Pause:
    seconds: float


@dataclass(frozen=True)
class Cancel:
    driver: int


@dataclass(frozen=True)
class KillWorker:
    which: int


@dataclass(frozen=True)
class KillDriver:
    driver: int


Step = Submit | Pause | Cancel | KillWorker | KillDriver

drivers = st.integers(0, 1)
peaceful: st.SearchStrategy[Step] = st.one_of(
    st.builds(Submit, drivers, trees, st.sampled_from([1, 1, 2, 6, 20])),
    st.builds(Pause, st.sampled_from([0.0005, 0.003, 0.03, 0.25, 0.6])),
    st.builds(Cancel, drivers),
)
violent: st.SearchStrategy[Step] = st.one_of(
    peaceful, st.builds(KillWorker, st.integers(0, 30)), st.builds(KillDriver, drivers)
)


async def run(steps: list[Step], seed: int) -> LeaseWorld:
    """Does what the steps say, waits for the end of all work, checks what is left."""
    world = LeaseWorld(TOTAL, Random(seed))
    await world.start()
    seats: list[Process | None] = [None, None]
    for step in steps:
        match step:
            case Submit(seat, plan, copies):
                driver = seats[seat]
                if driver is None or not driver.alive:
                    driver = seats[seat] = world.driver()
                for _ in range(copies):
                    driver.submit(plan.work())
            case Pause(seconds):
                await asyncio.sleep(seconds)
            case Cancel(seat):
                driver = seats[seat]
                if driver is not None and driver.alive:
                    driver.cancel()
            case KillWorker(which):
                workers = [
                    process for process in world.processes.values() if process.alive and process.role == "worker"
                ]
                if workers:
                    workers[which % len(workers)].die()
            case KillDriver(seat):
                driver = seats[seat]
                if driver is not None:
                    driver.die()
    killed = any(isinstance(step, KillWorker) for step in steps)
    await world.done(LONGEST)
    for task_id, outcome in world.outcomes.items():
        work = world.work[task_id]
        assert outcome != CRASHED or killed or work.crashes > work.retries
        assert outcome != OK or work.runs > 0
    await world.quiet()
    return world
