"""Drivers and workers of a `LeaseWorld`: real pipelines, and what surrounds them in a runtime as a model of it."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from asyncray import messages
from asyncray.resources import Resources
from asyncray.worker.pipeline import Lease, Pipeline
from asyncray.worker.task import PendingTask, Template

from .lease_network import NodeStream, OneWay

if TYPE_CHECKING:
    from .lease_world import LeaseWorld

CAUSE_WAIT = 2.0
"""As in the submitter: how long a lost link waits for the node's word."""
SWEEP = 0.1

OK, CRASHED = "ok", "crashed"


@dataclass(eq=False)
class Work:
    """What a task does: runs for `before`, submits `children` and waits for them, runs for `after`."""

    kind: str
    demand: Resources
    before: float = 0.0
    children: list[Work] = field(default_factory=list)
    after: float = 0.0
    crashes: int = 0
    """How often its worker dies from it, at first."""
    retries: int = 3
    runs: int = 0


class Process:
    """What every process has: tasks of its own, pipelines, links."""

    role = "driver"

    def __init__(self, world: LeaseWorld, process_id: bytes, job_id: bytes | None) -> None:
        self.world = world
        self.process_id = process_id
        self.job_id = job_id
        self.address = [process_id, world.node_id, "/process.sock", "127.0.0.1:1"]
        self.alive = True
        self.pipelines: dict[tuple[tuple[str, int], ...], Pipeline] = {}
        self.requests: dict[int, Pipeline] = {}
        self.leases: dict[bytes, Lease] = {}
        self.waiting: dict[bytes, Work] = {}
        """Own tasks without an outcome."""
        self.on_outcome: dict[bytes, Any] = {}
        self._templates: dict[str, Template] = {}
        self._request_number = 0
        self._links: dict[bytes, OneWay] = {}
        self._dirty: set[Pipeline] = set()
        self._loop = asyncio.get_running_loop()
        self.node = NodeStream(world.accept, world, self._from_node)
        self.node.up.send((messages.HELLO, self.address, self.role))
        self.node.up.send((messages.REGISTER, 1, job_id, {}))

    def die(self) -> None:
        if self.alive:
            self.alive = False
            self.world.deaths += 1
            self.world.abandoned.update(self.waiting)
            self.node.process_died()
            self.world.process_died(self)

    # ---- own tasks

    def submit(self, work: Work, then: Any = None) -> PendingTask:
        template = self._templates.get(work.kind)
        if template is None:
            template = Template(len(self._templates), b"", work.kind, 1, demand=work.demand, max_retries=work.retries)
            self._templates[work.kind] = template
        task = PendingTask(self.world.new_task_id(work), template, b"", [])
        self.waiting[task.id] = work
        if then is not None:
            self.on_outcome[task.id] = then
        pipeline = self.pipelines.get(template.key)
        if pipeline is None:
            if not self.pipelines:
                self._loop.call_later(SWEEP, self._sweep)
            pipeline = self.pipelines[template.key] = Pipeline(
                template.demand, self.send_tasks, self, self.world.config
            )
        pipeline.add(task)
        self._touch(pipeline)
        return task

    def cancel(self) -> None:
        """Withdraws the newest task that has not been sent."""
        for pipeline in self.pipelines.values():
            if pipeline.queue:
                task = pipeline.queue.pop()
                self._outcome(task.id, "cancelled")
                self._touch(pipeline)
                return

    def _outcome(self, task_id: bytes, outcome: str) -> None:
        del self.waiting[task_id]
        self.world.finished(task_id, outcome)
        then = self.on_outcome.pop(task_id, None)
        if then is not None:
            then()

    def _touch(self, pipeline: Pipeline) -> None:
        if not self._dirty:
            self._loop.call_soon(self._turn)
        self._dirty.add(pipeline)

    def _turn(self) -> None:
        dirty, self._dirty = self._dirty, set()
        if self.alive:
            for pipeline in dirty:
                pipeline.assign(self._loop.time())

    def _sweep(self) -> None:
        if not self.alive:
            return
        for key, pipeline in list(self.pipelines.items()):
            pipeline.expire(self._loop.time())
            if pipeline.idle():
                del self.pipelines[key]
        if self.pipelines:
            self._loop.call_later(SWEEP, self._sweep)

    # ---- what pipelines ask for

    def send_tasks(self, lease: Lease, tasks: list[PendingTask]) -> None:
        link = self._link(lease.address[0])
        for task in tasks:
            task.lane = lease
            link.send((messages.TASK, task.id, task.template.number, b"", None))

    def request_leases(self, pipeline: Pipeline, count: int) -> None:
        for _ in range(count):
            self._request_number += 1
            self.requests[self._request_number] = pipeline
            self.node.up.send(
                (messages.LEASE_REQUEST, self._request_number, pipeline.demand, self.job_id, False, "f", True)
            )

    def cancel_requests(self, pipeline: Pipeline) -> None:
        for number, requester in list(self.requests.items()):
            if requester is pipeline:
                del self.requests[number]
                pipeline.refused()
                self.node.up.send((messages.LEASE_CANCEL, number))

    def return_lease(self, lease: Lease) -> None:
        assert not lease.in_flight
        del self.leases[lease.lease_id]
        self.node.up.send((messages.LEASE_RETURN, lease.lease_id))

    # ---- what arrives

    def _link(self, process_id: bytes) -> OneWay:
        link = self._links.get(process_id)
        if link is None:
            other = self.world.processes[process_id]
            link = self._links[process_id] = OneWay(
                self.world, lambda message: self.alive and other.alive and other.from_peer(self, message)
            )
            if not other.alive:
                self._loop.call_soon(self.peer_died, other)
        return link

    def _from_node(self, message: list[Any]) -> None:
        if not self.alive:
            return
        kind, *fields = message
        now = self._loop.time()
        if kind == messages.LEASE_GRANTED:
            number, lease_id, address, instances = fields
            pipeline = self.requests.pop(number, None)
            if pipeline is None:
                self.node.up.send((messages.LEASE_RETURN, lease_id))
                return
            lease = self.leases[lease_id] = Lease(lease_id, address, instances, "node", pipeline, now)
            self._link(address[0]).send((messages.LEASED, self.job_id, {}, instances))
            pipeline.granted(lease, now)
        elif kind == messages.LEASE_RECLAIM:
            reclaimed = self.leases.get(fields[0])
            if reclaimed is not None:
                reclaimed.pipeline.reclaim(reclaimed, fields[1])
        elif kind == messages.LEASE_LOST:
            lost = self.leases.get(fields[0])
            if lost is not None:
                self._lose(lost)
        else:
            self.from_node(kind, fields)

    def from_node(self, kind: int, fields: list[Any]) -> None:
        assert kind == messages.WELCOME, kind

    def from_peer(self, sender: Process, message: list[Any]) -> None:
        kind = message[0]
        lease = next((lease for lease in self.leases.values() if lease.address[0] == sender.process_id), None)
        if kind == messages.RESULT:
            _, task_id, _, _, microseconds = message
            if lease is None or task_id not in lease.in_flight:
                return
            lease.completed(lease.in_flight[task_id], microseconds)
            self._touch(lease.pipeline)
            self._outcome(task_id, OK)
        elif kind == messages.HANDBACK and lease is not None:
            lease.pipeline.handed_back(lease, message[1])
            self._touch(lease.pipeline)

    def peer_died(self, other: Process) -> None:
        """The link has ended."""
        for lease in list(self.leases.values()):
            if lease.address[0] == other.process_id and not lease.lost:
                lease.lost = True
                self._loop.call_later(CAUSE_WAIT, self._lose, lease)

    def _lose(self, lease: Lease) -> None:
        if not self.alive or self.leases.get(lease.lease_id) is not lease:
            return
        lease.lost = True
        del self.leases[lease.lease_id]
        tasks = lease.pipeline.lost(lease)
        retried = []
        for task in tasks:
            if len(tasks) == 1:
                if task.retries == 0:
                    self._outcome(task.id, CRASHED)
                    continue
                task.retries -= 1
            task.alone = True
            retried.append(task)
        lease.pipeline.retry(retried)
        self._touch(lease.pipeline)


