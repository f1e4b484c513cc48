"""Who holds which objects of this node: the store's table, and what its processes say of themselves."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from typing import Any, Final

import msgpack

from asyncray import messages
from asyncray.ids import object_of, owner_of
from asyncray.node.actor_host import ActorHost
from asyncray.node.control_link import NodeIdentity
from asyncray.node.lease_manager import LeaseManager
from asyncray.node.sessions import Session, Sessions
from asyncray.node.store_manager import StoreManager
from asyncray.node.worker_pool import WorkerPool
from asyncray.proto import NodeMemory, ProcessMemory
from asyncray.store.blocks import Sealed

ROWS_BY_DEFAULT: Final = 10_000
_MOST_ROWS: Final = 100_000
_LONGEST_PATIENCE: Final = 30.0


class MemoryReporter:
    """Asks the processes of the node, and waits for none that is blocked."""

    def __init__(
        self,
        identity: NodeIdentity,
        sessions: Sessions,
        pool: WorkerPool,
        leases: LeaseManager,
        actors: ActorHost,
        store: StoreManager,
    ) -> None:
        self._identity = identity
        self._sessions = sessions
        self._pool = pool
        self._leases = leases
        self._actors = actors
        self._store = store
        self._numbers = itertools.count(1)
        self._asked: dict[tuple[Session, int], asyncio.Future[tuple[list[Any], int]]] = {}
        sessions.handlers[messages.REFERENCES] = self._on_references
        sessions.on_lost.append(self._session_lost)

    async def report(self, rows: int, patience: float) -> NodeMemory:
        """`rows` at the most, of the store and of each process; `patience` in seconds, for all together."""
        rows = min(rows, _MOST_ROWS)
        sessions = [session for session in self._sessions.by_process.values() if self._is_at_home(session)]
        number = next(self._numbers)
        loop = asyncio.get_running_loop()
        futures = {(session, number): loop.create_future() for session in sessions}
        self._asked |= futures
        try:
            for session in sessions:
                session.send(messages.REPORT, number, rows)
            if futures:
                await asyncio.wait(futures.values(), timeout=min(patience, _LONGEST_PATIENCE))
        finally:
            for key in futures:
                self._asked.pop(key, None)
        names = self._names()
        answers = [(session, future) for (session, _), future in futures.items() if not future.cancelled()]
        return self._describe(
            rows, [_of_process(session, names.get(session.process_id, ""), future) for session, future in answers]
        )

    def _describe(self, rows: int, processes: list[ProcessMemory]) -> NodeMemory:
        table = self._store.table
        statistics = table.statistics()
        stored = heapq.nlargest(rows, table.copies(), key=lambda block: block.size)
        return NodeMemory(
            node_id=self._identity.node_id,
            hostname=self._identity.hostname,
            capacity=statistics.capacity,
            used=statistics.used,
            pinned=table.pinned_memory()[0],
            spilled=statistics.spilled_bytes,
            overflow_used=statistics.overflow_used,
            objects=statistics.objects,
            spilled_objects=statistics.spilled_objects,
            fragmentation=statistics.fragmentation,
            stored=msgpack.packb([_stored_row(block) for block in stored]),
            left_out=statistics.objects - len(stored),
            processes=processes,
        )

    def _is_at_home(self, session: Session) -> bool:
        """Drivers and workers of other nodes, which lease here, are asked by their own nodes."""
        return session.role in ("driver", "worker") and session.address[1] == self._identity.node_id

    def _names(self) -> dict[bytes, str]:
        """What the processes do."""
        names = {process_id: "an idle worker" for process_id in self._pool.workers}
        names |= {lease.worker: lease.task for lease in self._leases.leases.values() if lease.worker is not None}
        for actor in self._actors.actors.values():
            if actor.worker is not None:
                names[actor.worker.process_id] = actor.class_name
        for session in self._sessions.by_process.values():
            if session.role == "driver" and session.job_id is not None:
                job = self._sessions.jobs.get(session.job_id, {})
                names[session.process_id] = str(job.get("entrypoint", ""))
        return names

    def _on_references(self, session: Session, request_id: int, rows: list[Any], left_out: int) -> None:
        future = self._asked.get((session, request_id))
        if future is not None and not future.done():
            future.set_result((rows, left_out))

    def _session_lost(self, session: Session) -> None:
        """What it held is gone with it: it is not in the report."""
        for (asked, _), future in self._asked.items():
            if asked is session:
                future.cancel()


def _of_process(session: Session, name: str, future: asyncio.Future[tuple[list[Any], int]]) -> ProcessMemory:
    answered = future.done()
    rows, left_out = future.result() if answered else ([], 0)
    return ProcessMemory(
        process_id=session.process_id,
        pid=session.pid,
        role=session.role,
        name=name,
        answered=answered,
        references=msgpack.packb(rows),
        left_out=left_out,
    )


def _stored_row(block: Sealed) -> list[Any]:
    """`[object_id, owner process_id, size, primary, where (of `cluster_memory.PLACES`), whether it is spilled, how many
    processes have it pinned]`."""
    where = 0 if block.offset is None else 2 if block.in_overflow else 1
    return [
        object_of(block.key),
        owner_of(block.key),
        block.size,
        block.primary,
        where,
        block.on_disk,
        len(block.pinned_by),
    ]
