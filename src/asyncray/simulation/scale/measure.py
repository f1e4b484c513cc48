"""Runs a plan in a simulated cluster, and says what that took."""

from __future__ import annotations

import asyncio
import resource
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from time import perf_counter  # the real one: simulated processes get another
from typing import Final

from asyncray.config import DEFAULT
from asyncray.errors import AsyncrayError
from asyncray.simulation.cluster import SimCluster
from asyncray.simulation.network.traffic import Traffic
from asyncray.simulation.scale.plan import Plan
from asyncray.simulation.scale.workload import ACTOR_SLOT, drive

_JOINING_AT_A_TIME: Final = 100
_STORE: Final = 1024 * 1024
"""Bytes of each node's object store: no value of the workload is large."""
_HORIZON: Final = 24 * 3600.0
_CONFIG: Final = replace(DEFAULT, link_idle_timeout=0.8)
"""Half of what a process takes at work are links with others that it had to do with once, 1.5 KB at either end. With
the usual timeout their number grows for as long as a run lasts, to about twice as many. This one costs a tenth more
messages."""
_BEAT: Final = 1.0
"""Virtual seconds between two lines of progress."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What a run took. Messages are frames, and requests and replies of unary calls; sizes are bytes."""

    nodes: int
    actors: int
    tasks: int
    drivers: int
    actor_calls: int
    """How many there were."""
    processes: int
    """That have ever run: control plane, nodes, workers and drivers."""
    joined_after: float
    """Virtual seconds until all nodes were members."""
    makespan: float
    """Virtual seconds from then until the last driver was done."""
    messages_per_task: float
    bytes_per_task: float
    control_messages_in: float
    """Per virtual second of the makespan, as all that follows of the control plane."""
    control_messages_out: float
    control_bytes_in: float
    control_bytes_out: float
    control_share: float
    """Of all bytes of the cluster, those that the control plane sent or received."""
    callbacks: int
    """Of the simulation's loop."""
    real_seconds: float
    peak_memory: int
    """Resident bytes of the simulating process, at most."""


def measure(plan: Plan, progress: Callable[[str], None] = lambda line: None) -> Figures:
    """Simulates the plan. `progress` is told how far it is, in a line now and then.

    Raises AsyncrayError when the cluster has not done what it had to.
    """
    began = perf_counter()

    def told(line: str) -> None:
        progress(f"{perf_counter() - began:7.1f} s  {line}")

    cluster = SimCluster(plan.seed, config=_CONFIG, horizon=_HORIZON)
    run = _Run(cluster, plan, told)
    cluster.run(lambda _: run.main())
    return run.figures(perf_counter() - began)


class _Run:
    def __init__(self, cluster: SimCluster, plan: Plan, told: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._plan = plan
        self._told = told
        self._joined_at = 0.0
        self._ended_at = 0.0
        self._actor_calls = 0
        self._joining: dict[tuple[str, str], Traffic] = {}
        """What had been sent when all nodes were there."""

    async def main(self) -> None:
        """As a driver's program."""
        plan, cluster = self._plan, self._cluster
        slots = {ACTOR_SLOT: 2.0 * -(-plan.actors // plan.nodes)}
        for start in range(0, plan.nodes, _JOINING_AT_A_TIME):
            count = min(_JOINING_AT_A_TIME, plan.nodes - start)
            joining = (
                cluster.add_node(plan.cpus_per_node, resources=slots, object_store_memory=_STORE) for _ in range(count)
            )
            await asyncio.gather(*joining)
        loop = asyncio.get_running_loop()
        self._joined_at = loop.time()
        self._joining = {
            roles: Traffic(traffic.frames, traffic.calls, traffic.bytes)
            for roles, traffic in cluster.world.network.traffic.items()
        }
        self._told(f"{plan.nodes:,} nodes have joined after {self._joined_at:.3f} virtual seconds")
        homes = [cluster.nodes[number * plan.nodes // plan.drivers] for number in range(plan.drivers)]
        drivers = [cluster.driver(drive(plan, number), home) for number, home in enumerate(homes)]
        beat = asyncio.create_task(self._tell_time())
        results = await asyncio.gather(*drivers)
        self._ended_at = loop.time()
        beat.cancel()
        tasks, self._actor_calls = (sum(column) for column in zip(*results, strict=True))
        expected = plan.actors * (1 + 2 * plan.actor_calls)
        if (tasks, self._actor_calls) != (plan.tasks, expected):
            raise AsyncrayError(
                f"the cluster has run {tasks} tasks and {self._actor_calls} actor calls, instead of {plan.tasks} and"
                f" {expected}"
            )

    def figures(self, real_seconds: float) -> Figures:
        plan, world = self._plan, self._cluster.world
        traffic = {roles: self._since_joined(roles) for roles in world.network.traffic}
        inwards = _sum(amount for (source, target), amount in traffic.items() if target == "control")
        outwards = _sum(amount for (source, target), amount in traffic.items() if source == "control")
        everything = _sum(traffic.values())
        makespan = self._ended_at - self._joined_at
        units = max(1, plan.tasks + self._actor_calls)
        return Figures(
            nodes=plan.nodes,
            actors=plan.actors,
            tasks=plan.tasks,
            drivers=plan.drivers,
            actor_calls=self._actor_calls,
            processes=len(world.processes),
            joined_after=self._joined_at,
            makespan=makespan,
            messages_per_task=_messages(everything) / units,
            bytes_per_task=everything.bytes / units,
            control_messages_in=_messages(inwards) / makespan,
            control_messages_out=_messages(outwards) / makespan,
            control_bytes_in=inwards.bytes / makespan,
            control_bytes_out=outwards.bytes / makespan,
            control_share=(inwards.bytes + outwards.bytes) / max(1, everything.bytes),
            callbacks=world.loop.callbacks,
            real_seconds=real_seconds,
            peak_memory=_peak_memory(),
        )

    async def _tell_time(self) -> None:
        loop = self._cluster.world.loop
        while True:
            await asyncio.sleep(_BEAT)
            elapsed = loop.time() - self._joined_at
            living = sum(1 for process in self._cluster.world.processes if process.alive)
            self._told(
                f"{elapsed:8.3f} virtual seconds, {living:,} processes, {loop.callbacks:,} callbacks,"
                f" {_peak_memory() / 1e6:,.0f} MB"
            )

    def _since_joined(self, roles: tuple[str, str]) -> Traffic:
        now, then = self._cluster.world.network.traffic[roles], self._joining.get(roles, Traffic())
        return Traffic(now.frames - then.frames, now.calls - then.calls, now.bytes - then.bytes)


def _sum(amounts: Iterable[Traffic]) -> Traffic:
    total = Traffic()
    for amount in amounts:
        total.frames += amount.frames
        total.calls += amount.calls
        total.bytes += amount.bytes
    return total


def _messages(traffic: Traffic) -> int:
    return traffic.frames + traffic.calls


def _peak_memory() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
