"""The node's workers: started ahead, assigned to a job, grown when needed, reaped when idle."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from asyncray import messages
from asyncray.config import Config
from asyncray.memory_shortage import MemoryShortage
from asyncray.messages import Address
from asyncray.node.sessions import Session, Sessions
from asyncray.node.start_pause import StartPause
from asyncray.platform import Platform, WorkerLauncher
from asyncray.rpc.service import Manager

_log = logging.getLogger(__name__)

_WORTH_A_WARNING = 1.0
"""Seconds of pause between starts from which on users should know that something is wrong."""
_LEAST_STARTING = 4
"""Workers that may start at the same time, on a machine with fewer cores: more would only slow each other down."""


@dataclass(slots=True, eq=False)
class Worker:
    """One worker process. Belongs to one job from its first task on, so that jobs never share modules."""

    process_id: bytes
    started: float
    session: Session | None = None
    job_id: bytes | None = None
    job: dict[str, Any] = field(default_factory=dict)
    """What it was told of its job."""
    busy: bool = False
    dedicated: bool = False
    """Hosts an actor, and ends with it."""
    idle_since: float = 0.0
    ending: bool = False
    """It is on its way out, whoever wanted that, and not to be used any more."""
    killed: bool = False
    """It will do nothing more: it was not merely asked to exit."""
    dismissed: bool = False
    """The pool wanted it to end."""
    shortage: MemoryShortage | None = None
    """Why, if it was for memory."""

    @property
    def is_idle(self) -> bool:
        return self.session is not None and not self.busy and not self.ending

    @property
    def address(self) -> Address:
        assert self.session is not None
        return self.session.address


@dataclass(slots=True, eq=False)
class Claim:
    """Somebody who waits for a worker of a job."""

    job_id: bytes
    granted: Callable[[Worker], None]
    dedicated: bool
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
        self._pause = StartPause()
        self._resume_timer: asyncio.TimerHandle | None = None
        self._claims: deque[Claim] = deque()
        self.workers: dict[bytes, Worker] = {}
        self.on_death: list[Callable[[Worker, str], None]] = []
        sessions.on_registered.append(self._registered)
        sessions.on_lost.append(self._session_lost)

    def keep_ready(self, count: int) -> None:
        """How many workers there are at least, besides those of actors: started ahead, and kept when idle."""
        self._target = count

    async def start(self) -> None:
        await self._launcher.start(self._exited)
        self._refill()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(self._config.worker_idle_timeout, self._config.worker_start_timeout) / 4)
            now = loop.time()
            self._reap_idle(now)
            for worker in list(self.workers.values()):
                starting = worker.session is None and not worker.ending
                if starting and now - worker.started > self._config.worker_start_timeout:
                    _log.error("worker %s did not register in time", worker.process_id.hex()[:8])
                    self._kill(worker)

    async def stop(self) -> None:
        self._stopping = True
        if self._resume_timer is not None:
            self._resume_timer.cancel()
        await self._launcher.stop()

    def claim(self, job_id: bytes, granted: Callable[[Worker], None], *, dedicated: bool = False) -> Claim:
        """Calls `granted` with a worker of the job, at once when one is idle.

        `dedicated`: for an actor, which gets a worker that has run nothing yet. It ends with the actor, however that
        ends, and what tasks had left there would be lost to those who borrow it.
        """
        claim = Claim(job_id, granted, dedicated)
        worker = self._find_idle(claim)
        if worker is not None:
            self._take(worker, claim)
        else:
            self._claims.append(claim)
        if worker is None or dedicated:
            self._refill()
        return claim

    def withdraw(self, claim: Claim) -> None:
        """Nobody waits any more."""
        claim.cancelled = True
        with contextlib.suppress(ValueError):  # `_serve_claims` may be going through them
            self._claims.remove(claim)

    def release(self, worker: Worker) -> None:
        """The worker has nothing to do any more."""
        if worker.process_id not in self.workers or worker.ending:
            return
        worker.busy = False
        worker.idle_since = asyncio.get_running_loop().time()
        if self._claims:
            self._serve_claims()

    def end(self, worker: Worker, *, graceful: bool) -> None:
        """Asks the worker to exit, or kills it."""
        worker.ending = worker.dismissed = True
        if graceful and worker.session is not None:
            worker.session.send(messages.EXIT, True)
        else:
            self._kill(worker)

    def end_for_memory(self, worker: Worker, shortage: MemoryShortage) -> None:
        """Kills a worker so that others can live. Whoever loses by that is told why."""
        worker.shortage = shortage
        self.end(worker, graceful=False)

    def end_job(self, job_id: bytes) -> None:
        """The job is over: its idle workers go. Busy ones are ended by who uses them: an actor may outlive its job."""
        for worker in list(self.workers.values()):
            if worker.job_id == job_id and worker.is_idle:
                self.end(worker, graceful=False)

    def idle_count(self) -> int:
        return sum(1 for worker in self.workers.values() if worker.is_idle)

    def _refill(self) -> None:
        """Starts workers: one for each claim, and as many as are to be ready."""
        if self._stopping:
            return
        starting = ready = 0
        for worker in self.workers.values():  # for each claim that waits: one plain pass
            if not worker.ending:
                starting += worker.session is None
                ready += not worker.dedicated
        missing = max(len(self._claims) - starting, self._target - ready)
        if missing <= 0:
            return
        missing = min(missing, max(self._target, _LEAST_STARTING) - starting)
        now = asyncio.get_running_loop().time()
        if missing > 0 and now < self._pause.until:
            self._refill_at(self._pause.until)
            return
        for _ in range(missing):
            self._launch(now)

    def _refill_at(self, when: float) -> None:
        if self._resume_timer is None:
            self._resume_timer = asyncio.get_running_loop().call_at(when, self._resume)

    def _resume(self) -> None:
        self._resume_timer = None
        self._refill()

    def _launch(self, now: float) -> None:
        process_id = self._platform.entropy(16)
        self.workers[process_id] = Worker(process_id, now)
        self._launcher.launch(process_id, {**self._specification, "process_id": process_id})

    def _find_idle(self, claim: Claim) -> Worker | None:
        unassigned = None
        for worker in self.workers.values():
            if not worker.is_idle:
                continue
            if worker.job_id == claim.job_id and not claim.dedicated:
                return worker
            if worker.job_id is None:
                unassigned = unassigned or worker
        return unassigned

    def _take(self, worker: Worker, claim: Claim) -> None:
        worker.busy = True
        worker.dedicated = claim.dedicated
        if worker.job_id is None:
            assert worker.session is not None
            self._pause.succeeded()
            worker.job = self._job_information(claim.job_id)
            worker.job_id = worker.session.job_id = claim.job_id
        claim.granted(worker)

    def _job_information(self, job_id: bytes) -> dict[str, Any]:
        """From the driver; or, when the job is over, from the actors that outlive it."""
        known = self._sessions.jobs.get(job_id)
        if known is not None:
            return known
        return next((worker.job for worker in self.workers.values() if worker.job_id == job_id), {})

    def _serve_claims(self) -> None:
        waiting, self._claims = self._claims, deque()
        for claim in waiting:
            if claim.cancelled:
                continue
            worker = self._find_idle(claim)
            if worker is None:
                self._claims.append(claim)
            else:
                self._take(worker, claim)
        self._refill()

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
            self._kill(worker)

    def _kill(self, worker: Worker) -> None:
        worker.ending = worker.killed = True
        self._launcher.kill(worker.process_id)

    def _exited(self, process_id: bytes, cause: str) -> None:
        worker = self.workers.pop(process_id, None)
        if worker is None:
            return
        if worker.shortage is not None:
            cause = f"memory ran short: {worker.shortage}"
        _log.info("worker %s ended: %s", process_id.hex()[:8], cause, extra={"process_id": process_id.hex()})
        worker.ending = True
        if worker.session is not None:
            worker.session.stream.close()
        for callback in self.on_death:
            callback(worker, cause)
        if worker.session is None or (worker.job_id is None and not worker.dismissed):
            self._start_failed(cause)
        self._refill()

    def _start_failed(self, cause: str) -> None:
        """Slows down; when that lasts, says why to the drivers whose tasks wait for a worker."""
        pause = self._pause.failed(asyncio.get_running_loop().time())
        if pause < _WORTH_A_WARNING:
            return
        text = (
            f"Workers end before they can run anything ({cause}): the next one starts in {pause:.0f} s."
            " Their output is in the node's logs."
        )
        _log.error(text)
        waiting = {claim.job_id for claim in self._claims}
        for session in self._sessions.by_process.values():
            if session.role == "driver" and session.job_id in waiting:
                session.send(messages.WARNING, text)

    def _reap_idle(self, now: float) -> None:
        idle = [worker for worker in self.workers.values() if worker.is_idle]
        surplus = len(idle) - self._target
        for worker in sorted(idle, key=lambda worker: worker.idle_since):
            if surplus <= 0:
                return
            if now - worker.idle_since > self._config.worker_idle_timeout:
                surplus -= 1
                self.end(worker, graceful=True)
