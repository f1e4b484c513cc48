"""A node's leases, from the request to the return: a state machine without I/O.

The caller feeds in what happens. After each change it asks `grants()` for the leases that need a worker now; at the
end of a turn of the loop, when somebody waits, `reclaim.py` says which ones their holders should return.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from asyncray.node.lease_queue import Allocation, LeaseQueue, LeaseRequest, NodeResources


@dataclass(slots=True, eq=False)
class Lease:
    """A worker that a process may use."""

    lease_id: bytes
    request: LeaseRequest
    allocation: Allocation
    worker: bytes | None = None
    """Process id of the worker; None until there is one."""
    since: float = 0.0
    """When the holder got it."""
    wanted: bool = False
    """Its holder has been asked to return it when it is idle."""
    draining_since: float | None = None
    """When its holder was asked to return it once the tasks that it was sent are done."""
    task: str = field(init=False)
    """What its worker runs, as its holder last told: short tasks come and go without a word."""
    retriable: bool = field(init=False)
    task_since: float = 0.0

    def __post_init__(self) -> None:
        self.task, self.retriable = self.request.task, self.request.retriable

    @property
    def holder(self) -> bytes:
        """The process that asked for it."""
        return self.request.key[0]


class LocalScheduler:
    """Which leases there are, and who gets the next one."""

    def __init__(self, resources: NodeResources, new_id: Callable[[], bytes]) -> None:
        self.resources = resources
        self.queue = LeaseQueue(resources)
        self.leases: dict[bytes, Lease] = {}
        self.actors: dict[bytes, Allocation] = {}
        """Resources of the actors that live here, by the process id of their workers."""
        self._new_id = new_id
        self._by_worker: dict[bytes, Lease] = {}
        self._unassigned: dict[tuple[bytes, int], Lease] = {}
        """Leases that wait for a worker, by the key of their request."""

    def grants(self) -> list[Lease]:
        """Takes the resources for every request that fits now."""
        granted = [Lease(self._new_id(), request, allocation) for request, allocation in self.queue.grants()]
        for lease in granted:
            self.leases[lease.lease_id] = lease
            self._unassigned[lease.request.key] = lease
        return granted

    def assigned(self, lease: Lease, worker_id: bytes, now: float) -> None:
        """There is a worker for the lease: its holder is told."""
        del self._unassigned[lease.request.key]
        lease.worker = worker_id
        lease.since = lease.task_since = now
        self._by_worker[worker_id] = lease

    def cancel(self, key: tuple[bytes, int]) -> Lease | None:
        """The requester does not want it any more. Returns the lease if that was about to get a worker.

        When it has one already, its holder returns it, for the two messages have crossed.
        """
        if not self.queue.cancel(key) and (lease := self._unassigned.get(key)) is not None:
            self._end(lease)
            return lease
        return None

    def give_back(self, holder: bytes, lease_id: bytes) -> Lease | None:
        """The holder returns its lease; None if it is not its, or is over already."""
        lease = self.leases.get(lease_id)
        if lease is None or lease.holder != holder:
            return None
        self._end(lease)
        return lease

    def task_changed(self, holder: bytes, lease_id: bytes, task: str, retriable: bool, now: float) -> None:
        """The holder's worker runs something else now."""
        lease = self.leases.get(lease_id)
        if lease is not None and lease.holder == holder:
            lease.task, lease.retriable, lease.task_since = task, retriable, now

    def worker_lost(self, worker_id: bytes) -> Lease | None:
        """A worker has ended. Returns the lease that is over with it."""
        allocation = self.actors.pop(worker_id, None)
        if allocation is not None:
            self.resources.release(allocation)
        lease = self._by_worker.get(worker_id)
        if lease is not None:
            self._end(lease)
        return lease

    def process_lost(self, process_id: bytes) -> list[Lease]:
        """A requester has ended. Returns its leases, which are over."""
        self.queue.process_lost(process_id)
        return self._end_all(lambda request: request.key[0] == process_id)

    def end_job(self, job_id: bytes) -> list[Lease]:
        """A job is over. Returns its leases, which are over, too; but not those of actors, which may outlive it."""
        self.queue.job_ended(job_id)
        for request in self.queue:
            if request.job_id == job_id and request.key[0] not in self.actors:
                self.queue.cancel(request.key)
        return self._end_all(lambda request: request.job_id == job_id and request.key[0] not in self.actors)

    def block(self, worker_id: bytes) -> None:
        """The worker's task waits for an object."""
        self._with_allocation(worker_id, self.queue.block)

    def unblock(self, worker_id: bytes) -> None:
        """The worker's task goes on."""
        self._with_allocation(worker_id, self.queue.unblock)

    def _with_allocation(self, worker_id: bytes, act: Callable[[bytes, Allocation, LeaseRequest | None], None]) -> None:
        lease = self._by_worker.get(worker_id)
        if lease is not None:
            act(worker_id, lease.allocation, lease.request)
        elif worker_id in self.actors:
            act(worker_id, self.actors[worker_id], None)

    def _end_all(self, over: Callable[[LeaseRequest], bool]) -> list[Lease]:
        ended = [lease for lease in self.leases.values() if over(lease.request)]
        for lease in ended:
            self._end(lease)
        return ended

    def _end(self, lease: Lease) -> None:
        del self.leases[lease.lease_id]
        self._unassigned.pop(lease.request.key, None)
        if lease.worker is not None:
            del self._by_worker[lease.worker]
        self.queue.ended(lease.request, lease.allocation, lease.worker)
