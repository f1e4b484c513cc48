"""Leases: grants workers to requesters, spills requests to other nodes, takes leases back."""

from __future__ import annotations

import asyncio
import logging

from asyncray import messages
from asyncray.config import Config
from asyncray.node import reclaim
from asyncray.node.lease_queue import Allocation, LeaseQueue, LeaseRequest, NodeResources
from asyncray.node.local_scheduler import Lease, LocalScheduler
from asyncray.node.scheduling import NodeView
from asyncray.node.sessions import Session, Sessions
from asyncray.node.spillback import Spillback
from asyncray.node.worker_pool import Claim, Worker, WorkerPool
from asyncray.platform import Platform
from asyncray.resources import Resources, in_words
from asyncray.rpc.service import Manager

_log = logging.getLogger(__name__)

_DRAIN_INTERVAL = 0.02
"""Seconds between two looks at whose turn is over: turns are slow, and a look costs more than most events."""


class LeaseManager(Manager):
    """The node's local scheduler: carries out what the state machines decide."""

    def __init__(
        self,
        node_id: bytes,
        resources: NodeResources,
        sessions: Sessions,
        pool: WorkerPool,
        platform: Platform,
        config: Config,
    ) -> None:
        self._node_id = node_id
        self.resources = resources
        self.scheduler = LocalScheduler(resources, lambda: platform.entropy(8))
        self._spillback = Spillback(node_id, 3 * config.resource_report_interval)
        self._sessions = sessions
        self._pool = pool
        self._config = config
        self._claims: dict[bytes, Claim] = {}
        """Leases that wait for a worker, by their ids."""
        self._turn_scheduled = False
        self._drain_timer: asyncio.TimerHandle | None = None
        self._drains_looked_at = -1.0
        self._respill_timer: asyncio.TimerHandle | None = None
        self.changed = asyncio.Event()
        """Set whenever the resources or the queue have changed: the control link reports them."""
        sessions.handlers |= {
            messages.LEASE_REQUEST: self._on_request,
            messages.LEASE_CANCEL: self._on_cancel,
            messages.LEASE_TASK: self._on_task,
            messages.LEASE_RETURN: self._on_return,
            messages.LEAVE: self._on_leave,
            messages.BLOCKED: self._on_blocked,
            messages.UNBLOCKED: self._on_unblocked,
        }
        sessions.on_lost.append(self._session_lost)
        pool.on_death.append(self._worker_died)

    @property
    def queue(self) -> LeaseQueue:
        return self.scheduler.queue

    @property
    def leases(self) -> dict[bytes, Lease]:
        return self.scheduler.leases

    @property
    def actors(self) -> dict[bytes, Allocation]:
        """Resources of the actors that live here, by the process id of their workers."""
        return self.scheduler.actors

    @property
    def view(self) -> dict[bytes, NodeView]:
        """The other nodes, as the control plane last told."""
        return self._spillback.view

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._config.infeasible_warning_after / 2)
            self._warn_of_infeasible()

    async def stop(self) -> None:
        for timer in (self._drain_timer, self._respill_timer):
            if timer is not None:
                timer.cancel()

    def pump(self) -> None:
        """Grants what fits; called after every change."""
        for lease in self.scheduler.grants():
            self._find_worker(lease)
        self._touch()

    def end_job(self, job_id: bytes) -> None:
        """Its requests leave the queue; its leases end, and so do their workers."""
        for lease in self.scheduler.end_job(job_id):
            self._discard(lease)
        self.pump()

    # ------------------------------------------------------------------ requests

    def _on_request(
        self,
        session: Session,
        request_id: int,
        demand: Resources,
        job_id: bytes,
        spilled: bool,
        task: str,
        retriable: bool,
    ) -> None:
        worker = self._pool.workers.get(session.process_id)
        if worker is not None and worker.killed:  # one that was asked to exit may own what others wait for
            return
        if self._sessions.has_ended(job_id) and session.process_id not in self.actors:  # actors may outlive it
            session.send(messages.LEASE_FAILED, request_id, "its job has ended")
            return
        now = asyncio.get_running_loop().time()
        if not (spilled and self.queue.feasible(demand)):
            from_elsewhere = session.address[1] != self._node_id and not spilled
            node = self._spillback.place(self._own_view(), demand, now, chosen=from_elsewhere)
            if node is not None and node.node_id != self._node_id:
                self._spill(session, request_id, demand, node, now)
                return
        self.queue.add(LeaseRequest((session.process_id, request_id), demand, job_id, now, task, retriable))
        self.pump()

    def _on_cancel(self, session: Session, request_id: int) -> None:
        lease = self.scheduler.cancel((session.process_id, request_id))
        if lease is not None:
            self._release(lease)
            self.pump()

    def _own_view(self) -> NodeView:
        return NodeView(self._node_id, "", self.resources.total, self.resources.available)

    def _spill(self, session: Session, request_id: int, demand: Resources, node: NodeView, now: float) -> None:
        session.send(messages.LEASE_SPILLED, request_id, node.address)
        self._spillback.sent(node, demand, now)
        expiry = self._spillback.next_expiry()
        if self._respill_timer is None and expiry is not None:
            self._respill_timer = asyncio.get_running_loop().call_at(expiry, self._respill_later)

    def _respill_later(self) -> None:
        self._respill_timer = None
        self.respill()

    def respill(self) -> None:
        """The view has changed: what can never run here, or not now, may run elsewhere."""
        now = asyncio.get_running_loop().time()
        for request in self.queue:
            feasible = self.queue.feasible(request.demand)
            chosen = self._spillback.place_elsewhere(request.demand, now, must_be_free=feasible)
            session = self._sessions.by_process.get(request.key[0])
            if chosen is not None and session is not None and self.queue.cancel(request.key):
                self._spill(session, request.key[1], request.demand, chosen, now)
                self.changed.set()

    # -------------------------------------------------------------------- leases

    def _find_worker(self, lease: Lease) -> None:
        claim = self._pool.claim(lease.request.job_id, lambda worker: self._assigned(lease, worker))
        if lease.worker is None:
            self._claims[lease.lease_id] = claim

    def _assigned(self, lease: Lease, worker: Worker) -> None:
        self._claims.pop(lease.lease_id, None)
        self.scheduler.assigned(lease, worker.process_id, asyncio.get_running_loop().time())
        granted = (messages.LEASE_GRANTED, lease.request.key[1], lease.lease_id, worker.address)
        self._tell_holder(lease, *granted, lease.allocation.instances)
        self._touch()

    def _on_task(self, session: Session, lease_id: bytes, task: str, retriable: bool) -> None:
        now = asyncio.get_running_loop().time()
        self.scheduler.task_changed(session.process_id, lease_id, task, retriable, now)

    def _on_return(self, session: Session, lease_id: bytes) -> None:
        lease = self.scheduler.give_back(session.process_id, lease_id)
        if lease is not None:
            self._release(lease)
            self.pump()

    def _on_leave(self, session: Session, number: int) -> None:
        """Leases that it has were granted when it had taken its requests back, which it has not heard yet."""
        for lease in self.scheduler.process_lost(session.process_id):
            self._release(lease)
        session.send(messages.LEFT, number)
        self.pump()

    def _release(self, lease: Lease) -> None:
        """The lease is over, and its worker, if it has one, is free for others."""
        claim = self._claims.pop(lease.lease_id, None)
        if claim is not None:
            self._pool.withdraw(claim)
        worker = self._worker_of(lease)
        if worker is not None:
            self._pool.release(worker)

    def _discard(self, lease: Lease) -> None:
        """The lease is over, and nobody wants what its worker runs."""
        worker = self._worker_of(lease)
        if worker is None:
            self._release(lease)
        else:
            self._pool.end(worker, graceful=False)

    def _worker_of(self, lease: Lease) -> Worker | None:
        return None if lease.worker is None else self._pool.workers.get(lease.worker)

    def _tell_holder(self, lease: Lease, *message: object) -> None:
        session = self._sessions.by_process.get(lease.holder)
        if session is not None:
            session.send(*message)

    def _worker_died(self, worker: Worker, cause: str) -> None:
        lease = self.scheduler.worker_lost(worker.process_id)
        if lease is not None:
            shortage = worker.shortage.to_wire() if worker.shortage is not None else None
            self._tell_holder(lease, messages.LEASE_LOST, lease.lease_id, cause, shortage)
        self.pump()

    def _session_lost(self, session: Session) -> None:
        """A holder is gone: nobody wants what its workers are running."""
        for lease in self.scheduler.process_lost(session.process_id):
            self._discard(lease)
        self.pump()

    # ------------------------------------------------------------------- blocked

    def _on_blocked(self, session: Session) -> None:
        """What the blocked task waits for is often asked for by the messages that follow: they come first."""
        self.scheduler.block(session.process_id)
        asyncio.get_running_loop().call_soon(self.pump)

    def _on_unblocked(self, session: Session) -> None:
        self.scheduler.unblock(session.process_id)
        self._touch()

    # --------------------------------------------------------------- taking back

    def _touch(self) -> None:
        """Something has changed. If somebody waits, leases are asked back, once in this turn of the loop."""
        self.changed.set()
        if len(self.queue) and not self._turn_scheduled:
            self._turn_scheduled = True
            asyncio.get_running_loop().call_soon(self._ask_back)

    def _ask_back(self) -> None:
        self._turn_scheduled = False
        for lease in reclaim.now_wanted(self.queue, self.leases.values()):
            self._tell_holder(lease, messages.LEASE_RECLAIM, lease.lease_id, False)
        loop = asyncio.get_running_loop()
        if loop.time() - self._drains_looked_at >= _DRAIN_INTERVAL:
            self._drain()
        else:
            self._drain_at(self._drains_looked_at + _DRAIN_INTERVAL)

    def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        self._drains_looked_at = loop.time()
        drained, again_at = reclaim.now_draining(self.queue, self.leases.values(), loop.time())
        for lease in drained:
            self._tell_holder(lease, messages.LEASE_RECLAIM, lease.lease_id, True)
        if again_at is not None:
            self._drain_at(max(again_at, loop.time() + _DRAIN_INTERVAL))

    def _drain_at(self, when: float) -> None:
        """Looks then, or earlier if that is planned."""
        timer = self._drain_timer
        if timer is None or timer.when() > when:
            if timer is not None:
                timer.cancel()
            self._drain_timer = asyncio.get_running_loop().call_at(when, self._drain_later)

    def _drain_later(self) -> None:
        self._drain_timer = None
        self._drain()

    # ------------------------------------------------------------------ warnings

    def _warn_of_infeasible(self) -> None:
        now = asyncio.get_running_loop().time()
        for request in self.queue:
            if request.warned or now - request.arrived < self._config.infeasible_warning_after:
                continue
            if self.queue.feasible(request.demand):
                continue
            request.warned = True
            lacking = {
                name: amount
                for name, amount in request.demand.items()
                if all(node.total.get(name, 0) < amount for node in [self._own_view(), *self.view.values()])
            }
            text = (
                f"A task asks for {in_words(request.demand)}, which no node of the cluster has"
                f" ({', '.join(lacking) or 'not on one node'}). It waits until such a node joins:"
                " start one, or ask for less with .options(...)."
            )
            _log.warning(text)
            session = self._sessions.by_process.get(request.key[0])
            if session is not None:
                session.send(messages.WARNING, text)
