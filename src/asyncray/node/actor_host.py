"""Actors of this node: a worker each, created, watched and ended for the control plane."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from asyncray import messages
from asyncray.errors import ActorDiedError, OutOfMemoryError
from asyncray.node.lease_manager import LeaseManager
from asyncray.node.lease_queue import Allocation
from asyncray.node.sessions import Session, Sessions
from asyncray.node.worker_pool import Claim, Worker, WorkerPool
from asyncray.resources import Resources
from asyncray.rpc.service import Manager
from asyncray.serialization import dumps_error

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class HostedActor:
    actor_id: bytes
    class_name: str
    allocation: Allocation
    claim: Claim | None = None
    worker: Worker | None = None
    created: bool = False
    since: float = 0.0
    """When it got its worker."""


class ActorHost(Manager):
    """Carries out PLACE_ACTOR and STOP_ACTOR; `report` sends to the control plane."""

    def __init__(self, sessions: Sessions, pool: WorkerPool, leases: LeaseManager) -> None:
        self._sessions = sessions
        self._pool = pool
        self._leases = leases
        self.report: Callable[..., None] = lambda *message: None
        self.actors: dict[bytes, HostedActor] = {}
        self._by_worker: dict[bytes, HostedActor] = {}
        sessions.handlers[messages.ACTOR_CREATED] = self._on_created
        pool.on_death.append(self._worker_died)

    def place(
        self,
        actor_id: bytes,
        job_id: bytes,
        job: dict[str, Any],
        demand: Resources,
        placement: Resources,
        creation: list[Any],
    ) -> None:
        """Takes the resources, then a worker, then has it run the constructor."""
        allocation = self._leases.resources.allocate(demand)
        if allocation is None:
            self.report(messages.ACTOR_PLACED, actor_id, None, 0, None)  # taken meanwhile: to be placed again
            return
        self._sessions.jobs.setdefault(job_id, job)
        actor = self.actors[actor_id] = HostedActor(actor_id, creation[2], allocation)
        self._leases.changed.set()

        def granted(worker: Worker) -> None:
            actor.worker, actor.since = worker, asyncio.get_running_loop().time()
            self._by_worker[worker.process_id] = actor
            self._leases.actors[worker.process_id] = allocation
            assert worker.session is not None
            worker.job = job  # the driver's word may be gone with the job, which an actor can outlive
            worker.session.send(messages.ASSIGN, job_id, job, allocation.instances)
            worker.session.send(messages.CREATE_ACTOR, *creation)

        actor.claim = self._pool.claim(job_id, granted, dedicated=True)

    def stop_actor(self, actor_id: bytes, graceful: bool) -> None:
        actor = self.actors.get(actor_id)
        if actor is None:
            return
        if actor.worker is None:
            self._withdraw(actor)
        else:
            self._pool.end(actor.worker, graceful=graceful)

    def _withdraw(self, actor: HostedActor) -> None:
        """It is not wanted any more, and has no worker yet."""
        del self.actors[actor.actor_id]
        assert actor.claim is not None
        self._pool.withdraw(actor.claim)
        self._leases.resources.release(actor.allocation)
        self._leases.pump()

    def _on_created(self, session: Session, actor_id: bytes, error: bytes | None) -> None:
        actor = self._by_worker.get(session.process_id)
        if actor is None or actor.actor_id != actor_id or actor.worker is None:
            return
        actor.created = error is None
        self.report(messages.ACTOR_PLACED, actor_id, session.address if error is None else None, session.pid, error)
        if error is not None:
            self._forget(actor)
            self._pool.end(actor.worker, graceful=True)  # others may have borrowed what the constructor made

    def _worker_died(self, worker: Worker, cause: str) -> None:
        actor = self._by_worker.get(worker.process_id)
        if actor is None:
            return
        self._forget(actor)
        shortage = worker.shortage
        if actor.created:
            self.report(messages.ACTOR_DIED, actor.actor_id, cause, shortage.to_wire() if shortage else None)
        else:
            reason = OutOfMemoryError.of(cause, shortage) if shortage is not None else None
            error = dumps_error(ActorDiedError(f"its process ended while the constructor ran: {cause}", reason))
            self.report(messages.ACTOR_PLACED, actor.actor_id, None, 0, error)

    def _forget(self, actor: HostedActor) -> None:
        self.actors.pop(actor.actor_id, None)
        if actor.worker is not None:
            self._by_worker.pop(actor.worker.process_id, None)
