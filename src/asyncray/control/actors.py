"""Actors: registers, places and ends them, and tells whoever subscribed. Their calls do not pass here."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, Final

import msgpack

from asyncray.bounded import Remembered
from asyncray.config import Config
from asyncray.control.actor_lifecycle import (
    DEAD,
    PENDING,
    ActorLifecycle,
    Announce,
    Dequeue,
    Effect,
    Enqueue,
    Place,
    Retire,
    Stop,
)
from asyncray.control.actor_scheduler import ActorScheduler
from asyncray.control.actor_subscriptions import ActorSubscriptions
from asyncray.control.actor_table import ActorRecord, ActorTable
from asyncray.control.jobs import Jobs
from asyncray.control.nodes import Nodes
from asyncray.control.placement import Demand
from asyncray.control.processes import Processes, read_address
from asyncray.control.session import Session
from asyncray.errors import ActorDiedError, OutOfMemoryError
from asyncray.ids import ActorId, FunctionId, JobId, NodeId, ProcessId, TaskId
from asyncray.memory_shortage import MemoryShortage
from asyncray.messages import (
    ACTOR_DIED,
    ACTOR_PLACED,
    ACTOR_RELEASED,
    ACTOR_STATE,
    PLACE_ACTOR,
    STOP_ACTOR,
    SUBSCRIBE_ACTOR,
    WARNING,
    Message,
)
from asyncray.proto import ActorSpec
from asyncray.resources import to_units
from asyncray.rpc.service import Manager
from asyncray.serialization import dumps_error

_log = logging.getLogger(__name__)

NO_HANDLES: Final = "its last handle is gone"
EARLY_RELEASES_KEPT: Final = 1000


class Actors(Manager):
    """Feeds what happens into each actor's life cycle, and carries out what that decides."""

    def __init__(
        self, config: Config, nodes: Nodes, processes: Processes, jobs: Jobs, scheduler: ActorScheduler
    ) -> None:
        self.table = ActorTable()
        self._arguments_limit = config.frame_limit // 2
        self._nodes = nodes
        self._processes = processes
        self._jobs = jobs
        self._scheduler = scheduler
        self._subscriptions = ActorSubscriptions()
        self._released_early: Remembered[bytes, bytes] = Remembered(EARLY_RELEASES_KEPT)
        """The owners of actors that were released before they were registered."""
        scheduler.place = self._place
        scheduler.warn = self._warn
        nodes.handlers[ACTOR_PLACED] = self._answered
        nodes.handlers[ACTOR_DIED] = self._reported_dead
        processes.handlers[SUBSCRIBE_ACTOR] = self._subscribe
        processes.handlers[ACTOR_RELEASED] = self._released
        nodes.watchers.append(self)
        processes.watchers.append(self)
        jobs.watchers.append(self)

    # ---- what clients ask for

    def create(self, spec: ActorSpec) -> ActorRecord:
        """The actor of that id, registered now or before; or else the one that has the name already.

        Raises ValueError for a specification that cannot be.
        """
        known = self.table.get(spec.actor_id)
        if known is None and spec.name:
            known = self.table.named(spec.namespace, spec.name)
        if known is not None:
            if known.actor_id != spec.actor_id:
                self._never_born(spec.actor_id, f"the name {known.name!r} was taken")
            return known
        if self.table.has_died(spec.actor_id):
            raise ValueError("it was killed before that")
        try:
            record = self._read(spec)
        except ValueError as error:
            self._never_born(spec.actor_id, str(error))
            raise
        self.table.add(record)
        self._apply(record, record.life.start())
        if self._released_early.pop(record.actor_id, None) == record.owner:
            self._apply(record, record.life.end(NO_HANDLES, graceful=True))
        return record

    def kill(self, actor_id: bytes, *, graceful: bool, cause: str) -> None:
        """Of an actor that is not known yet, too: then it never will be."""
        record = self.table.living(actor_id)
        if record is not None:
            self._apply(record, record.life.end(cause or "it was killed", graceful=graceful))
        elif not self.table.has_died(actor_id):
            self._never_born(actor_id, cause or "it was killed")

    # ---- what happens to nodes, processes and jobs

    def view_changed(self) -> None:
        pass

    def node_lost(self, node_id: NodeId, cause: str) -> None:
        for record in self.table.on_node(node_id):
            self._apply(record, record.life.node_lost(node_id, f"its node died: {cause}"))

    def session_closed(self, session: Session) -> None:
        self._subscriptions.drop_session(session)

    def process_died(self, process_id: ProcessId, cause: str) -> None:
        hosted = self.table.hosted_by(process_id)
        if hosted is not None:
            assert hosted.node_id is not None
            self._apply(hosted, hosted.life.worker_died(NodeId(hosted.node_id), cause))
        owned = [record for record in self.table.owned_by(process_id) if not record.detached]
        self._end_all(owned, f"its owner died: {cause}")

    def job_ended(self, job_id: JobId) -> None:
        self._end_all([record for record in self.table.of_job(job_id) if not record.outlives_job], "its job has ended")

    # ---- messages of nodes

    def _answered(self, session: Session, message: list[Any]) -> None:
        """ACTOR_PLACED: an address when it lives, an error when its constructor raised, neither when refused."""
        _, actor_id, address, pid, error = message
        assert session.peer is not None
        node_id = NodeId(session.peer)
        record = self.table.living(actor_id)
        if record is None or record.node_id != node_id:
            return
        if error is not None:
            self._apply(record, record.life.failed(node_id, error, "its constructor raised an exception"))
        elif address is None:
            self._nodes.table.unreserve(node_id, record.actor_id)
            self._apply(record, record.life.refused(node_id))
            self._scheduler.retry_soon()
        else:
            process_id, _ = read_address(address)
            self._nodes.table.arrived(node_id, record.actor_id)
            self._processes.learn(process_id, node_id, "worker")
            self.table.locate(record, node_id, process_id)
            self._apply(record, record.life.placed(node_id, address, pid))

    def _reported_dead(self, session: Session, message: list[Any]) -> None:
        _, actor_id, cause, shortage = message
        assert session.peer is not None
        node_id = NodeId(session.peer)
        record = self.table.living(actor_id)
        if record is None or record.node_id != node_id:
            return
        process_id = record.process_id
        error = None
        if shortage is not None:
            reason = OutOfMemoryError.of(cause, MemoryShortage.from_wire(shortage))
            error = dumps_error(ActorDiedError(f"the actor {record} died: {cause}", reason))
        self._apply(record, record.life.worker_died(node_id, cause, error))
        if process_id is not None:
            # A worker that has hosted an actor ends with it; what it owned must not wait for a second report.
            self._processes.died(process_id, cause, reporter=node_id)

    # ---- messages of processes

    def _subscribe(self, session: Session, message: list[Any]) -> None:
        """Answers for an actor that is not known yet, too: its handle can travel faster than its registration."""
        actor_id: bytes = message[1]
        record = self.table.get(actor_id)
        if record is not None:
            session.send(_state(record))
        elif self.table.has_died(actor_id):
            error = ActorDiedError(f"the actor {actor_id.hex()[:12]} died so long ago that the cause is forgotten")
            session.send((ACTOR_STATE, actor_id, DEAD, None, dumps_error(error)))
        else:
            session.send((ACTOR_STATE, actor_id, PENDING, None, None))
        if not self.table.has_died(actor_id):
            self._subscriptions.add(actor_id, session)

    def _released(self, session: Session, message: list[Any]) -> None:
        """Its owner counts the handles: nobody else can know which one was the last."""
        actor_id: bytes = message[1]
        record = self.table.living(actor_id)
        if record is None and not self.table.has_died(actor_id) and session.peer is not None:
            # Its registration is on its way: a call of its own, which this message has overtaken.
            self._released_early[actor_id] = session.peer
        if record is None or record.detached:
            return
        if record.owner != session.peer:
            _log.warning("process %s released the actor %s, which it does not own", session.peer, record)
            return
        self._apply(record, record.life.end(NO_HANDLES, graceful=True))

    # ---- effects

    def _apply(self, record: ActorRecord, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Enqueue():
                    self.table.locate(record, None)
                    self._scheduler.add(record.actor_id, record.demand)
                case Dequeue():
                    self._scheduler.discard(record.actor_id)
                case Place(node_id):
                    self.table.locate(record, node_id)
                    self._nodes.send(node_id, _placement(record))
                case Stop(node_id, graceful):
                    self._nodes.send(node_id, (STOP_ACTOR, record.actor_id, graceful))
                case Retire():
                    self.table.release_name(record)
                case Announce(state):
                    self._announce(record, state)

    def _announce(self, record: ActorRecord, state: str) -> None:
        reason = f": {record.life.cause}" if state == DEAD else ""
        _log.info("actor %s is %s%s", record, state, reason, extra={"actor_id": str(record.actor_id), "state": state})
        if record.actor_id in self._subscriptions:
            self._subscriptions.publish(record.actor_id, _state(record))
        if state == DEAD:
            self._subscriptions.drop_actor(record.actor_id)
            if record.node_id is not None:
                self._nodes.table.unreserve(record.node_id, record.actor_id)
            self.table.bury(record)

    def _never_born(self, actor_id: bytes, cause: str) -> None:
        """There will be no such actor: whoever has a handle of it learns that now, or when they ask."""
        error = dumps_error(ActorDiedError(f"the actor {actor_id.hex()[:12]} was never created: {cause}"))
        self._subscriptions.publish(actor_id, (ACTOR_STATE, actor_id, DEAD, None, error))
        self._subscriptions.drop_actor(actor_id)
        self.table.rule_out(actor_id)

    def _place(self, actor_id: ActorId, node_id: NodeId) -> None:
        record = self.table.living(actor_id)
        assert record is not None, "the dead leave the queue"
        self._apply(record, record.life.place_on(node_id))

    def _warn(self, actor_ids: list[ActorId], shortage: str) -> None:
        """Tells each owner of one of its actors; or the driver of the job, if the owner does not listen."""
        told: set[bytes] = set()
        for record in map(self.table.living, actor_ids):
            if record is None or record.owner in told:
                continue
            told.add(record.owner)
            waiting = sum(1 for other in self.table.owned_by(record.owner) if other.demand == record.demand)
            others = f" and {waiting - 1} more like it" if waiting > 1 else ""
            text = f"The actor {record}{others} cannot be placed: {shortage}. It waits until such a node joins."
            _log.warning(text)
            job = self._jobs.get(record.job_id)
            if not self._processes.send(record.owner, (WARNING, text)) and job is not None:
                self._processes.send(job.driver, (WARNING, text))

    def _end_all(self, records: Iterable[ActorRecord], cause: str) -> None:
        for record in records:
            self._apply(record, record.life.end(cause, graceful=False))

    def _read(self, spec: ActorSpec) -> ActorRecord:
        """A new record; ValueError if something about it is wrong."""
        actor_id, owner = ActorId(spec.actor_id), ProcessId(spec.owner)
        creator = self.table.hosted_by(owner)
        outlives_job = spec.detached or (creator is not None and creator.outlives_job)
        job = self._jobs.get(spec.job_id)
        cause = self._processes.death_cause(owner)
        if cause is not None:
            raise ValueError(f"its owner is dead: {cause}")
        if job is None and creator is None:
            raise ValueError(f"there is no job {spec.job_id.hex()}")
        if job is not None and not job.alive and not outlives_job:
            raise ValueError(f"job {job.job_id} has ended")
        if len(spec.arguments) > self._arguments_limit:
            size, limit = len(spec.arguments), self._arguments_limit
            raise ValueError(f"its arguments take {size} bytes, and {limit} is the most: put() large values first")
        payload, references = _read_arguments(spec.arguments)
        class_id, task_id = FunctionId(spec.class_id), TaskId(spec.creation_task_id)
        # fmt: off
        creation = [
            actor_id, class_id, spec.class_name, task_id, payload, references, spec.max_concurrency, owner,
        ]
        # fmt: on
        return ActorRecord(
            actor_id=actor_id,
            job_id=JobId(spec.job_id),
            owner=owner,
            class_id=class_id,
            class_name=spec.class_name,
            name=spec.name,
            namespace=spec.namespace,
            detached=spec.detached,
            outlives_job=outlives_job,
            demand=Demand(to_units(spec.placement), to_units(spec.resources)),
            job=job.info if job is not None else creator.job if creator is not None else {},
            creation=creation,
            life=ActorLifecycle(),
        )


def _read_arguments(arguments: bytes) -> tuple[bytes, list[Any] | None]:
    """msgpack of [payload, references], as in a TASK message."""
    try:
        payload, references = msgpack.unpackb(arguments)
    except (ValueError, TypeError):
        payload, references = None, None
    if not isinstance(payload, bytes) or not isinstance(references, list | None):
        raise ValueError("arguments must be [payload, references]")
    return payload, references


def _placement(record: ActorRecord) -> Message:
    demand = record.demand
    return (
        PLACE_ACTOR,
        record.actor_id,
        record.job_id,
        record.job,
        demand.resources,
        demand.placement,
        record.creation,
    )


def _state(record: ActorRecord) -> Message:
    life = record.life
    if life.state != DEAD:
        return (ACTOR_STATE, record.actor_id, life.state, life.address, None)
    error = life.error or dumps_error(ActorDiedError(f"the actor {record} died: {life.cause}"))
    return (ACTOR_STATE, record.actor_id, DEAD, None, error)
