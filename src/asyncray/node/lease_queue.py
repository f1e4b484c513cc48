"""Which lease request is granted next: a node's resources and its queue, without I/O.

A request that does not fit never holds up one of another shape that does. Of those that fit, the first is one

1. of the job that has the fewest leases at work now, and of several the one that was served longest ago: jobs
   share a node, and take turns where there is too little to share;
2. of the process that blocked last, if any has: what it asks for is what its task waits for, and serving the
   deepest level of nested tasks first keeps the number of half-finished ones small;
3. of the process that holds the fewest leases of the shape, and of several the one that was served longest ago;
4. that came first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from asyncray.resources import UNITS, Resources, fits, give, take

_WHOLE_INSTANCES = ("GPU",)

Shape = tuple[tuple[str, int], ...]
"""A demand that can be a key."""
Claimant = tuple[bytes, Shape]
"""A process and a shape: one pipeline."""


@dataclass(slots=True, eq=False)
class LeaseRequest:
    """Someone wants a worker with these resources."""

    key: tuple[bytes, int]
    """Process id of the requester and its request number."""
    demand: Resources
    job_id: bytes
    arrived: float
    task: str = ""
    """Name of the task that it is for."""
    retriable: bool = True
    """Whether that runs again if its worker dies."""
    sequence: int = 0
    warned: bool = False
    claimant: Claimant = field(init=False)

    def __post_init__(self) -> None:
        self.claimant = (self.key[0], tuple(sorted(self.demand.items())))


@dataclass(slots=True, eq=False)
class Allocation:
    """Resources taken from a node for a lease or an actor."""

    demand: Resources
    instances: dict[str, list[int]] = field(default_factory=dict)
    blocked: bool = False
    """While its worker waits for an object, the CPU share is given to others."""

    def holds(self, name: str) -> int:
        """How much of a resource would be free without it, that is not free already."""
        return 0 if self.blocked and name == "CPU" else self.demand.get(name, 0)


class NodeResources:
    """A node's own account of what is free: totals, and which GPU has what share left."""

    def __init__(self, total: Mapping[str, int]) -> None:
        self.total: Resources = dict(total)
        self.available: Resources = dict(total)
        self._free_instances: dict[str, list[int]] = {
            name: [min(UNITS, total[name] - start) for start in range(0, total[name], UNITS)]
            for name in _WHOLE_INSTANCES
            if name in total
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
        give(self.available, {name: allocation.holds(name) for name in allocation.demand})
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

    def lacks(self, demand: Resources) -> set[str]:
        """The resources for which `demand` waits. GPUs whose free shares lie on different ones count."""
        lacking = {name for name, amount in demand.items() if self.available.get(name, 0) < amount}
        return lacking or {name for name in _WHOLE_INSTANCES if demand.get(name)}

    def _choose(self, name: str, amount: int) -> list[int] | None:
        free = self._free_instances[name]
        if amount >= UNITS:
            whole = [index for index, share in enumerate(free) if share == UNITS][: amount // UNITS]
            return whole if len(whole) == amount // UNITS else None
        partial = [index for index, share in enumerate(free) if share >= amount]
        return [min(partial, key=lambda index: free[index])] if partial else None


class LeaseQueue:
    """Requests that wait, the account that grants them, and who has how much of it already."""

    def __init__(self, resources: NodeResources) -> None:
        self.resources = resources
        self.held: Counter[Claimant] = Counter()
        """Leases by who holds them."""
        self.active: Counter[bytes] = Counter()
        """Leases at work by job: those of blocked workers do not count."""
        self._job_served: dict[bytes, int] = {}
        """When a job was last granted a lease: a higher number for later."""
        self._served: dict[Claimant, int] = {}
        self._claimants: dict[bytes, dict[Claimant, None]] = {}
        """Those of `_served`, by their processes."""
        self._serves = 0
        self._blocked: dict[bytes, int] = {}
        """Processes whose task waits for an object; a higher number for one that blocked later."""
        self._blocks = 0
        self._waiting: dict[Shape, dict[bytes, dict[int, LeaseRequest]]] = {}
        """By shape, process and request number; each level in the order of arrival, none empty."""
        self._by_key: dict[tuple[bytes, int], LeaseRequest] = {}
        self._sequence = 0

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[LeaseRequest]:
        return iter(list(self._by_key.values()))

    def add(self, request: LeaseRequest) -> None:
        self._sequence += 1
        request.sequence = self._sequence
        process_id, shape = request.claimant
        self._waiting.setdefault(shape, {}).setdefault(process_id, {})[request.key[1]] = request
        self._by_key[request.key] = request

    def cancel(self, key: tuple[bytes, int]) -> bool:
        """Whether the request was still waiting."""
        request = self._by_key.get(key)
        if request is not None:
            self._remove(request)
        return request is not None

    def process_lost(self, process_id: bytes) -> None:
        """The requester is gone."""
        for key in [key for key in self._by_key if key[0] == process_id]:
            self.cancel(key)
        self._blocked.pop(process_id, None)
        for claimant in self._claimants.pop(process_id, ()):
            del self._served[claimant]

    def job_ended(self, job_id: bytes) -> None:
        """It will ask for nothing more, or hardly."""
        self._job_served.pop(job_id, None)

    def feasible(self, demand: Resources) -> bool:
        """Whether this node could ever grant it."""
        return fits(demand, self.resources.total)

    def grants(self) -> list[tuple[LeaseRequest, Allocation]]:
        """Takes the resources of every request that fits now."""
        granted: list[tuple[LeaseRequest, Allocation]] = []
        shapes = {shape for shape in self._waiting if fits(dict(shape), self.resources.available)}
        while shapes:
            request = min(self.heads(shapes), key=self.rank)
            allocation = self.resources.allocate(request.demand)
            if allocation is None:
                shapes.discard(request.claimant[1])
                continue
            self._remove(request)
            self.held[request.claimant] += 1
            self.active[request.job_id] += 1
            self._serves += 1
            self._job_served[request.job_id] = self._served[request.claimant] = self._serves
            self._claimants.setdefault(request.claimant[0], {})[request.claimant] = None
            granted.append((request, allocation))
            shapes &= self._waiting.keys()
        return granted

    def ended(self, request: LeaseRequest, allocation: Allocation, worker_id: bytes | None) -> None:
        """What was granted is over: its resources come back, and what its worker waited for is of no matter."""
        if worker_id is not None:
            self._blocked.pop(worker_id, None)
        self._count_active(request.job_id, 0 if allocation.blocked else -1)
        self.held[request.claimant] -= 1
        if not self.held[request.claimant]:
            del self.held[request.claimant]
        self.resources.release(allocation)

    def block(self, process_id: bytes, allocation: Allocation, request: LeaseRequest | None) -> None:
        """The process's task waits for an object: its CPU is free, and what it asks for comes first.

        `request` is what its lease was granted for; None for an actor.
        """
        if not allocation.blocked:
            self._blocks += 1
            self._blocked[process_id] = self._blocks
            self.resources.block(allocation)
            if request is not None:
                self._count_active(request.job_id, -1)

    def unblock(self, process_id: bytes, allocation: Allocation, request: LeaseRequest | None) -> None:
        """The process's task goes on."""
        self._blocked.pop(process_id, None)
        if allocation.blocked:
            self.resources.unblock(allocation)
            if request is not None:
                self._count_active(request.job_id, 1)

    def shapes(self) -> list[Shape]:
        """What is waited for."""
        return list(self._waiting)

    def heads(self, shapes: Iterable[Shape]) -> Iterator[LeaseRequest]:
        """The oldest request of each process for each of the shapes, in no order."""
        for shape in shapes:
            for requests in self._waiting[shape].values():
                yield next(iter(requests.values()))

    def rank(self, request: LeaseRequest) -> tuple[int, ...]:
        """The lowest is granted first: see the top of the file."""
        job_id, claimant = request.job_id, request.claimant
        return (
            self.active[job_id],
            self._job_served.get(job_id, 0),
            -self._blocked.get(claimant[0], 0),
            self.held[claimant],
            self._served.get(claimant, 0),
            request.sequence,
        )

    def _remove(self, request: LeaseRequest) -> None:
        del self._by_key[request.key]
        process_id, shape = request.claimant
        processes = self._waiting[shape]
        requests = processes[process_id]
        del requests[request.key[1]]
        if not requests:
            del processes[process_id]
        if not processes:
            del self._waiting[shape]

    def _count_active(self, job_id: bytes, change: int) -> None:
        self.active[job_id] += change
        if not self.active[job_id]:
            del self.active[job_id]
