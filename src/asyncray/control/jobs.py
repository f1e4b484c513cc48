"""Jobs: one driver's program each, from its session's JOB message to that session's end."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any, Final, Protocol

from asyncray.bounded import Remembered
from asyncray.control.nodes import Nodes
from asyncray.control.processes import Processes
from asyncray.control.session import Session
from asyncray.errors import ProtocolError
from asyncray.ids import JobId, ProcessId
from asyncray.messages import JOB, JOB_ACCEPTED, JOB_ENDED
from asyncray.rpc.service import Manager

_log = logging.getLogger(__name__)

ENDED_JOBS_KEPT: Final = 1000


class JobWatcher(Protocol):
    """Who wants to know about jobs."""

    def job_ended(self, job_id: JobId) -> None: ...


@dataclass(slots=True)
class JobRecord:
    job_id: JobId
    info: dict[str, Any]
    """What the driver says of itself: pid, entrypoint, namespace, sys_path, ..."""
    driver: ProcessId
    session: Session
    started: float
    """Wall-clock time, for people."""
    alive: bool = True

    @property
    def pid(self) -> int:
        pid = self.info.get("pid")
        return pid if isinstance(pid, int) and pid >= 0 else 0

    @property
    def entrypoint(self) -> str:
        return str(self.info.get("entrypoint", ""))


class Jobs(Manager):
    """Accepts jobs and ends them with their drivers; nodes and `watchers` clean up after them."""

    def __init__(self, nodes: Nodes, processes: Processes) -> None:
        self.watchers: list[JobWatcher] = []
        self._nodes = nodes
        self._processes = processes
        self._running: dict[bytes, JobRecord] = {}
        self._ended: Remembered[bytes, JobRecord] = Remembered(ENDED_JOBS_KEPT)
        processes.handlers[JOB] = self._begin
        processes.watchers.append(self)

    def get(self, job_id: bytes) -> JobRecord | None:
        """A job that runs, or has ended and is still remembered."""
        return self._running.get(job_id) or self._ended.get(job_id)

    def all(self) -> list[JobRecord]:
        return [*self._running.values(), *self._ended.values()]

    def session_closed(self, session: Session) -> None:
        for record in [record for record in self._running.values() if record.session is session]:
            self._end(record)

    def process_died(self, process_id: ProcessId, cause: str) -> None:
        for record in [record for record in self._running.values() if record.driver == process_id]:
            self._end(record)

    def _begin(self, session: Session, message: list[Any]) -> None:
        _, raw, info = message
        if len(raw) != JobId.LENGTH:
            raise ProtocolError(f"a job id has {JobId.LENGTH} bytes, got {len(raw)}")
        job_id = JobId(raw)
        if self.get(job_id) is not None:
            raise ProtocolError(f"job id {job_id} is taken: connect again with another")
        assert session.peer is not None
        process = self._processes.get(session.peer)
        if process is None or process.role != "driver":
            raise ProtocolError("only a driver has a job")
        self._running[job_id] = JobRecord(job_id, info, process.process_id, session, time.time())
        session.send((JOB_ACCEPTED, job_id))
        pid, entrypoint = info.get("pid"), info.get("entrypoint")
        _log.info("job %s began: pid %s, %s", job_id, pid, entrypoint, extra={"job_id": str(job_id)})

    def _end(self, record: JobRecord) -> None:
        job_id = record.job_id
        if self._running.pop(job_id, None) is None:
            return
        record.alive = False
        self._ended[job_id] = record
        _log.info("job %s ended", job_id, extra={"job_id": str(job_id)})
        self._nodes.broadcast((JOB_ENDED, job_id))
        for watcher in self.watchers:
            watcher.job_ended(job_id)
        self._processes.died(record.driver, "its driver has ended")
