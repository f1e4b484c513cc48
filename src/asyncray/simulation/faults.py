"""Faults by seed: what goes wrong in a cluster, how often, and when."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from contextvars import Context
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Final, TypeVar

from asyncray.errors import AsyncrayError
from asyncray.simulation.cluster import STORE, SimCluster
from asyncray.simulation.network import Conditions, Latency
from asyncray.simulation.process import Process

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Profile:
    """What goes wrong: the mean virtual seconds between two faults of a kind; 0 is never."""

    description: str
    conditions: Conditions = field(default_factory=Conditions)
    worker_dies: float = 0.0
    worker_freezes: float = 0.0
    """For up to two seconds."""
    node_dies: float = 0.0
    """With its workers; another one joins a second later."""
    node_freezes: float = 0.0
    """For up to eight seconds, of which five are enough to be declared dead."""
    machine_is_lost: float = 0.0
    """Without a word to anybody."""
    connections_break: float = 0.0
    """Those between two machines."""
    network_parts: float = 0.0
    """Between two machines, one way or both, for up to eight seconds."""
    control_plane_dies: float = 0.0
    driver_dies: float = 0.0
    """One of those that were started with `cluster.driver`."""

    @property
    def is_calm(self) -> bool:
        """Nothing that an application could notice."""
        return not any(mean for _, mean in self.means())

    @property
    def spares_machines(self) -> bool:
        """Nodes, the control plane and what connects them live on."""
        return not any(mean for kind, mean in self.means() if kind not in _OF_PROCESSES)

    def hastened(self, factor: float) -> Profile:
        """The same faults, `factor` times as often."""
        means: dict[str, Any] = {kind: mean / factor for kind, mean in self.means()}
        return replace(self, **means)

    def means(self) -> list[tuple[str, float]]:
        """The kinds, with their means."""
        return [(kind, getattr(self, kind)) for kind in _KINDS]


_KINDS: Final = (
    "worker_dies",
    "worker_freezes",
    "node_dies",
    "node_freezes",
    "machine_is_lost",
    "connections_break",
    "network_parts",
    "control_plane_dies",
    "driver_dies",
)

_OF_PROCESSES: Final = ("worker_dies", "worker_freezes", "driver_dies")

PROFILES: Final = {
    "calm": Profile("nothing fails"),
    "late packets": Profile(
        "nothing fails, but what is sent on one connection often overtakes what was sent before on another",
        Conditions(local=Latency(0.00002, 0.0002, 1.5), remote=Latency(0.0001, 0.0005, 1.5)),
    ),
    "flaky network": Profile(
        "connections break, machines lose sight of each other", connections_break=2.0, network_parts=3.0
    ),
    "dying workers": Profile("workers are killed and suspended", worker_dies=0.3, worker_freezes=1.0),
    "dying nodes": Profile(
        "nodes are killed and suspended, machines vanish", node_dies=2.0, node_freezes=4.0, machine_is_lost=5.0
    ),
    "dying control plane": Profile("the control plane is killed", control_plane_dies=2.0, worker_dies=1.0),
    "dying drivers": Profile("drivers are killed", driver_dies=1.0),
}


@asynccontextmanager
async def faults(
    cluster: SimCluster,
    profile: str | Profile,
    *,
    num_cpus: float = 2,
    resources: Mapping[str, float] | None = None,
    object_store_memory: int = STORE,
) -> AsyncIterator[FaultInjector]:
    """Inside of the block things go wrong, drawn from the cluster's seed; at its end what can heal heals.

    `profile` is one of PROFILES by name, or your own. `num_cpus`, `resources`, `object_store_memory`: of the nodes
    that replace those that are gone. Raises ValueError for a profile that does not exist.
    """
    if isinstance(profile, str):
        if profile not in PROFILES:
            raise ValueError(f"there is no profile {profile!r}, but {', '.join(PROFILES)}")
        profile = PROFILES[profile]
    injector = FaultInjector(cluster, profile, num_cpus, resources, object_store_memory)
    run = cluster.world.loop.create_task(injector.run(), name="faults", context=Context())
    try:
        yield injector
    finally:
        run.cancel()
        await asyncio.wait([run])
        if not run.cancelled():
            run.result()


class FaultInjector:
    """Draws faults from the cluster's seed while `run` runs. Use `faults`."""

    def __init__(
        self,
        cluster: SimCluster,
        profile: Profile,
        num_cpus: float,
        resources: Mapping[str, float] | None,
        object_store_memory: int,
    ) -> None:
        self._cluster = cluster
        self._profile = profile
        self._num_cpus = num_cpus
        self._resources = resources
        self._object_store_memory = object_store_memory
        self._random: Random = cluster.world.random("faults")
        self._happened = 0
        self._deaths_of_drivers = 0

    @property
    def happened(self) -> int:
        """How many faults there were."""
        return self._happened

    @property
    def disturbing(self) -> int:
        """How many of them a driver that lives may notice: all but the deaths of others."""
        return self._happened - self._deaths_of_drivers

    async def run(self) -> None:
        """Until it is cancelled; then what can heal heals."""
        try:
            async with asyncio.TaskGroup() as kinds:
                for kind, mean in self._profile.means():
                    if mean:
                        kinds.create_task(self._repeat(mean, getattr(self, f"_{kind}")), name=kind)
        finally:
            self._cluster.world.network.heal_all()
            for process in self._cluster.world.processes:
                self._cluster.thaw(process)

    async def _repeat(self, mean: float, fault: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while True:
            await asyncio.sleep(self._random.expovariate(1 / mean))
            await fault()

    async def _worker_dies(self) -> None:
        if (worker := self._choose(self._cluster.workers())) is not None:
            self._tell(f"{worker.name} is killed")
            self._cluster.kill_worker(worker)

    async def _worker_freezes(self) -> None:
        if (worker := self._choose(self._cluster.workers())) is not None:
            self._freeze(worker, self._random.uniform(0.01, 2.0))

    async def _node_dies(self) -> None:
        if (node := self._choose(self._cluster.nodes)) is not None:
            self._tell(f"{node.name} is killed")
            await self._cluster.kill_node(node)
            self._replace()

    async def _node_freezes(self) -> None:
        if (node := self._choose(self._cluster.nodes)) is not None:
            self._freeze(node.process, self._random.uniform(0.01, 8.0))

    async def _machine_is_lost(self) -> None:
        if (node := self._choose(self._cluster.nodes)) is not None:
            self._tell(f"the machine of {node.name} is lost")
            self._cluster.lose_machine(node)
            self._replace()

    async def _connections_break(self) -> None:
        if (hosts := self._two_hosts()) is not None:
            self._tell(f"connections between {hosts[0]} and {hosts[1]} break")
            self._cluster.world.network.cut(*hosts)

    async def _network_parts(self) -> None:
        if (hosts := self._two_hosts()) is None:
            return
        both = self._random.random() < 0.7
        seconds = self._random.uniform(0.05, 8.0)
        arrow = "and" if both else "cannot send to"
        self._tell(f"{hosts[0]} {arrow} {hosts[1]}{' are parted' if both else ''} for {seconds:.3f} s")
        network = self._cluster.world.network
        network.partition(*hosts, both=both)
        self._later(seconds, network.heal, *hosts)

    async def _control_plane_dies(self) -> None:
        if self._cluster.control is not None:
            self._tell("the control plane is killed")
            await self._cluster.kill_control()

    async def _driver_dies(self) -> None:
        if (driver := self._choose(self._cluster.drivers())) is not None:
            self._tell(f"{driver.name} is killed")
            self._deaths_of_drivers += 1
            self._cluster.kill_driver(driver)

    # ----

    def _freeze(self, process: Process, seconds: float) -> None:
        self._tell(f"{process.name} is frozen for {seconds:.3f} s")
        self._cluster.freeze(process)
        self._later(seconds, self._cluster.thaw, process)

    def _replace(self) -> None:
        self._later(1.0, self._add_node)

    def _add_node(self) -> None:
        if self._cluster.control is not None:
            asyncio.get_running_loop().create_task(self._join(), name="replacement")

    async def _join(self) -> None:
        with contextlib.suppress(AsyncrayError):  # it may be hit before it has joined
            await self._cluster.add_node(
                self._num_cpus, resources=self._resources, object_store_memory=self._object_store_memory
            )

    def _later(self, seconds: float, callback: Callable[..., object], *args: object) -> None:
        self._cluster.world.loop.call_later(seconds, callback, *args, context=Context())

    def _two_hosts(self) -> tuple[str, str] | None:
        """Two machines of the cluster, that of the control plane among them."""
        hosts = self._cluster.hosts()
        if len(hosts) < 2:
            return None
        first, second = self._random.sample(hosts, 2)
        return first, second

    def _choose(self, things: list[_T]) -> _T | None:
        return self._random.choice(things) if things else None

    def _tell(self, what: str) -> None:
        self._happened += 1
        self._cluster.world.transcript.note(None, what)
