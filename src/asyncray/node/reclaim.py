"""Which leases their holders are asked to return, because others wait: functions over the scheduler's state.

There are two ways to ask. A lease is *wanted* when somebody waits for what it holds: its holder keeps it for as long
as it has tasks for it, and returns it the moment it has none. It *drains* when its holder has had its turn: it is sent
no more tasks. Each is asked at most once per lease, and what is asked depends only on who waits for what now, so that
asking after every change can forget nobody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import islice

from asyncray.node.lease_queue import Claimant, LeaseQueue, LeaseRequest, Shape
from asyncray.node.local_scheduler import Lease
from asyncray.resources import Resources

TURN = 0.1
"""Seconds that a busy lease is held before it may be drained for others; and that a drained one may take to come back
before another is drained, too."""
_MOST_WAITING = 64
"""How many of those who wait are considered at a time, from the first on."""


def now_wanted(queue: LeaseQueue, leases: Iterable[Lease]) -> list[Lease]:
    """Marks leases as wanted, and returns those whose holders must be told."""
    waiting: dict[str, set[Claimant]] = {}
    for shape in queue.shapes():
        if queue.feasible(dict(shape)):
            claimants = [head.claimant for head in islice(queue.heads((shape,)), 2)]  # one, and one that is not that
            for name in queue.resources.lacks(dict(shape)):
                waiting.setdefault(name, set()).update(claimants)
    if not waiting:
        return []
    found: list[Lease] = []
    for lease in leases:
        if lease.worker is None or lease.wanted or lease.draining_since is not None:
            continue
        own = lease.request.claimant  # who holds it uses it for what it waits for itself
        for name, others in waiting.items():
            if lease.allocation.holds(name) and (len(others) > 1 or own not in others):
                lease.wanted = True
                found.append(lease)
                break
    return found


def now_draining(queue: LeaseQueue, leases: Iterable[Lease], now: float) -> tuple[list[Lease], float | None]:
    """Marks leases as draining, and returns those whose holders must be told; and when to look again.

    Each who waits, in the order in which they will be served, gets the lease of one who had its turn.
    """
    busy = [lease for lease in leases if lease.worker is not None and not lease.allocation.blocked]
    returning = [lease for lease in busy if lease.draining_since is not None and now < lease.draining_since + TURN]
    busy = [lease for lease in busy if lease.draining_since is None]
    shares = _Shares(queue)
    needs = {shape: _Need(queue, dict(shape)) for shape in queue.shapes()}
    found: list[Lease] = []
    passed_over: dict[Shape, _Need] = {}
    """Served before all that follow: nothing must be drained for others that these would take."""
    times: list[float] = []
    for head in islice(sorted(_feasible_heads(queue), key=queue.rank), _MOST_WAITING):
        need = needs[head.claimant[1]]
        coming = next((lease for lease in returning if need.is_met_by(lease)), None)
        if coming is not None and coming.draining_since is not None:
            returning.remove(coming)
            shares.move(coming, head)
            times.append(coming.draining_since + TURN)
            continue
        helpful = [lease for lease in busy if need.is_met_by(lease)]
        free = [lease for lease in helpful if not any(other.is_met_by(lease) for other in passed_over.values())]
        due = [lease for lease in free if shares.is_entitled(head, lease)]
        over = [lease for lease in due if now >= lease.since + TURN]
        if over:
            victim = max(over, key=shares.richest)
            victim.draining_since = now
            busy.remove(victim)
            shares.move(victim, head)
            found.append(victim)
            times.append(now + TURN)
        else:
            times += [lease.since + TURN for lease in due]
            if helpful:
                passed_over[head.claimant[1]] = need
    return found, min(times, default=None)


def _feasible_heads(queue: LeaseQueue) -> Iterable[LeaseRequest]:
    return queue.heads(shape for shape in queue.shapes() if queue.feasible(dict(shape)))


class _Need:
    """What is lacking for requests of a shape. What resumed workers overcommit is not their debt."""

    def __init__(self, queue: LeaseQueue, demand: Resources) -> None:
        available = queue.resources.available
        self._lacking = queue.resources.lacks(demand)
        self._missing = {name: amount - max(available.get(name, 0), 0) for name, amount in demand.items()}

    def is_met_by(self, lease: Lease) -> bool:
        """Whether a request would fit if the lease were returned, and not without."""
        holds = lease.allocation.holds
        for name, amount in self._missing.items():  # a plain loop: this is asked for each lease, and who waits
            if amount > 0 and holds(name) < amount:
                return False
        return any(holds(name) for name in self._lacking)


class _Shares:
    """Who has how much, counting what is about to change hands."""

    def __init__(self, queue: LeaseQueue) -> None:
        self._active: Counter[bytes] = Counter(queue.active)
        self._held: Counter[Claimant] = Counter(queue.held)

    def is_entitled(self, request: LeaseRequest, lease: Lease) -> bool:
        """Whether the lease is for the request's taking: it is of a job that has more; or of the same job, but of a
        process (or for another shape) that has more. Who has nothing at all takes turns with the others.
        """
        own, their = request.claimant, lease.request.claimant
        if own == their:
            return False
        if request.job_id != lease.request.job_id:
            mine, others = self._active[request.job_id], self._active[lease.request.job_id]
        else:
            mine, others = self._held[own], self._held[their]
        return mine == 0 or others > mine + 1

    def richest(self, lease: Lease) -> tuple[int, int, float]:
        """The highest is drained first: of the job with the most, of the process with the most, the oldest."""
        return self._active[lease.request.job_id], self._held[lease.request.claimant], -lease.since

    def move(self, lease: Lease, request: LeaseRequest) -> None:
        """Counts a lease as the requester's already."""
        self._active[lease.request.job_id] -= 1
        self._active[request.job_id] += 1
        self._held[lease.request.claimant] -= 1
        self._held[request.claimant] += 1
