"""The node's workers: started ahead, assigned to a job, grown when needed, reaped when idle."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from asyncray import messages
from asyncray.config import Config
from asyncray.messages import Address
from asyncray.node.sessions import Session, Sessions
from asyncray.rpc.platform import Platform, WorkerLauncher
from asyncray.rpc.service import Manager

_log = logging.getLogger(__name__)

_RESTART_DELAY = 1.0
"""Seconds before a worker that ended without ever registering is replaced."""


@dataclass(slots=True, eq=False)
class Worker:
    """One worker process. Belongs to one job from its first task on, so that jobs never share modules."""

    process_id: bytes
    started: float
    session: Session | None = None
    job_id: bytes | None = None
    busy: bool = False
    idle_since: float = 0.0
    ending: bool = False

    @property
    def address(self) -> Address:
        assert self.session is not None
        return self.session.address


@dataclass(slots=True, eq=False)
class Claim:
    """Somebody who waits for a worker of a job."""

    job_id: bytes
    granted: Callable[[Worker], None]
    cancelled: bool = False


class WorkerPool(Manager):
    """Hands out idle workers; starts as many as there are claims without one."""

    def __init__(
        self,
        sessions: Sessions,
        launcher: WorkerLauncher,
        platform: Platform,
        config: Config,
        specification: dict[str, Any],
    ) -> None:
        self._sessions = sessions
        self._launcher = launcher
        self._platform = platform
        self._config = config
        self._specification = specification
        self._target = 0
        self._stopping = False
        self._claims: deque[Claim] = deque()
        self.workers: dict[bytes, Worker] = {}
        self.on_death: list[Callable[[Worker, str], None]] = []
        sessions.on_registered.append(self._registered)
        sessions.on_lost.append(self._session_lost)

    def keep_ready(self, count: int) -> None:
        """How many workers are started ahead, and kept when idle."""
        self._target = count

    async def start(self) -> None:
        await self._launcher.start(self._exited)
        for _ in range(self._target):
            self._launch()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(self._config.worker_idle_timeout, self._config.worker_start_timeout) / 4)
            now = loop.time()
            self._reap_idle(now)
            for worker in list(self.workers.values()):
                if worker.session is None and now - worker.started > self._config.worker_start_timeout:
                    _log.error("worker %s did not register in time", worker.process_id.hex()[:8])
                    self._launcher.kill(worker.process_id)

    async def stop(self) -> None:
        self._stopping = True
        await self._launcher.stop()

    def claim(self, job_id: bytes, granted: Callable[[Worker], None]) -> Claim:
        """Calls `granted` with a worker of the job, at once when one is idle."""
        claim = Claim(job_id, granted)
        worker = self._find_idle(job_id)
        if worker is not None:
            self._take(worker, claim)
        else:
            self._claims.append(claim)
            self._start_missing()
        return claim

    def release(self, worker: Worker) -> None:
        """The worker has nothing to do any more."""
        if worker.process_id not in self.workers or worker.ending:
            return
        worker.busy = False
        worker.idle_since = asyncio.get_running_loop().time()
        self._serve_claims()

    def end(self, worker: Worker, *, graceful: bool) -> None:
        """Asks the worker to exit, or kills it."""
        worker.ending = True
        if graceful and worker.session is not None:
            worker.session.send(messages.EXIT, True)
        else:
            self._launcher.kill(worker.process_id)

    def end_job(self, job_id: bytes) -> None:
        """The job is over: its workers go."""
        for claim in self._claims:
            claim.cancelled = claim.cancelled or claim.job_id == job_id
        for worker in list(self.workers.values()):
            if worker.job_id == job_id:
                self.end(worker, graceful=False)

    def idle_count(self) -> int:
        return sum(1 for worker in self.workers.values() if worker.session and not worker.busy)

    def _launch(self) -> None:
        process_id = self._platform.entropy(16)
        self.workers[process_id] = Worker(process_id, asyncio.get_running_loop().time())
        self._launcher.launch(process_id, {**self._specification, "process_id": process_id})

    def _start_missing(self) -> None:
        starting = sum(1 for worker in self.workers.values() if worker.session is None)
        waiting = sum(1 for claim in self._claims if not claim.cancelled)
        for _ in range(waiting - starting):
            self._launch()

    def _find_idle(self, job_id: bytes) -> Worker | None:
        unassigned = None
        for worker in self.workers.values():
            if worker.busy or worker.ending or worker.session is None:
                continue
            if worker.job_id == job_id:
                return worker
            if worker.job_id is None:
                unassigned = unassigned or worker
        return unassigned

    def _take(self, worker: Worker, claim: Claim) -> None:
        worker.busy = True
        if worker.job_id is None:
            assert worker.session is not None
            worker.job_id = worker.session.job_id = claim.job_id
            worker.session.send(messages.ASSIGN, claim.job_id, self._sessions.jobs.get(claim.job_id, {}), {})
            self._keep_target()
        claim.granted(worker)

    def _keep_target(self) -> None:
        """Replaces workers that a job has just taken, while fewer than the target are there."""
        if len(self.workers) < self._target:
            self._launch()

    def _serve_claims(self) -> None:
        waiting, self._claims = self._claims, deque()
        for claim in waiting:
            if claim.cancelled:
                continue
            worker = self._find_idle(claim.job_id)
            if worker is None:
                self._claims.append(claim)
            else:
                self._take(worker, claim)
        self._start_missing()

    def _registered(self, session: Session) -> None:
        worker = self.workers.get(session.process_id)
        if worker is not None:
            worker.session = session
            worker.idle_since = asyncio.get_running_loop().time()
            self._serve_claims()

    def _session_lost(self, session: Session) -> None:
        """The stream ends a little before the zygote says why; one that merely hangs up is ended."""
        worker = self.workers.get(session.process_id)
        if worker is not None:
            worker.ending = True
            self._launcher.kill(worker.process_id)

    def _exited(self, process_id: bytes, cause: str) -> None:
        worker = self.workers.pop(process_id, None)
        if worker is None:
            return
        _log.info("worker %s ended: %s", process_id.hex()[:8], cause)
        worker.ending = True
        if worker.session is not None:
            worker.session.stream.close()
        for callback in self.on_death:
            callback(worker, cause)
        if self._stopping:
            return
        if worker.session is None:  # it never came up: do not spin
            asyncio.get_running_loop().call_later(_RESTART_DELAY, self._refill)
        else:
            self._refill()

    def _refill(self) -> None:
        if not self._stopping:
            self._start_missing()
            while len(self.workers) < self._target:
                self._launch()

    def _reap_idle(self, now: float) -> None:
        idle = [worker for worker in self.workers.values() if worker.session and not worker.busy and not worker.ending]
        surplus = len(idle) - self._target
        for worker in sorted(idle, key=lambda worker: worker.idle_since):
            if surplus <= 0:
                return
            if now - worker.idle_since > self._config.worker_idle_timeout:
                surplus -= 1
                self.end(worker, graceful=True)
