"""One seed: a random program on a random cluster, with faults, checked against its model and the invariants."""

from __future__ import annotations

import asyncio
import functools
import gc
from contextvars import Context
from dataclasses import dataclass
from typing import Final

import asyncray
from asyncray.errors import AsyncrayError
from asyncray.simulation.cluster import STORE, SimCluster
from asyncray.simulation.faults import PROFILES, FaultInjector, Profile, faults
from asyncray.simulation.invariants import ClusterState, consistency, quiescence
from asyncray.simulation.threads import sleep
from asyncray.simulation.workload.check import FAULT_ERRORS, WORKER_FAULT_ERRORS, check, check_executions
from asyncray.simulation.workload.observation import Observations
from asyncray.simulation.workload.program import CPUS, SEATS, TOKENS, Program
from asyncray.simulation.workload.run import run_program
from asyncray.simulation.workload.surroundings import instrumented

_HASTE: Final = 30.0
"""Programs are over after a fraction of a second: that much more often than in the profile faults happen."""
_TROUBLE: Final = 2.0
"""Virtual seconds after which no more faults happen: what is killed too often never gets anywhere."""
_PATIENCE: Final = 300.0
"""Virtual seconds that a program may take after that."""
_SETTLING: Final = 60.0
"""Virtual seconds after which nothing of a program may be left: idle workers end after ten, dead machines are found
after thirty."""
_RESOURCES: Final = dict((TOKENS, SEATS))
SMALL_STORE: Final = 2560 * 1024
"""Bytes of a node's store with which some large values go to disk in most programs, and everything can go on."""
_LOOK_EVERY: Final = 0.05
"""Virtual seconds between two looks at what must always hold."""


class TrialFailed(AsyncrayError):
    """What was wrong, a line each."""


@dataclass(frozen=True, slots=True)
class Trial:
    """How a seed went."""

    seed: int
    faults: int
    """How many there were."""
    observations: int
    """Values and errors that the program has seen, and that were right."""
    virtual_seconds: float
    callbacks: int


def run_trial(
    seed: int,
    profile: str = "calm",
    *,
    nodes: int = 5,
    operations: int = 200,
    large_values: bool = True,
    store: int = STORE,
    pause: float = 0.0,
    cluster: SimCluster | None = None,
) -> Trial:
    """Raises TrialFailed, with the seed and the story in a note; whatever else a simulation raises.

    `large_values`: some are so large that they go into a node's store. `store`: bytes of each of these.
    `pause`: virtual seconds that each task of a burst takes, so that workers die with many that they have not begun.
    """
    chosen = PROFILES[profile].hastened(_HASTE)
    cluster = cluster or SimCluster(seed, conditions=chosen.conditions, horizon=10_000)
    return _Runner(cluster, chosen, nodes, operations, large_values, store, pause).run()