class Worker(Process):
    """Runs what it gets, one after the other: the executor's main thread and its loop, a little apart."""

    role = "worker"

    def __init__(self, world: LeaseWorld, process_id: bytes) -> None:
        self._queue: deque[tuple[Process, bytes]] = deque()
        self._running: bytes | None = None
        self._outbox: deque[tuple[Process, bytes, int]] = deque()
        self._outstanding = 0
        self._watching = False
        self._begun = 0.0
        super().__init__(world, process_id, None)

    def from_node(self, kind: int, fields: list[Any]) -> None:
        if kind == messages.EXIT:
            assert not self._outstanding, "asked to exit while it works"
            self.die()
        else:
            assert kind == messages.WELCOME, kind

    def from_peer(self, sender: Process, message: list[Any]) -> None:
        if message[0] == messages.LEASED:
            assert self.job_id in (None, message[1]), "a worker belongs to one job for ever"
            self.job_id = message[1]
            return
        if message[0] != messages.TASK:
            super().from_peer(sender, message)
            return
        assert self.job_id == sender.job_id, "a task of another job"
        others = {owner for owner, _ in self._queue if owner is not sender and owner.alive}
        assert not others, "two holders use one worker"
        self._queue.append((sender, message[1]))
        self._outstanding += 1
        if self._outstanding > 1 and not self._watching:
            self._watch()
        self._run_next()

    def _watch(self) -> None:
        self._watching = True
        self._loop.call_later(self.world.config.handback_after, self._look, self._running)

    def _look(self, seen: bytes | None) -> None:
        self._watching = False
        if self.alive and self._outstanding > 1:
            if self._running == seen:
                self._hand_back()
            else:
                self._watch()

    def _hand_back(self) -> None:
        returned: dict[Process, list[bytes]] = {}
        while self._queue:
            owner, task_id = self._queue.popleft()
            self._outstanding -= 1
            returned.setdefault(owner, []).append(task_id)
        for owner, task_ids in returned.items():
            self._link(owner.process_id).send((messages.HANDBACK, task_ids))

    def _run_next(self) -> None:
        if self._running is not None or not self._queue or not self.alive:
            return
        owner, task_id = self._queue.popleft()
        self._running = task_id
        self._begun = self._loop.time()
        work = self.world.work[task_id]
        work.runs += 1
        self._loop.call_later(work.before, self._halfway, owner, task_id, work)

    def _halfway(self, owner: Process, task_id: bytes, work: Work) -> None:
        if not self.alive:
            return
        if work.runs <= work.crashes:
            self.die()
            return
        left = len(work.children)
        if not left:
            self._loop.call_later(work.after, self._done, owner, task_id)
            return

        def one() -> None:
            nonlocal left
            left -= 1
            if not left:
                self._loop.call_soon(self.node.up.send, (messages.UNBLOCKED,))
                self._loop.call_later(work.after, self._done, owner, task_id)

        for child in work.children:
            self.submit(child, one)
        self._loop.call_soon(self._block)

    def _block(self) -> None:
        self._hand_back()
        self.node.up.send((messages.BLOCKED,))

    def _done(self, owner: Process, task_id: bytes) -> None:
        if not self.alive:
            return
        self._outbox.append((owner, task_id, int((self._loop.time() - self._begun) * 1e6)))
        self._loop.call_later(self.world.thread_delay(), self._drain)
        self._running = None
        self._run_next()

    def _drain(self) -> None:
        while self.alive and self._outbox:
            owner, task_id, microseconds = self._outbox.popleft()
            self._outstanding -= 1
            self._link(owner.process_id).send((messages.RESULT, task_id, messages.OK, [], microseconds))
