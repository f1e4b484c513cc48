"""Which leases their holders are asked to return, because others wait: pure functions over the scheduler's state.

There are two ways to ask. A lease is *wanted* when somebody waits for what it holds: its holder keeps it for as long
as it has tasks for it, and returns it the moment it has none. It *drains* when its holder has had its turn: it is sent
no more tasks. Each is asked at most once per lease, and what is asked depends only on who waits for what now, so that
asking again after any change can forget nobody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from asyncray.node.lease_queue import Claimant, LeaseQueue, LeaseRequest
from asyncray.node.local_scheduler import Lease
from asyncray.resources import Resources

TURN = 0.1
"""Seconds that a busy lease is held before it may be drained for others."""
_MOST_DRAINS = 8
"""Leases drained at the same time, on top of those that others return anyway: turns are slow, and there is no hurry."""


@dataclass(slots=True)
class AskedBack:
    """What to tell holders now."""

    wanted: list[Lease] = field(default_factory=list)
    drained: list[Lease] = field(default_factory=list)
    again_at: float | None = None
    """When to look again, even if nothing changes: then somebody's turn is over."""


def asked_back(queue: LeaseQueue, leases: Iterable[Lease], now: float) -> AskedBack:
    """Marks leases as wanted and draining, and returns those whose holders must be told."""
    asked = AskedBack()
    held = [lease for lease in leases if lease.worker is not None]
    shapes = [shape for shape in queue.shapes() if queue.feasible(dict(shape))]
    heads = list(queue.heads(shapes))
    if held and heads:
        _drain(queue, held, sorted(heads, key=queue.rank), now, asked)
        _want(queue, held, heads, asked)
    return asked


def _want(queue: LeaseQueue, held: list[Lease], heads: list[LeaseRequest], asked: AskedBack) -> None:
    waiting: dict[str, set[Claimant]] = {}
    for head in heads:
        for name in queue.resources.lacks(head.demand):
            waiting.setdefault(name, set()).add(head.claimant)
    for lease in held:
        if lease.wanted or lease.draining:
            continue
        own = {lease.request.claimant}  # whoever holds it uses it for what it waits for itself
        if any(lease.allocation.holds(name) and claimants - own for name, claimants in waiting.items()):
            lease.wanted = True
            asked.wanted.append(lease)


def _drain(queue: LeaseQueue, held: list[Lease], heads: list[LeaseRequest], now: float, asked: AskedBack) -> None:
    """Gives each who waits, in the order in which they will be served, the lease of one who had its turn."""
    returning = [lease for lease in held if lease.draining]
    busy = [lease for lease in held if not lease.draining and not lease.allocation.blocked]
    shares = _Shares(queue)
    passed_over: list[LeaseRequest] = []
    """Served before all that follow, so nothing must be drained that these would take."""
    for head in heads:
        if not busy or len(asked.drained) == _MOST_DRAINS or len(passed_over) == _MOST_DRAINS:
            return
        coming = next((lease for lease in returning if _suffices(queue, lease, head)), None)
        if coming is not None:
            returning.remove(coming)
            shares.move(coming, head)
            continue
        due = [lease for lease in busy if shares.is_entitled(head, lease) and _suffices(queue, lease, head)]
        due = [lease for lease in due if not any(_suffices(queue, lease, other) for other in passed_over)]
        over = [lease for lease in due if now - lease.since >= TURN]
        if not over:
            passed_over.append(head)
            if due:
                earliest = min(lease.since for lease in due) + TURN
                asked.again_at = earliest if asked.again_at is None else min(asked.again_at, earliest)
            continue
        victim = max(over, key=shares.richest)
        busy.remove(victim)
        shares.move(victim, head)
        victim.draining = True
        asked.drained.append(victim)


def _suffices(queue: LeaseQueue, lease: Lease, request: LeaseRequest) -> bool:
    """Whether the request would fit if the lease were returned. What resumed workers overcommit is not its debt."""
    available: Resources = queue.resources.available
    return all(
        max(available.get(name, 0), 0) + lease.allocation.holds(name) >= amount
        for name, amount in request.demand.items()
    ) and any(lease.allocation.holds(name) for name in queue.resources.lacks(request.demand))


class _Shares:
    """Who has how much, counting what is about to change hands."""

    def __init__(self, queue: LeaseQueue) -> None:
        self._active: Counter[bytes] = Counter(queue.active)
        self._held: Counter[Claimant] = Counter(queue.held)

    def is_entitled(self, request: LeaseRequest, lease: Lease) -> bool:
        """Whether a lease is for the request's taking: of a job that has more, or of the same job but of a process,
        or another shape, that has more. Who has nothing at all takes turns with the others.
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
        request = lease.request
        return self._active[request.job_id], self._held[request.claimant], -lease.since

    def move(self, lease: Lease, request: LeaseRequest) -> None:
        for counter, loser, winner in (
            (self._active, lease.request.job_id, request.job_id),
            (self._held, lease.request.claimant, request.claimant),
        ):
            counter[loser] -= 1  # type: ignore[index]
            counter[winner] += 1  # type: ignore[index]