class _Runner:
    def __init__(
        self,
        cluster: SimCluster,
        profile: Profile,
        nodes: int,
        operations: int,
        large_values: bool,
        store: int,
        pause: float,
    ) -> None:
        self._cluster = cluster
        self._profile = profile
        self._nodes = nodes
        self._store = store
        self._random = cluster.world.random("trial")
        self._program = Program.random(
            cluster.world.random("program"),
            operations,
            drivers=self._random.choice([2, 3] if profile.driver_dies else [1, 1, 2, 3]),
            large_values=large_values,
            pause=pause,
        )
        self._finished: list[Observations] = []
        self._survivors: set[int] = set()
        """The drivers that lived until all was over."""
        self._wrong: list[str] = []
        self._injector: FaultInjector | None = None

    def run(self) -> Trial:
        with instrumented(sleep) as executions:
            self._cluster.run(self._main)
        self._wrong += check_executions(
            self._program, executions, faults=self._disturbing > 0, finished=self._survivors
        )
        world = self._cluster.world
        self._raise_if_wrong()
        seen = sum(len(observations.entries) for observations in self._finished)
        happened = self._injector.happened if self._injector is not None else 0
        return Trial(world.seed, happened, seen, world.loop.time(), world.loop.callbacks)

    @property
    def _disturbing(self) -> int:
        """Faults so far that a driver which lives may have noticed."""
        return self._injector.disturbing if self._injector is not None else 0

    async def _main(self, cluster: SimCluster) -> None:
        for _ in range(self._nodes):
            cpus = self._random.choice([CPUS, CPUS, 3, 4])
            await cluster.add_node(cpus, resources=_RESOURCES, object_store_memory=self._store)
        looking = cluster.world.loop.create_task(self._look(), name="look", context=Context())
        released = cluster.world.loop.create_future()
        drivers = [
            cluster.driver(self._drive(number, released), self._random.choice(cluster.nodes))
            for number in range(len(self._program.drivers))
        ]
        for number, driver in enumerate(drivers):
            driver.add_done_callback(functools.partial(self._ended, number))
        if not self._profile.is_calm:
            replaced = faults(
                cluster, self._profile, num_cpus=CPUS, resources=_RESOURCES, object_store_memory=self._store
            )
            async with replaced as self._injector:
                await self._all_done(_TROUBLE)
        if not await self._all_done(_PATIENCE):
            missing = [number for number in range(len(drivers)) if not self._has_finished(number)]
            self._wrong.append(f"drivers {missing} have not finished after {_PATIENCE:g} virtual seconds")
            self._wrong += quiescence(self._state())
            self._raise_if_wrong()
        await self._settle("before the drivers leave")
        released.set_result(None)
        await asyncio.gather(*drivers, return_exceptions=True)
        await self._settle("after the drivers have left")
        looking.cancel()

    async def _drive(self, number: int, released: asyncio.Future[None]) -> None:
        try:
            async with asyncray.init():
                observations = await run_program(self._program, number)
                errors = WORKER_FAULT_ERRORS if self._profile.spares_machines else FAULT_ERRORS
                self._wrong += check(self._program, observations, faults=self._disturbing > 0, errors=errors)
                self._finished.append(observations)
                await asyncio.shield(released)
                self._survivors.add(number)
        except AsyncrayError as error:
            kind = f"{type(error).__module__}.{type(error).__qualname__}"
            if not self._disturbing or kind not in FAULT_ERRORS:
                self._wrong.append(f"driver {number} ended with {type(error).__name__}: {error}")

    def _ended(self, number: int, driver: asyncio.Future[None]) -> None:
        """Its process is gone, perhaps in the middle of the program."""
        if not driver.cancelled() and not isinstance(driver.exception(), AsyncrayError | type(None)):
            self._wrong.append(f"driver {number} ended with {driver.exception()!r}")
        if not self._has_finished(number):
            self._finished.append(Observations(number, ()))

    async def _all_done(self, within: float) -> bool:
        """Returns when all drivers are done, or so many virtual seconds have passed."""
        deadline = asyncio.get_running_loop().time() + within
        while len(self._finished) < len(self._program.drivers) and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(_LOOK_EVERY)
            self._raise_if_wrong()
        return len(self._finished) == len(self._program.drivers)

    def _has_finished(self, number: int) -> bool:
        return any(observations.driver_number == number for observations in self._finished)

    async def _settle(self, when: str) -> None:
        """Returns once nothing is left."""
        deadline = asyncio.get_running_loop().time() + _SETTLING
        while True:
            self._raise_if_wrong()
            left = quiescence(self._state())
            if left:
                gc.collect()  # what tracebacks keep alive
                left = quiescence(self._state())
            if not left:
                return
            if asyncio.get_running_loop().time() > deadline:
                self._wrong += [f"{when}: {sentence}" for sentence in left]
                self._raise_if_wrong()
            await asyncio.sleep(0.5)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            self._wrong += consistency(self._state())

    def _state(self) -> ClusterState:
        cluster = self._cluster
        return ClusterState(
            cluster.control,
            [node.manager for node in cluster.nodes],
            [runtime for process, runtime in cluster.runtimes.items() if process.alive],
        )

    def _raise_if_wrong(self) -> None:
        if self._wrong:
            raise TrialFailed("\n".join(dict.fromkeys(self._wrong)))
