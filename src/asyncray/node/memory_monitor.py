"""Ends a worker before the kernel would: when the machine's memory runs short, and with an error that says why."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Final

from asyncray.config import Config
from asyncray.host_memory import HostMemory, Usage
from asyncray.memory_shortage import MemoryShortage
from asyncray.node.actor_host import ActorHost
from asyncray.node.lease_manager import LeaseManager
from asyncray.node.memory_pressure import Candidate, MemoryPressure, choose
from asyncray.node.sessions import Sessions
from asyncray.node.worker_pool import Worker, WorkerPool
from asyncray.rpc.service import Manager

_log = logging.getLogger(__name__)

_PROCESSES_NAMED: Final = 5
_PATIENCE: Final = 5.0
"""Seconds that the kernel may take to end a process: its memory has to be given back first."""


class MemoryMonitor(Manager):
    """Looks at the memory from time to time; the kernel's own choice could be the node, or a driver."""

    def __init__(
        self,
        node_name: str,
        threshold: float,
        host: HostMemory,
        sessions: Sessions,
        pool: WorkerPool,
        leases: LeaseManager,
        actors: ActorHost,
        config: Config,
    ) -> None:
        self._node_name = node_name
        self._host = host
        self._sessions = sessions
        self._pool = pool
        self._leases = leases
        self._actors = actors
        self._interval = config.memory_check_interval
        self._pressure = MemoryPressure(threshold, self._interval, _PATIENCE)
        self._complained = False
        """Nothing could be ended, which has been said."""
        pool.on_death.append(self._worker_died)

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._interval)
            usage = max(self._host.usages(), key=lambda usage: usage.share)
            if self._pressure.look(loop.time(), usage.share):
                self._relieve(usage)
            elif usage.share <= self._pressure.threshold:
                self._complained = False

    def _relieve(self, usage: Usage) -> None:
        victim = choose(self._candidates())
        if victim is None:
            if not self._complained:
                self._complained = True
                _log.warning("memory runs short, and there is nothing to end: %s", self._shortage(usage))
            return
        worker = self._pool.workers[victim.process_id]
        shortage = self._shortage(usage)
        _log.warning("memory runs short, and worker %s (%s) is ended", worker.process_id.hex()[:8], victim.name)
        self._pressure.end(asyncio.get_running_loop().time(), victim.process_id)
        self._pool.end_for_memory(worker, shortage)

    def _candidates(self) -> Iterator[Candidate]:
        for lease in self._leases.leases.values():
            if lease.worker is not None and self._can_end(lease.worker):
                yield Candidate(lease.worker, lease.task, lease.task_since, lease.retriable)
        for actor in self._actors.actors.values():
            if actor.worker is not None and self._can_end(actor.worker.process_id):
                yield Candidate(actor.worker.process_id, actor.class_name, actor.since, retriable=False, is_actor=True)

    def _can_end(self, process_id: bytes) -> bool:
        worker = self._pool.workers.get(process_id)
        return worker is not None and not worker.ending

    def _shortage(self, usage: Usage) -> MemoryShortage:
        names = self._names()
        largest = self._host.processes()[:_PROCESSES_NAMED]
        processes = tuple((process.pid, names.get(process.pid, process.command), process.size) for process in largest)
        return MemoryShortage(self._node_name, self._pressure.threshold, usage.used, usage.total, processes)

    def _names(self) -> dict[int, str]:
        """What the processes of this node do, by their pids."""
        running = {candidate.process_id: candidate.name for candidate in self._candidates()}
        names = {}
        for session in self._sessions.by_process.values():
            if session.role == "driver":
                names[session.pid] = "driver"
            elif session.process_id in self._pool.workers:
                names[session.pid] = running.get(session.process_id, "an idle worker")
        return names

    def _worker_died(self, worker: Worker, cause: str) -> None:
        self._pressure.ended(asyncio.get_running_loop().time(), worker.process_id)
