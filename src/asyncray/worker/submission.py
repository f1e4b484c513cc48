"""Tasks on their way out: dependencies, dispatch, results, retries."""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Any

from asyncray import messages, serialization
from asyncray.errors import AsyncrayError, OutOfMemoryError, WorkerCrashedError
from asyncray.ids import return_id, store_key
from asyncray.memory_shortage import MemoryShortage
from asyncray.messages import ERROR, INLINE, OK, STORED
from asyncray.worker.arguments import Entry
from asyncray.worker.dependencies import Dependencies
from asyncray.worker.leases import Leases
from asyncray.worker.locality import preferred_node
from asyncray.worker.location import Location, Place
from asyncray.worker.objects import PENDING
from asyncray.worker.peers import PeerLink
from asyncray.worker.pipeline import Lease, Pipeline
from asyncray.worker.postponed import Postponed
from asyncray.worker.reference import Reference
from asyncray.worker.task import PendingTask

if TYPE_CHECKING:
    from asyncray.worker.runtime import Runtime

_log = logging.getLogger(__name__)


class Submitter:
    """The tasks of this process, from the call to the result."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._pipelines: dict[tuple[Any, ...], Pipeline] = {}
        """By what their tasks have in common: see `_key`."""
        self._dirty: dict[Pipeline, None] = {}
        self._cancelled: dict[Pipeline, int] = {}
        """How many cancelled tasks may be in the queue."""
        self.in_flight: dict[bytes, PendingTask] = {}
        """Sent tasks and actor calls, by task id."""
        self.leases = Leases(runtime)
        self.postponed = Postponed(runtime.loop, runtime.config, self._enqueue)
        self.dependencies = Dependencies(runtime)
        runtime.peers.handlers |= {messages.RESULT: self.on_result, messages.HANDBACK: self._on_handback}

    # ---------------------------------------------------------------- submitting

    def submit(self, task: PendingTask) -> None:
        """Takes a task over. Loop thread only."""
        template = task.template
        if self._runtime.stopping:
            self.fail(task, AsyncrayError("asyncray has been shut down"))
        elif not template.exported:
            self._await_export(task)
        elif task.references is None:
            self._enqueue(task)
        else:
            self.dependencies.when_ready(task, self._enqueue)

    def _await_export(self, task: PendingTask) -> None:
        template = task.template
        template.waiting.append(task)
        if len(template.waiting) > 1:
            return

        def exported(export: Any) -> None:
            waiting, template.waiting = template.waiting, []
            error = None if export.cancelled() else export.exception()
            template.exported = error is None and not export.cancelled()
            for waiter in waiting:
                if self.withdrawn(waiter):
                    continue
                if template.exported:
                    self.submit(waiter)
                else:
                    self.fail(waiter, error or AsyncrayError("the runtime was shut down"))

        self._runtime.functions.exported(template.function_id).add_done_callback(exported)

    def _enqueue(self, task: PendingTask) -> None:
        template = task.template
        place = None if task.references is None else self._place(task, task.references)
        key = template.key if place is None else self._key(task)
        pipeline = self._pipelines.get(key)
        if pipeline is None:
            pipeline = self._pipelines[key] = Pipeline(
                template.demand, self._send, self.leases, self._runtime.config, place
            )
        pipeline.add(task)
        self.touch(pipeline)

    def _key(self, task: PendingTask) -> tuple[Any, ...]:
        """The demand of the task, and to which node it goes if that is not this process's."""
        return task.template.key if task.node_id is None else (*task.template.key, task.node_id)

    def _place(self, task: PendingTask, entries: list[Entry]) -> Place | None:
        """Another node, whose lease the task should have, for its arguments are there."""
        own = self._runtime.nodes.own
        place = None
        if own is not None:
            place = preferred_node(entries, own.node_id, self._runtime.config.locality_threshold)
        if place is not None and self._runtime.whereabouts.is_dead(place[0]):
            place = None
        task.node_id = None if place is None else place[0]
        return place

    def touch(self, pipeline: Pipeline) -> None:
        """Has `assign` called once, after everything else of this turn."""
        if pipeline not in self._dirty:
            self._dirty[pipeline] = None
            self._runtime.schedule_turn()

    def turn(self) -> None:
        """End of a turn of the loop: tasks go where there is room."""
        if self._dirty:
            dirty, self._dirty = self._dirty, {}
            now = self._runtime.loop.time()
            for pipeline in dirty:
                # A queue is cleared of cancelled tasks when they are half of it: a step each, however many there are.
                if 2 * self._cancelled.get(pipeline, 0) >= len(pipeline.queue) and self._cancelled.pop(pipeline, 0):
                    pipeline.queue = deque(task for task in pipeline.queue if not self.withdrawn(task))
                pipeline.assign(now)

    def joined(self) -> None:
        """The process has a node now: what was submitted before can go."""
        for pipeline in self._pipelines.values():
            self.touch(pipeline)

    def fail_all(self, error: BaseException) -> None:
        """The process could not join a cluster."""
        for pipeline in self._pipelines.values():
            while pipeline.queue:
                self.fail(pipeline.queue.popleft(), error)

    def sweep(self, now: float) -> None:
        """Returns leases that have been idle; says what the others are used for."""
        self.leases.look()
        for key, pipeline in list(self._pipelines.items()):
            pipeline.expire(now)
            if pipeline.idle():
                self._cancelled.pop(pipeline, None)
                del self._pipelines[key]

    def withdraw(self, reference: Reference) -> None:
        """Lets go of the task of a reference that has just been cancelled, unless it has been sent."""
        task = reference.value if reference.state == PENDING else None
        if type(task) is not PendingTask or task.id in self.in_flight:
            return
        if self.postponed.drop(task):
            self.let_go(task)
            return
        pipeline = None if task.template.is_method else self._pipelines.get(self._key(task))
        if pipeline is not None:
            self._drop_from_queue(task, pipeline)
        else:
            self.let_go(task)

    def _drop_from_queue(self, task: PendingTask, pipeline: Pipeline) -> None:
        self.let_go(task)
        self._cancelled[pipeline] = self._cancelled.get(pipeline, 0) + 1
        self.touch(pipeline)

    def withdrawn(self, task: PendingTask) -> bool:
        """Whether its reference has been cancelled: what has not been sent need not run any more."""
        return type(task.returns) is not list and self._runtime.objects.is_cancelled(task.returns)  # type: ignore[arg-type]

    def _send(self, lease: Lease, tasks: list[PendingTask]) -> None:
        if lease.told is None or lease.use[1] is not (tasks[0].retries != 0):
            self.leases.uses.tell(lease, tasks[0])  # a task without retries is always sent alone
        link = self._runtime.peers.link(lease.address)
        in_flight = self.in_flight
        for task in tasks:
            if self._cancelled and self.withdrawn(task):
                del lease.in_flight[task.id]
                lease.alone = bool(lease.in_flight) and lease.alone
                continue
            task.lane = lease
            in_flight[task.id] = task
            template = task.template
            if template.number not in link.templates:
                link.tell(template)
            link.send((messages.TASK, task.id, template.number, task.arguments, task.references))

    # -------------------------------------------------------------------- results

    def on_result(self, link: PeerLink, task_id: bytes, status: int, returns: list[Any], microseconds: int) -> None:
        task = self.in_flight.pop(task_id, None)
        if task is None:
            self._disown(link, task_id, returns)
            return
        lane = task.lane
        assert lane is not None
        lane.completed(task, microseconds)
        if type(lane) is Lease:
            self.touch(lane.pipeline)
        objects = self._runtime.objects
        outcome = task.returns
        if status == OK:
            if type(outcome) is not list and type(returns[0]) is bytes:  # one small value: nearly always
                if outcome.in_use and outcome.state == PENDING:  # type: ignore[union-attr]
                    objects.resolve(outcome, INLINE, returns[0])  # type: ignore[arg-type]
            else:
                self._accept(link, task, returns)
        else:
            for reference in task.return_references():
                if reference.state == PENDING:
                    objects.resolve(reference, ERROR, returns[0])
        if task.held:
            self.let_go(task)

    def _accept(self, link: PeerLink, task: PendingTask, returns: list[Any]) -> None:
        """The general form of results: several, stored ones, ones that contain references."""
        ownership = self._runtime.ownership
        references = task.return_references()
        slots: list[list[Any]] = [[INLINE, slot, None] if type(slot) is bytes else slot for slot in returns]
        if any(contained for _, _, contained in slots):
            pairs = [(reference, slot[2]) for reference, slot in zip(references, slots, strict=True)]
            with self._runtime.ownership_lock:
                ownership.result_contains(task.id, link.address, pairs)
        for reference, (state, value, _) in zip(references, slots, strict=True):
            wanted = reference.in_use and reference.state == PENDING
            if state == STORED and not wanted:
                self._runtime.whereabouts.free_at(value, store_key(reference.id, value[3]))
            elif state == STORED:
                location = Location(*value)
                location.origin = f"returned by {task.template.name}()"
                self._runtime.objects.resolve_stored(reference, location)
            elif wanted:
                self._runtime.objects.resolve(reference, state, value)
        self._runtime.schedule_turn()

    def _disown(self, link: PeerLink, task_id: bytes, returns: list[Any]) -> None:
        """A result that nobody waits for (the task was given up): what it holds is let go."""
        slots = [slot for slot in returns if type(slot) is list]
        for index, slot in enumerate(returns):
            if type(slot) is list and slot[0] == STORED:
                self._runtime.whereabouts.free_at(slot[1], store_key(return_id(task_id, index), slot[1][3]))
        if any(slot[2] for slot in slots):
            with self._runtime.ownership_lock:
                self._runtime.ownership.result_contains(task_id, link.address, [(None, slot[2]) for slot in slots])
            self._runtime.schedule_turn()

    def _on_handback(self, link: PeerLink, task_ids: list[bytes]) -> None:
        lease = self.leases.by_worker.get(link.process_id)
        if lease is not None:
            for task_id in task_ids:
                task = self.in_flight.pop(task_id, None)
                if task is not None and self.withdrawn(task):
                    self._drop_from_queue(task, lease.pipeline)
            lease.pipeline.handed_back(lease, task_ids)
            self.touch(lease.pipeline)

    def fail(self, task: PendingTask, error: BaseException) -> None:
        """The task will never have a result."""
        self.fail_with(task, serialization.dumps_error(error))

    def fail_with(self, task: PendingTask, value: bytes) -> None:
        """The same, with the error as a value."""
        for reference in task.return_references():
            if reference.state == PENDING:
                self._runtime.objects.resolve(reference, ERROR, value)
        self.let_go(task)

    def let_go(self, task: PendingTask) -> None:
        """Lets go of what the task held."""
        held, task.held = task.held, None
        if held:
            runtime = self._runtime
            with runtime.ownership_lock:
                for reference in held:
                    runtime.ownership.release_task(reference)
            runtime.schedule_turn()

    # --------------------------------------------------------------------- losses

    def lost(self, lease: Lease, cause: str, shortage: MemoryShortage | None) -> None:
        """The worker of a lease has ended. Its tasks run again, as far as their retries go.

        A worker runs its tasks in order, but results that it had not sent are lost with it: of several
        tasks it cannot be known which one ran. So none is charged; they are sent again one at a time,
        where the next crash names the culprit. A task without retries is always sent alone.
        If memory ran short, they wait before that.
        """
        pipeline = lease.pipeline
        tasks = pipeline.lost(lease)
        retried = []
        for task in tasks:
            self.in_flight.pop(task.id, None)
            task.lane = None
            if self.withdrawn(task):
                self.let_go(task)
                continue
            if len(tasks) == 1:
                if task.retries == 0:
                    name, tries = task.template.name, task.template.max_retries
                    after = f" after {tries} {'retry' if tries == 1 else 'retries'}" if tries else ""
                    text = f"the worker that ran {name}() ended{after}: {cause}"
                    self.fail(task, OutOfMemoryError.of(text, shortage) if shortage else WorkerCrashedError(text))
                    continue
                task.retries -= 1
            task.alone = True
            if shortage is None:
                retried.append(task)
            else:
                delay = self.postponed.add(task)
                _log.warning("%s() runs again in %g s: its worker was ended, for %s", task.template.name, delay, cause)
        pipeline.retry(retried)
        self.touch(pipeline)
