"""One node with its real managers, and processes whose pipelines are real, on a virtual clock.

What a `LeaseWorld` checks all the time: resources are never taken twice, and no lease lies idle at a process that
has nothing for it to do while a request waits that it would help. When everything has been done: every task had
exactly one outcome, every lease has been returned, all resources are free.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

from asyncray.config import Config
from asyncray.node.lease_manager import LeaseManager
from asyncray.node.lease_queue import NodeResources
from asyncray.node.sessions import Sessions
from asyncray.node.worker_pool import WorkerPool
from asyncray.platform import Platform
from asyncray.resources import UNITS, Resources

from .lease_process import Process, Work, Worker

LATENCIES = (50e-6, 500e-6)
"""Seconds that a message takes, at least and at most."""
ROUND_TRIP = 4 * LATENCIES[1]
"""Two messages, and the turns of the loop between."""


class Launcher:
    """Starts workers of the world."""

    def __init__(self, world: LeaseWorld) -> None:
        self._world = world
        self._exited: Callable[[bytes, str], None] = lambda process_id, cause: None
        self._starting: set[bytes] = set()
        self.launched = 0

    async def start(self, on_exit: Callable[[bytes, str], None]) -> None:
        self._exited = on_exit

    def launch(self, process_id: bytes, specification: dict[str, object]) -> None:
        self.launched += 1
        self._starting.add(process_id)
        asyncio.get_running_loop().call_later(self._world.random.uniform(0.002, 0.05), self._up, process_id)

    def _up(self, process_id: bytes) -> None:
        if process_id in self._starting:
            self._starting.discard(process_id)
            self._world.processes[process_id] = Worker(self._world, process_id)

    def kill(self, process_id: bytes) -> None:
        worker = self._world.processes.get(process_id)
        if worker is not None:
            worker.die()
        elif process_id in self._starting:
            self._starting.discard(process_id)
            self.died(process_id)

    def died(self, process_id: bytes) -> None:
        delay = self._world.random.uniform(0, 0.01)
        asyncio.get_running_loop().call_later(delay, self._exited, process_id, "it died")

    def clean(self, process_id: bytes) -> None:
        pass

    async def stop(self) -> None:
        pass


class LeaseWorld:
    """Lives inside one virtual loop."""

    def __init__(self, total: Resources, random: Random, config: Config | None = None, ready: int = 2) -> None:
        self.random = random
        self.config = config or Config()
        self.node_id = b"n" * 16
        self.sessions = Sessions(self.node_id, lambda: "127.0.0.1:1")
        self.resources = NodeResources(total)
        self.launcher = Launcher(self)
        platform = Platform(None, entropy=random.randbytes)  # type: ignore[arg-type]
        self.pool = WorkerPool(self.sessions, self.launcher, platform, self.config, {})
        self.ready = ready
        self.pool.keep_ready(ready)
        self.leases = LeaseManager(self.node_id, self.resources, self.sessions, self.pool, platform, self.config)
        self.processes: dict[bytes, Process] = {}
        self.drivers: list[Process] = []
        self.work: dict[bytes, Work] = {}
        self.outcomes: dict[bytes, str] = {}
        self.deaths = 0
        self.abandoned: set[bytes] = set()
        """Tasks whose owner has died."""
        self._loop = asyncio.get_running_loop()
        self._progress = asyncio.Event()
        self._idle_since: dict[bytes, float] = {}
        self._resumed: set[bytes] = set()
        """Leases whose worker has been blocked: their CPU may be given to others at the same time."""
        self._managing: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        await self.pool.start()
        self._managing = [asyncio.create_task(manager.run()) for manager in (self.pool, self.leases)]

    def accept(self, stream: Any) -> Any:
        (accept,) = self.sessions.streams.values()
        return accept(stream)

    def latency(self) -> float:
        return self.random.uniform(*LATENCIES)

    def thread_delay(self) -> float:
        return self.random.uniform(0, 100e-6)

    def new_task_id(self, work: Work) -> bytes:
        task_id = self.random.randbytes(16)
        self.work[task_id] = work
        return task_id

    # ---- what happens

    def driver(self) -> Process:
        driver = Process(self, self.random.randbytes(16), self.random.randbytes(4))
        self.processes[driver.process_id] = driver
        self.drivers.append(driver)
        return driver

    def process_died(self, process: Process) -> None:
        self._progress.set()
        if process in self.drivers:
            self.drivers.remove(process)
            self._loop.call_later(self.latency(), self._end_job, process.job_id)
        else:
            self.launcher.died(process.process_id)
        for other in list(self.processes.values()):
            if other is not process and other.alive:
                self._loop.call_later(self.latency(), self._tell, other, process)

    def _tell(self, process: Process, dead: Process) -> None:
        if process.alive:
            process.peer_died(dead)

    def _end_job(self, job_id: bytes) -> None:
        """As the control link does it."""
        self.leases.end_job(job_id)
        self.pool.end_job(job_id)
        self.sessions.jobs.pop(job_id, None)

    def finished(self, task_id: bytes, outcome: str) -> None:
        assert task_id not in self.outcomes, "two outcomes"
        self.outcomes[task_id] = outcome
        self._progress.set()

    # ---- what is checked

    def unfinished(self) -> list[bytes]:
        return [task_id for task_id in self.work if task_id not in self.outcomes and task_id not in self.abandoned]

    async def done(self, within: float) -> None:
        """Returns when every task has its outcome. `within` is in virtual seconds."""
        try:
            async with asyncio.timeout(within):
                while self.unfinished():
                    self._progress.clear()
                    await self._progress.wait()
        except TimeoutError:
            raise AssertionError(f"not done after {within} s\n{self.describe()}") from None

    async def quiet(self) -> None:
        """Returns when idle leases have had time to expire, and idle workers to end; checks that nothing is left."""
        await asyncio.sleep(self.config.lease_idle_timeout + 1.0)
        self.look()
        assert not self.leases.leases and not len(self.leases.queue), self.describe()
        assert not self.leases.queue.held and not self.leases.queue.active, self.describe()
        assert self.resources.available == {**self.resources.available, **self.resources.total}, self.describe()
        for process in self.processes.values():
            assert not process.alive or (not process.pipelines and not process.leases), self.describe()
        await asyncio.sleep(2 * self.config.worker_idle_timeout)
        jobs = {None, *(driver.job_id for driver in self.drivers)}
        assert all(worker.job_id in jobs for worker in self.pool.workers.values()), "a worker has survived its job"
        assert len(self.pool.workers) == self.pool.idle_count() == self.ready, self.pool.workers

    def look(self) -> None:
        """Checks what must always hold, between any two events."""
        self._check_resources()
        self._check_queue()
        self._check_idle_leases()

    def _check_queue(self) -> None:
        for request in self.leases.queue:
            allocation = self.resources.allocate(request.demand)
            assert allocation is None, f"{request} waits although it fits\n{self.describe()}"

    def _check_resources(self) -> None:
        leases = self.leases.leases.values()
        self._resumed &= self.leases.leases.keys()
        self._resumed |= {lease.lease_id for lease in leases if lease.allocation.blocked}
        for name, amount in self.resources.total.items():
            free = self.resources.available[name]
            taken = sum(lease.allocation.holds(name) for lease in leases)
            assert free == amount - taken, f"{name}: {free} free of {amount}, {taken} taken"
            resumed = sum(lease.allocation.holds(name) for lease in leases if lease.lease_id in self._resumed)
            assert free >= 0 or (name == "CPU" and free + resumed >= 0), f"{name} is taken twice\n{self.describe()}"

    def _check_idle_leases(self) -> None:
        """A lease that would help somebody, at a process with nothing to do for it."""
        now = self._loop.time()
        waiting = [request for request in self.leases.queue if self.leases.queue.feasible(request.demand)]
        for process in self.processes.values():
            for lease_id, lease in process.leases.items():
                known = self.leases.leases.get(lease_id)
                idle = process.alive and not lease.in_flight and not lease.lost and known is not None
                wanted = idle and (
                    bool(lease.pipeline.queue)
                    or any(
                        (request.key[0] != process.process_id or request.demand != lease.pipeline.demand)
                        and self._would_help(lease.pipeline.demand, request.demand)
                        for request in waiting
                    )
                )
                if not wanted:
                    self._idle_since.pop(lease_id, None)
                    continue
                since = self._idle_since.setdefault(lease_id, now)
                assert now - since <= ROUND_TRIP, f"a lease lies idle for {now - since}\n{self.describe()}"

    def _would_help(self, given: Resources, demand: Resources) -> bool:
        available = self.resources.available
        return any(given.get(name) and available.get(name, 0) < amount for name, amount in demand.items())

    def describe(self) -> str:
        lines = [f"at {self._loop.time():.6f}: {self.resources.available} of {self.resources.total}"]
        lines += [f"waits: {request}" for request in self.leases.queue]
        lines += [f"leased: {lease}" for lease in self.leases.leases.values()]
        for process in self.processes.values():
            for pipeline in process.pipelines.values():
                flights = [
                    (lease.lease_id.hex()[:6], len(lease.in_flight), lease.wanted, lease.drain, lease.alone, lease.lost)
                    for lease in pipeline.leases.values()
                ]
                state = process.role if process.alive else "dead " + process.role
                work = f"{len(pipeline.queue)} queued, {pipeline.requested} requested, {flights}"
                lines.append(f"{state} {process.process_id.hex()[:6]} {pipeline.demand}: {work}")
        lines.append(f"unfinished: {[self.work[task_id] for task_id in self.unfinished()][:5]}")
        return "\n".join(lines)


def cpus(count: float) -> Resources:
    return {"CPU": int(count * UNITS)}
