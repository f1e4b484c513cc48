"""Which lease request is granted next: a node's resources and its queue, without I/O.

The caller feeds in requests, cancellations, returned leases and blocked workers, and after each asks
`grants()` for the requests whose resources have just been taken. Requests of the same shape are served
first come, first served, but for those of tasks that wait for the result; a request that does not fit never holds up one of another shape that does,
but shapes are tried in the order in which their oldest request came, so none is passed over for ever
while it fits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from asyncray.resources import UNITS, Resources, fits, give, take

_WHOLE_INSTANCES = ("GPU",)


@dataclass(slots=True, eq=False)
class LeaseRequest:
    """Someone wants a worker with these resources."""

    key: tuple[bytes, int]
    """Process id of the requester and its request number."""
    demand: Resources
    job_id: bytes
    arrived: float
    sequence: int = 0
    warned: bool = False


@dataclass(slots=True, eq=False)
class Allocation:
    """Resources taken from a node for a lease or an actor."""

    demand: Resources
    instances: dict[str, list[int]] = field(default_factory=dict)
    blocked: bool = False
    """While its worker waits for an object, the CPU share is given to others."""


class NodeResources:
    """A node's own account of what is free: totals, and which GPU has what share left."""

    def __init__(self, total: Mapping[str, int]) -> None:
        self.total: Resources = dict(total)
        self.available: Resources = dict(total)
        self._free_instances: dict[str, list[int]] = {
            name: [UNITS] * (total[name] // UNITS) for name in _WHOLE_INSTANCES if name in total
        }

    def allocate(self, demand: Resources) -> Allocation | None:
        """Takes `demand`, with instances of GPUs assigned; None when it does not fit now."""
        if not fits(demand, self.available):
            return None
        instances: dict[str, list[int]] = {}
        for name in _WHOLE_INSTANCES:
            if demand.get(name):
                chosen = self._choose(name, demand[name])
                if chosen is None:
                    return None
                instances[name] = chosen
        take(self.available, demand)
        for name, indices in instances.items():
            for index in indices:
                self._free_instances[name][index] -= min(demand[name], UNITS)
        return Allocation(demand, instances)

    def release(self, allocation: Allocation) -> None:
        """Gives everything back, once."""
        back = dict(allocation.demand)
        if allocation.blocked:
            back.pop("CPU", None)
        give(self.available, back)
        for name, indices in allocation.instances.items():
            for index in indices:
                self._free_instances[name][index] += min(allocation.demand[name], UNITS)

    def block(self, allocation: Allocation) -> None:
        """The CPU of a worker that waits counts as free."""
        if not allocation.blocked:
            allocation.blocked = True
            give(self.available, {"CPU": allocation.demand.get("CPU", 0)})

    def unblock(self, allocation: Allocation) -> None:
        """It resumes at once; until somebody ends, the CPU may be overcommitted (below zero)."""
        if allocation.blocked:
            allocation.blocked = False
            take(self.available, {"CPU": allocation.demand.get("CPU", 0)})

    def _choose(self, name: str, amount: int) -> list[int] | None:
        free = self._free_instances[name]
        if amount >= UNITS:
            whole = [index for index, share in enumerate(free) if share == UNITS][: amount // UNITS]
            return whole if len(whole) == amount // UNITS else None
        partial = [index for index, share in enumerate(free) if share >= amount]
        return [min(partial, key=lambda index: free[index])] if partial else None


class LeaseQueue:
    """Requests that wait, by shape, and the account that grants them."""

    def __init__(self, resources: NodeResources) -> None:
        self.resources = resources
        self.blocked: set[bytes] = set()
        """Processes whose task waits for an object: what they ask for comes first, for it is what they wait for."""
        self._waiting: dict[tuple[tuple[str, int], ...], deque[LeaseRequest]] = {}
        self._by_key: dict[tuple[bytes, int], LeaseRequest] = {}
        self._sequence = 0

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[LeaseRequest]:
        return iter(list(self._by_key.values()))

    def add(self, request: LeaseRequest) -> None:
        self._sequence += 1
        request.sequence = self._sequence
        shape = tuple(sorted(request.demand.items()))
        self._waiting.setdefault(shape, deque()).append(request)
        self._by_key[request.key] = request

    def cancel(self, key: tuple[bytes, int]) -> bool:
        """Whether the request was still waiting."""
        return self._by_key.pop(key, None) is not None

    def cancel_all(self, process_id: bytes) -> None:
        """The requester is gone."""
        for key in [key for key in self._by_key if key[0] == process_id]:
            del self._by_key[key]

    def feasible(self, demand: Resources) -> bool:
        """Whether this node could ever grant it."""
        return fits(demand, self.resources.total)

    def grants(self) -> list[tuple[LeaseRequest, Allocation]]:
        """Takes the resources of every request that fits now."""
        granted: list[tuple[LeaseRequest, Allocation]] = []
        for shape in sorted(self._waiting, key=self._oldest):
            queue = self._waiting[shape]
            while queue:
                if self._by_key.get(queue[0].key) is not queue[0]:
                    queue.popleft()
                    continue
                allocation = self.resources.allocate(queue[0].demand)
                if allocation is None:
                    break
                request = self._next(queue)
                queue.remove(request)
                del self._by_key[request.key]
                granted.append((request, allocation))
            if not queue:
                del self._waiting[shape]
        return granted

    def _next(self, queue: deque[LeaseRequest]) -> LeaseRequest:
        if self.blocked:
            for request in queue:
                if request.key[0] in self.blocked and self._by_key.get(request.key) is request:
                    return request
        return queue[0]

    def _oldest(self, shape: tuple[tuple[str, int], ...]) -> int:
        queue = self._waiting[shape]
        return queue[0].sequence if queue else 0
