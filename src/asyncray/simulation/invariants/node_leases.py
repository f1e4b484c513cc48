"""A node's leases and the queue for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from asyncray.node.lease_queue import LeaseQueue, LeaseRequest
from asyncray.node.local_scheduler import Lease
from asyncray.node.service import NodeManager
from asyncray.resources import in_words
from asyncray.simulation.invariants.naming import node_name, process_name, short
from asyncray.simulation.invariants.state import ClusterState, Survivors
from asyncray.worker.runtime import Runtime


def inconsistencies(node: NodeManager) -> Iterator[str]:
    """Every lease has a holder with a session, and a worker or a claim for one; the queue's counts are those of the
    leases; whoever is counted or waits has a session."""
    yield from _leases(node)
    yield from _stale(node)
    yield from _counts(node)
    yield from _queue(node_name(node), node.leases.queue)
    yield from _sessions(node)


def _leases(node: NodeManager) -> Iterator[str]:
    where, scheduler, pool = node_name(node), node.leases.scheduler, node.pool
    waiting = set(pool._claims)
    for lease_id, lease in scheduler.leases.items():
        what = f"{where}: lease {short(lease.lease_id)} of {process_name(node.sessions, lease.holder)}"
        if lease.lease_id != lease_id:
            yield f"{what} is listed as {short(lease_id)}"
        if lease.worker is None:
            claim = node.leases._claims.get(lease_id)
            if scheduler._unassigned.get(lease.request.key) is not lease:
                yield f"{what} has no worker, and is not listed among those that wait for one"
            if claim is None or claim.cancelled or claim not in waiting:
                yield f"{what} has no worker, and no claim for one waits in the pool"
            continue
        worker = pool.workers.get(lease.worker)
        if scheduler._by_worker.get(lease.worker) is not lease:
            yield f"{what} is not listed as that of its worker {short(lease.worker)}"
        if worker is None:
            yield f"{what} is for worker {short(lease.worker)}, which does not exist"
        elif not worker.busy or worker.dedicated:
            state = "hosts an actor" if worker.dedicated else "is idle"
            yield f"{what} is for worker {short(lease.worker)}, which {state} as the pool knows it"
        elif worker.job_id != lease.request.job_id:
            yield f"{what} is of job {short(lease.request.job_id)}, and its worker {short(lease.worker)} of another"


def _stale(node: NodeManager) -> Iterator[str]:
    """Entries of leases that are over."""
    where, scheduler = node_name(node), node.leases.scheduler
    for worker_id, lease in scheduler._by_worker.items():
        if scheduler.leases.get(lease.lease_id) is not lease or lease.worker != worker_id:
            yield f"{where}: worker {short(worker_id)} is listed with lease {short(lease.lease_id)}, which is not its"
    for lease in scheduler._unassigned.values():
        if scheduler.leases.get(lease.lease_id) is not lease or lease.worker is not None:
            yield f"{where}: lease {short(lease.lease_id)} is listed among those without a worker, and is not one"
    for lease_id in node.leases._claims:
        waiter = scheduler.leases.get(lease_id)
        if waiter is None or waiter.worker is not None:
            yield f"{where}: a claim is kept for lease {short(lease_id)}, which does not wait for a worker"


def _counts(node: NodeManager) -> Iterator[str]:
    where, queue = node_name(node), node.leases.queue
    leases = node.leases.leases.values()
    held = Counter(lease.request.claimant for lease in leases)
    active = Counter(lease.request.job_id for lease in leases if not lease.allocation.blocked)
    for claimant in {**held, **queue.held}:
        if held[claimant] != queue.held.get(claimant, 0):
            who, demand = process_name(node.sessions, claimant[0]), in_words(dict(claimant[1]))
            yield f"{where}: {who} holds {held[claimant]} leases of {demand}, and {queue.held[claimant]} are counted"
    for job_id in {**active, **queue.active}:
        if active[job_id] != queue.active.get(job_id, 0):
            counted = queue.active.get(job_id, 0)
            yield f"{where}: job {short(job_id)} has {active[job_id]} leases at work, and {counted} are counted"


def _queue(where: str, queue: LeaseQueue) -> Iterator[str]:
    waiting: dict[tuple[bytes, int], LeaseRequest] = {}
    for shape, processes in queue._waiting.items():
        if not processes:
            yield f"{where}: an empty group of requests for {in_words(dict(shape))} is kept"
        for process_id, requests in processes.items():
            if not requests:
                yield f"{where}: an empty group of requests of process {short(process_id)} is kept"
            for number, request in requests.items():
                waiting[process_id, number] = request
                if request.claimant != (process_id, shape) or request.key != (process_id, number):
                    yield f"{where}: request {number} of process {short(process_id)} waits in a group not its own"
    for key in {**waiting, **queue._by_key}:
        if waiting.get(key) is not queue._by_key.get(key):
            yield f"{where}: request {key[1]} of process {short(key[0])} waits in one table of the queue only"


def _sessions(node: NodeManager) -> Iterator[str]:
    where, queue, known = node_name(node), node.leases.queue, node.sessions.by_process
    for lease in node.leases.leases.values():
        if lease.holder not in known:
            yield f"{where}: lease {_lease(lease)} is held by process {short(lease.holder)}, which has no session"
    for process_id, number in queue._by_key:
        if process_id not in known:
            yield f"{where}: request {number} waits, and its process {short(process_id)} has no session"
    for process_id, _ in queue._served:
        if process_id not in known:
            yield f"{where}: it is kept when process {short(process_id)} was served, which has no session"
    for process_id in queue._blocked:
        if process_id not in known:
            yield f"{where}: process {short(process_id)} counts as blocked, and has no session"


def leftovers(node: NodeManager, state: ClusterState, survivors: Survivors) -> Iterator[str]:
    """No lease, no request, nobody blocked, no timer, nothing kept for jobs that are over."""
    where, leases, runtimes = node_name(node), node.leases, state.runtimes_by_id()
    for lease in leases.leases.values():
        yield f"{where}: lease {_lease(lease)} is held by {_fate_of_holder(node, runtimes.get(lease.holder), lease)}"
    for request in leases.queue:
        who = process_name(node.sessions, request.key[0])
        yield f"{where}: request {request.key[1]} of {who} for {in_words(request.demand)} waits"
    for process_id in leases.queue._blocked:
        yield f"{where}: {process_name(node.sessions, process_id)} counts as blocked, and has no task"
    for job_id in leases.queue._job_served:
        if job_id not in survivors.jobs:
            yield f"{where}: it is kept when job {short(job_id)} was served, which has ended"
    if leases._drain_timer is not None or leases._respill_timer is not None or leases._turn_scheduled:
        yield f"{where}: it is to look for leases to reclaim or requests to spill, and there are none"


def _lease(lease: Lease) -> str:
    worker = f" of worker {short(lease.worker)}" if lease.worker is not None else ""
    return f"{short(lease.lease_id)}{worker}"


def _fate_of_holder(node: NodeManager, runtime: Runtime | None, lease: Lease) -> str:
    who = process_name(node.sessions, lease.holder)
    if runtime is None:
        return f"{who}, which is dead"
    known = runtime.submitter.leases.held.get(lease.lease_id)
    if known is None:
        return f"{who}, which does not know of it"
    tasks = len(known.in_flight) + len(known.pipeline.queue)
    return f"{who}, which has {tasks or 'no'} task{'s' if tasks > 1 else ''}"
