"""Leases: grants workers to requesters, spills requests to other nodes, takes leases back."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from asyncray import messages
from asyncray.config import Config
from asyncray.node.lease_queue import Allocation, LeaseQueue, LeaseRequest, NodeResources
from asyncray.node.scheduling import NodeView, hybrid
from asyncray.node.sessions import Session, Sessions
from asyncray.node.worker_pool import Claim, Worker, WorkerPool
from asyncray.resources import Resources, to_amounts
from asyncray.rpc.platform import Platform
from asyncray.rpc.service import Manager

_log = logging.getLogger(__name__)

_MINIMUM_LEASE_AGE = 0.1
"""Seconds that a busy lease is held before it may be asked back for others."""


@dataclass(slots=True, eq=False)
class Lease:
    """A worker that a process may use. `worker` is None until one is there."""

    lease_id: bytes
    holder: Session
    request_id: int
    allocation: Allocation
    job_id: bytes
    granted: float
    worker: Worker | None = None
    claim: Claim | None = None
    wanted: bool = False
    """Its holder has been asked to return it when it is idle."""
    reclaimed: bool = False
    """Its holder has been asked to return it once its tasks are done."""


class LeaseManager(Manager):
    """The node's local scheduler."""

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
        self.queue = LeaseQueue(resources)
        self._sessions = sessions
        self._pool = pool
        self._platform = platform
        self._config = config
        self._reclaim_scheduled = False
        self.leases: dict[bytes, Lease] = {}
        self._by_worker: dict[bytes, Lease] = {}
        self.actors: dict[bytes, Allocation] = {}
        """Resources of the actors that live here, by the process id of their workers."""
        self.view: dict[bytes, NodeView] = {}
        """The other nodes, as the control plane last told."""
        self.changed = asyncio.Event()
        """Set whenever the resources or the queue have changed: the control link reports them."""
        sessions.handlers |= {
            messages.LEASE_REQUEST: self._on_request,
            messages.LEASE_CANCEL: self._on_cancel,
            messages.LEASE_RETURN: self._on_return,
            messages.BLOCKED: self._on_blocked,
            messages.UNBLOCKED: self._on_unblocked,
        }
        sessions.on_lost.append(self._session_lost)
        pool.on_death.append(self._worker_died)

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._config.infeasible_warning_after / 2)
            self._warn_of_infeasible()

    def pump(self) -> None:
        """Grants what fits; called after every change."""
        for request, allocation in self.queue.grants():
            self._grant(request, allocation)
        self.changed.set()
        self._reclaim_soon()

    def _reclaim_soon(self) -> None:
        if len(self.queue) and not self._reclaim_scheduled:
            self._reclaim_scheduled = True
            asyncio.get_running_loop().call_soon(self._reclaim)

    def end_job(self, job_id: bytes) -> None:
        """Its requests leave the queue; its workers are ended by the pool."""
        for request in self.queue:
            if request.job_id == job_id:
                self.queue.cancel(request.key)
        for lease in [lease for lease in self.leases.values() if lease.job_id == job_id]:
            self._end(lease)
        self.pump()

    def _on_request(self, session: Session, request_id: int, demand: Resources, job_id: bytes, spilled: bool) -> None:
        nodes = [*self.view.values(), self._own_view()]
        chosen = hybrid(self._node_id, nodes, demand)
        if chosen is not None and chosen.node_id != self._node_id and not (spilled and self.queue.feasible(demand)):
            session.send(messages.LEASE_SPILLED, request_id, chosen.address)
            return
        now = asyncio.get_running_loop().time()
        self.queue.add(LeaseRequest((session.process_id, request_id), demand, job_id, now))
        self.pump()

    def _own_view(self) -> NodeView:
        return NodeView(self._node_id, "", self.resources.total, self.resources.available)

    def respill(self) -> None:
        """The view has changed: what can never run here may run elsewhere."""
        for request in self.queue:
            if self.queue.feasible(request.demand):
                continue
            chosen = hybrid(self._node_id, self.view.values(), request.demand)
            session = self._sessions.by_process.get(request.key[0])
            if chosen is not None and session is not None and self.queue.cancel(request.key):
                session.send(messages.LEASE_SPILLED, request.key[1], chosen.address)

    def _on_cancel(self, session: Session, request_id: int) -> None:
        if not self.queue.cancel((session.process_id, request_id)):
            for lease in list(self.leases.values()):
                if lease.holder is session and lease.request_id == request_id and lease.worker is None:
                    self._end(lease)
        self.pump()

    def _grant(self, request: LeaseRequest, allocation: Allocation) -> None:
        holder = self._sessions.by_process[request.key[0]]
        now = asyncio.get_running_loop().time()
        lease = Lease(self._platform.entropy(8), holder, request.key[1], allocation, request.job_id, now)
        self.leases[lease.lease_id] = lease

        def granted(worker: Worker) -> None:
            lease.worker = worker
            lease.granted = asyncio.get_running_loop().time()
            self._by_worker[worker.process_id] = lease
            holder.send(messages.LEASE_GRANTED, lease.request_id, lease.lease_id, worker.address, allocation.instances)
            self._reclaim_soon()

        lease.claim = self._pool.claim(request.job_id, granted)

    def _on_return(self, session: Session, lease_id: bytes) -> None:
        lease = self.leases.get(lease_id)
        if lease is not None and lease.holder is session:
            self._end(lease)
            self.pump()

    def _end(self, lease: Lease, *, release_worker: bool = True) -> None:
        del self.leases[lease.lease_id]
        self.resources.release(lease.allocation)
        if lease.claim is not None:
            lease.claim.cancelled = True
        if lease.worker is not None:
            self._by_worker.pop(lease.worker.process_id, None)
            if release_worker:
                self._pool.release(lease.worker)

    def _allocation_of(self, session: Session) -> Allocation | None:
        lease = self._by_worker.get(session.process_id)
        return lease.allocation if lease is not None else self.actors.get(session.process_id)

    def _on_blocked(self, session: Session) -> None:
        allocation = self._allocation_of(session)
        if allocation is not None:
            self.resources.block(allocation)
            self.queue.blocked.add(session.process_id)
            self.pump()

    def _on_unblocked(self, session: Session) -> None:
        allocation = self._allocation_of(session)
        if allocation is not None:
            self.resources.unblock(allocation)
            self.queue.blocked.discard(session.process_id)
            self.changed.set()

    def _worker_died(self, worker: Worker, cause: str) -> None:
        lease = self._by_worker.get(worker.process_id)
        if lease is not None:
            lease.holder.send(messages.LEASE_LOST, lease.lease_id, cause)
            self._end(lease, release_worker=False)
        allocation = self.actors.pop(worker.process_id, None)
        if allocation is not None:
            self.resources.release(allocation)
        self.pump()

    def _session_lost(self, session: Session) -> None:
        """A holder is gone: nobody wants what its workers are running."""
        self.queue.cancel_all(session.process_id)
        self.queue.blocked.discard(session.process_id)
        for lease in [lease for lease in self.leases.values() if lease.holder is session]:
            self._end(lease, release_worker=False)
            if lease.worker is not None:
                self._pool.end(lease.worker, graceful=False)
        self.pump()

    def _reclaim(self) -> None:
        """Asks holders for leases that others could use: idle ones at once, busy ones in turns.

        A busy lease is asked back when its holder has more leases than the one who waits, or when that
        one has none, and not before it has been held for a while: jobs share a node by taking turns.
        """
        self._reclaim_scheduled = False
        held: dict[bytes, int] = {}
        for lease in self.leases.values():
            held[lease.holder.process_id] = held.get(lease.holder.process_id, 0) + 1
        now = asyncio.get_running_loop().time()
        waiting = {request.key[0] for request in self.queue if self.queue.feasible(request.demand)}
        shapes = {request.key[0]: request.demand for request in self.queue}
        again = False
        for process_id in waiting:
            own = held.get(process_id, 0)
            for lease in self.leases.values():
                if lease.worker is None or lease.reclaimed:
                    continue
                same = lease.holder.process_id == process_id and lease.allocation.demand == shapes[process_id]
                if same:
                    continue
                theirs = held[lease.holder.process_id]
                due = lease.holder.process_id != process_id and (own == 0 or theirs > own + 1)
                if due and now - lease.granted < _MINIMUM_LEASE_AGE:
                    again = True
                    due = False
                if due or not lease.wanted:
                    lease.wanted = True
                    lease.reclaimed = due
                    lease.holder.send(messages.LEASE_RECLAIM, lease.lease_id, due)
                if due:
                    break
        if again:
            self._reclaim_scheduled = True
            asyncio.get_running_loop().call_later(_MINIMUM_LEASE_AGE, self._reclaim)

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
                f"A task asks for {to_amounts(request.demand)}, which no node of the cluster has"
                f" ({', '.join(lacking) or 'not on one node'}). It waits until such a node joins:"
                " start one, or ask for less with .options(...)."
            )
            _log.warning(text)
            session = self._sessions.by_process.get(request.key[0])
            if session is not None:
                session.send(messages.WARNING, text)
