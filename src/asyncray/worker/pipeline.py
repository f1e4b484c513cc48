"""How the tasks of one shape reach leased workers: a state machine without I/O.

A `Pipeline` holds the tasks that need the same resources, and the leases obtained for them. Tasks that
take less than a few milliseconds are sent ahead, so that a worker never waits for the next one; tasks of
unknown or longer duration go one at a time, so that none waits behind another while a worker is idle.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from asyncray.config import Config
from asyncray.messages import Address
from asyncray.resources import Resources
from asyncray.worker.location import Place
from asyncray.worker.task import PendingTask, Template

_LEAST_SERVICE_TIME = 50e-6
"""Seconds that even an empty task costs: more sent ahead would not help, only delay a hand-back."""


class Port(Protocol):
    """Where the pipeline gets leases, and gives them back."""

    def request_leases(self, pipeline: Pipeline, count: int) -> None: ...

    def cancel_requests(self, pipeline: Pipeline) -> None: ...

    def return_lease(self, lease: Lease) -> None: ...


class Lease:
    """A worker that this process may use, until it returns it or the worker dies."""

    __slots__ = (
        "address",
        "alone",
        "drain",
        "idle_since",
        "in_flight",
        "instances",
        "lease_id",
        "lost",
        "node",
        "pipeline",
        "seen",
        "told",
        "use",
        "wanted",
    )

    def __init__(
        self,
        lease_id: bytes,
        address: Address,
        instances: dict[str, list[int]],
        node: str,
        pipeline: Pipeline,
        now: float,
        use: tuple[str, bool] = ("", True),
    ) -> None:
        self.lease_id = lease_id
        self.address = address
        self.instances = instances
        self.node = node
        self.pipeline = pipeline
        self.in_flight: dict[bytes, PendingTask] = {}
        self.idle_since: float | None = now
        """None while something is in flight, and until the turn in which that was done has ended."""
        self.alone = False
        """What is in flight must not be joined by others."""
        self.drain = False
        """To be returned once nothing is in flight."""
        self.wanted = False
        """To be returned as soon as there is nothing to do: others wait."""
        self.lost = False
        """The worker's stream has ended: nothing more can be sent, its tasks wait for the cause."""
        self.use = use
        """Name of the task, and whether it is retriable, as the node has been told."""
        self.told: PendingTask | None = None
        """The task of which it was told so."""
        self.seen: PendingTask | None = None
        """The one that ran when this was last looked at."""

    def over(self) -> None:
        """It is returned or lost. Tasks refer to where they were sent: what was told of them must not keep them."""
        self.told = self.seen = None

    def completed(self, task: PendingTask, microseconds: int) -> None:
        self.pipeline.completed(self, task, microseconds)


class Pipeline:
    """Tasks of one shape, and the leases for them."""

    def __init__(
        self,
        demand: Resources,
        send: Callable[[Lease, list[PendingTask]], None],
        port: Port,
        config: Config,
        place: Place | None = None,
    ) -> None:
        """`send`: gets tasks to the worker of a lease."""
        self.demand = demand
        self.place = place
        """The node that is asked for leases, unless it is this process's; it may name another."""
        self.queue: deque[PendingTask] = deque()
        self.leases: dict[bytes, Lease] = {}
        self.requested = 0
        """Lease requests that have not been answered."""
        self._send = send
        self._port = port
        self._config = config

    def add(self, task: PendingTask) -> None:
        """The task's arguments exist: it may run."""
        self.queue.append(task)

    def assign(self, now: float) -> None:
        """Sends what there is room for; asks for more leases, or for fewer. Called once after a batch of changes."""
        queue = self.queue
        while queue:
            lease = self._roomiest(queue[0])
            if lease is None:
                break
            self._send(lease, self._take(lease))
        self._adjust_requests(now)

    def granted(self, lease: Lease, now: float) -> None:
        self.requested -= 1
        self.leases[lease.lease_id] = lease
        self.assign(now)

    def refused(self) -> None:
        """A request ended without a lease."""
        self.requested -= 1

    def completed(self, lease: Lease, task: PendingTask, microseconds: int) -> None:
        """A result has arrived. The caller calls `assign` once for all results of a frame."""
        lease.in_flight.pop(task.id, None)
        lease.alone = lease.alone and bool(lease.in_flight)
        task.template.observe(microseconds)

    def handed_back(self, lease: Lease, task_ids: list[bytes]) -> None:
        """The worker is busy for longer than expected and returns what it has not begun."""
        returned = [task for task in map(lease.in_flight.pop, task_ids, [None] * len(task_ids)) if task is not None]
        self.queue.extendleft(reversed(returned))
        lease.alone = bool(lease.in_flight)  # the result of what held them up may have overtaken this message

    def lost(self, lease: Lease) -> list[PendingTask]:
        """The lease is over because its worker died. Returns the tasks that were with it, oldest first."""
        self.leases.pop(lease.lease_id, None)
        tasks = list(lease.in_flight.values())
        lease.in_flight.clear()
        lease.over()
        return tasks

    def retry(self, tasks: list[PendingTask]) -> None:
        """Puts tasks back in front, in their order."""
        self.queue.extendleft(reversed(tasks))

    def reclaim(self, lease: Lease, drain: bool) -> None:
        """The node asks for the lease back."""
        lease.wanted = True
        lease.drain = lease.drain or drain
        if not lease.in_flight and not lease.lost and (lease.drain or not self.queue):
            self._give_back(lease)

    def expire(self, now: float) -> None:
        """Returns leases that have been idle for too long."""
        for lease in list(self.leases.values()):
            idle = lease.idle_since is not None and now - lease.idle_since > self._config.lease_idle_timeout
            if idle and not lease.in_flight and not lease.lost:
                self._give_back(lease)

    def idle(self) -> bool:
        """Whether nothing at all is left of it."""
        return not self.queue and not self.leases and not self.requested

    def _roomiest(self, task: PendingTask) -> Lease | None:
        best, fewest = None, self._depth(task.template)
        for lease in self.leases.values():
            load = len(lease.in_flight)
            if load < fewest and not (lease.lost or lease.drain or lease.alone or (load and task.alone)):
                best, fewest = lease, load
        return best

    def _take(self, lease: Lease) -> list[PendingTask]:
        """The tasks at the head of the queue that go to this lease now: at least one."""
        queue = self.queue
        in_flight = lease.in_flight
        first = queue.popleft()
        taken = [first]
        in_flight[first.id] = first
        lease.idle_since = None
        depth = self._depth(first.template)
        lease.alone = first.alone or depth == 1
        if lease.alone:
            return taken
        usable = sum(1 for other in self.leases.values() if not (other.lost or other.drain or other.alone))
        room = min(depth - len(in_flight), len(queue) // usable)
        while room > 0 and queue:
            task = queue[0]
            if task.alone or (task.template is not first.template and self._depth(task.template) <= len(in_flight)):
                break
            queue.popleft()
            in_flight[task.id] = task
            taken.append(task)
            room -= 1
        return taken

    def _depth(self, template: Template) -> int:
        average = template.average
        if average is None or average >= self._config.pipeline_time:
            return 1
        ahead = int(self._config.pipeline_time / max(average, _LEAST_SERVICE_TIME))
        return max(1, min(self._config.pipeline_limit, ahead))

    def _adjust_requests(self, now: float) -> None:
        if self.queue:
            wanted = min(len(self.queue), self._config.lease_requests_in_flight)
            if wanted > self.requested:
                count = wanted - self.requested
                self.requested = wanted
                self._port.request_leases(self, count)
        elif self.requested:
            self._port.cancel_requests(self)
        self._look_for_idle(now)

    def _look_for_idle(self, now: float) -> None:
        for lease in list(self.leases.values()):
            if lease.in_flight or lease.lost:
                continue
            if lease.drain or (lease.wanted and not self.queue):
                self._give_back(lease)
            elif lease.idle_since is None:
                lease.idle_since = now

    def _give_back(self, lease: Lease) -> None:
        del self.leases[lease.lease_id]
        lease.over()
        self._port.return_lease(lease)
