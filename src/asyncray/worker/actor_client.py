"""Actors as their callers see them: creation, the order of calls, and the news of their fate.

Calls run in the order in which they were submitted by one *caller*: a driver, an actor, or a task. Several tasks of
one process are several callers: one task may leave a call behind that waits for what another one is about to return,
and if that happens to run in the same process and calls the same actor, it must not have to wait for itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgpack

from asyncray import messages, serialization
from asyncray.errors import ActorDiedError, ActorUnavailableError, AsyncrayError
from asyncray.messages import INLINE, Address
from asyncray.worker.peers import PeerLink
from asyncray.worker.reference import Reference
from asyncray.worker.task import PendingTask, Template

if TYPE_CHECKING:
    from asyncray.proto import ActorSpec
    from asyncray.worker.runtime import Runtime

_log = logging.getLogger(__name__)

_FATE_WAIT = 5.0
"""Seconds that the control plane may take to tell an actor's fate after the stream with it has ended."""


class ActorLane:
    """The calls of this process to one actor."""

    __slots__ = (
        "_client",
        "actor_id",
        "announced",
        "creation",
        "ended",
        "error",
        "in_flight",
        "lifetime",
        "link",
        "parted",
        "queues",
        "registration",
        "state",
        "unreachable",
        "unresolved",
    )

    def __init__(self, client: ActorClient, actor_id: bytes, lifetime: Reference) -> None:
        self._client = client
        self.actor_id = actor_id
        self.lifetime = lifetime
        """The reference that all handles share; held while calls are pending."""
        self.state = "PENDING"
        self.creation: PendingTask | None = None
        """The constructor, until it has returned, where this process creates the actor."""
        self.registration: asyncio.Task[None] | None = None
        """What makes the actor known to the control plane, likewise."""
        self.announced = False
        """The control plane knows it, or is about to."""
        self.ended: asyncio.Future[None] | None = None
        """Done when the actor is dead, if somebody waits for that."""
        self.error: bytes | None = None
        self.link: PeerLink | None = None
        self.parted: Address | None = None
        """Where the actor is, if the link with it has ended while there was nothing to do: the next call dials."""
        self.unreachable: asyncio.TimerHandle | None = None
        """When it counts as out of reach, if its link was lost and nobody has told its fate yet."""
        self.queues: dict[bytes, deque[PendingTask]] = {}
        """Calls that have not been sent, of each caller that has any, in the order in which it submitted them."""
        self.in_flight: dict[bytes, PendingTask] = {}
        self.unresolved: set[PendingTask] = set()
        """Queued calls whose arguments do not all exist yet; they hold up those of the same caller behind them."""

    def queued(self) -> Iterator[PendingTask]:
        """Calls that have not been sent."""
        for queue in self.queues.values():
            yield from queue

    def news(self) -> None:
        """What has become of the actor is known."""
        if self.unreachable is not None:
            self.unreachable.cancel()
            self.unreachable = None

    def completed(self, task: PendingTask, microseconds: int) -> None:
        self.in_flight.pop(task.id, None)
        if not self.in_flight and not self.queues:
            self._client.rest(self)


class ActorClient:
    """Every actor that this process has a handle of, or calls in flight to."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.lanes: dict[bytes, ActorLane] = {}
        runtime.control.handlers[messages.ACTOR_STATE] = self._on_state
        runtime.control.on_lost.append(self._control_lost)
        runtime.peers.on_lost.append(self._link_lost)
        runtime.peers.on_parted.append(self._link_parted)
        runtime.peers.needed.append(self._called)

    # ------------------------------------------------------------------- creation

    def create(self, specification: ActorSpec, creation: PendingTask) -> ActorLane:
        """Registers an actor; `creation` is its constructor, which returns the lifetime reference. Loop thread only."""
        lane = self.lane(specification.actor_id, creation.return_references()[0])
        lane.creation = creation
        lane.registration = self._runtime.spawn(
            self._register(lane, specification, creation), name=f"create {specification.class_name}"
        )
        return lane

    def lane(self, actor_id: bytes, lifetime: Reference) -> ActorLane:
        """This process's lane to the actor; follows its state from now on. Loop thread only."""
        lane = self.lanes.get(actor_id)
        if lane is None:
            lane = self.lanes[actor_id] = ActorLane(self, actor_id, lifetime)
            if lifetime.owner is not None:
                self._runtime.control.send(messages.SUBSCRIBE_ACTOR, actor_id)
        elif lane.state == "LOST":
            lane.state, lane.error = "PENDING", None
            self._runtime.control.send(messages.SUBSCRIBE_ACTOR, actor_id)
        return lane

    async def _register(self, lane: ActorLane, specification: ActorSpec, creation: PendingTask) -> None:
        try:
            await self._announce(lane, specification, creation)
            return
        except Exception as error:
            failure = error if isinstance(error, ActorDiedError) else ActorDiedError(str(error), cause=error)
            value, cause = serialization.dumps_error(failure), str(failure)
            del failure  # its traceback refers to this frame
        self._die(lane, value)
        if not lane.announced:
            await self._rule_out(lane.actor_id, cause)

    async def _announce(self, lane: ActorLane, specification: ActorSpec, creation: PendingTask) -> None:
        """Makes the actor known to the control plane, once its arguments exist. Raises what hinders that."""
        ready = self._runtime.loop.create_future()
        await asyncio.shield(self._runtime.functions.exported(specification.class_id))
        self._runtime.submitter.dependencies.when_ready(creation, ready.set_result)
        lane_failed = self._runtime.loop.create_future()
        self._runtime.objects.observe(
            lane.lifetime, lambda _: None if lane_failed.done() else lane_failed.set_result(None)
        )
        await asyncio.wait((ready, lane_failed), return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():  # an argument failed, and the constructor with it
            error = self._runtime.objects.load_exception(lane.lifetime)
            raise error if error is not None else AsyncrayError("the actor was dropped")
        specification.arguments = msgpack.packb([creation.arguments, creation.references])
        lane.announced = True
        await self._runtime.control.introduce()
        self._runtime.control.send(messages.SUBSCRIBE_ACTOR, lane.actor_id)
        stub = await self._runtime.control.stub()
        reply = await stub.create_actor(specification)
        if not reply.created:
            raise ActorDiedError(reply.error)

    # ---------------------------------------------------------------------- calls

    def submit(self, lane: ActorLane, caller: bytes, task: PendingTask) -> None:
        """Sends the call, or queues it behind what must go first. Loop thread only."""
        if self._runtime.stopping:
            self._runtime.submitter.fail(task, AsyncrayError("asyncray has been shut down"))
            return
        if lane.state == "DEAD":
            self._fail(lane, task)
            return
        if not lane.in_flight and not lane.queues:
            with self._runtime.ownership_lock:
                self._runtime.ownership.hold_task(lane.lifetime)
        if lane.parted is not None:
            lane.link, lane.parted = self._runtime.peers.link(lane.parted), None
        queue = lane.queues.get(caller)
        if task.references is None and lane.link is not None and queue is None:
            self._send(lane, lane.link, task)
            return
        if queue is None:
            queue = lane.queues[caller] = deque()
        queue.append(task)
        if task.references is None:
            return
        lane.unresolved.add(task)

        def give_up(_: object) -> None:
            self._drop_failed(lane, caller, task)

        self._runtime.submitter.dependencies.when_ready(task, lambda _: self._resolved(lane, caller, task), give_up)
        if task in lane.unresolved and type(task.returns) is not list:  # it may be cancelled
            self._runtime.objects.observe(task.returns, give_up)  # type: ignore[arg-type]

    def rest(self, lane: ActorLane) -> None:
        """No call is pending: the handles alone keep the actor."""
        with self._runtime.ownership_lock:
            self._runtime.ownership.release_task(lane.lifetime)
        self._runtime.schedule_turn()

    def _resolved(self, lane: ActorLane, caller: bytes, task: PendingTask) -> None:
        lane.unresolved.discard(task)
        self._pump(lane, caller)

    def _drop_failed(self, lane: ActorLane, caller: bytes, task: PendingTask) -> None:
        """An argument failed, or the call was cancelled: it is not sent."""
        if task in lane.unresolved:
            lane.unresolved.discard(task)
            lane.queues[caller].remove(task)
            self._pump(lane, caller)

    def _pump(self, lane: ActorLane, caller: bytes) -> None:
        """Sends what can go now of the caller's calls."""
        queue = lane.queues.get(caller)
        if queue is None:  # they have failed meanwhile
            return
        link = lane.link
        while link is not None and queue and queue[0] not in lane.unresolved:
            task = queue.popleft()
            if self._runtime.submitter.withdrawn(task):
                self._runtime.submitter.let_go(task)
            else:
                self._send(lane, link, task)
        if not queue:
            del lane.queues[caller]
            if not lane.queues and not lane.in_flight:
                self.rest(lane)

    def _send(self, lane: ActorLane, link: PeerLink, task: PendingTask) -> None:
        task.lane = lane
        lane.in_flight[task.id] = task
        self._runtime.submitter.in_flight[task.id] = task
        template = task.template
        if template.number not in link.templates:
            link.tell(template)
        link.send((messages.TASK, task.id, template.number, task.arguments, task.references))

    # ----------------------------------------------------------------------- fate

    def forget(self, lifetime: Reference) -> None:
        """The last reference of this process (owner: of all) to an actor's handle is gone."""
        actor_id = lifetime.id[:16]
        lane = self.lanes.get(actor_id)
        if lane is None or lane.lifetime is not lifetime:  # of an owner that is lost there may be several records
            return
        lane.news()
        del self.lanes[actor_id]
        if lifetime.owner is not None:
            return
        self._created(lane)
        if lane.announced:
            self._runtime.control.send(messages.ACTOR_RELEASED, actor_id)
        elif lane.registration is not None and not lane.registration.done():
            lane.registration.cancel()  # it waits for arguments that nobody needs any more
            self._runtime.spawn(self._rule_out(actor_id, "its last handle was dropped"), name="rule out actor")

    def owner_died(self, lifetime: Reference) -> None:
        """An actor ends with its owner; one that is not there yet never will be, and perhaps nobody has heard of it."""
        lane = self.lanes.get(lifetime.id[:16])
        if lane is not None and lane.lifetime is lifetime and lane.state == "PENDING":
            cause = "its owner died before it was there"
            self._die(lane, serialization.dumps_error(ActorDiedError(f"the actor died: {cause}")))
            self._runtime.spawn(self._rule_out(lane.actor_id, cause), name="rule out actor")

    async def kill(self, actor_id: bytes, cause: str) -> None:
        """Ends the actor at once. Raises ConnectionFailed."""
        lane = self.lanes.get(actor_id)
        if lane is not None and lane.registration is not None and not lane.registration.done():
            if lane.announced:
                await asyncio.wait((lane.registration,))
            else:  # it waits for its arguments
                lane.registration.cancel()
                self._die(lane, serialization.dumps_error(ActorDiedError(f"the actor died: {cause}")))
        await self._end(actor_id, cause)
        if lane is not None and lane.state in ("PENDING", "ALIVE"):
            # Its process ends a little later: until the news is here, the next call could still reach it.
            lane.ended = lane.ended or self._runtime.loop.create_future()
            await asyncio.wait((lane.ended,), timeout=_FATE_WAIT)

    async def _rule_out(self, actor_id: bytes, cause: str) -> None:
        """An actor will never be. Others may have a handle of it, and have asked for news."""
        try:
            await self._end(actor_id, cause)
        except AsyncrayError as error:
            _log.warning("cannot tell the control plane that an actor will never be: %s", error)

    async def _end(self, actor_id: bytes, cause: str) -> None:
        from asyncray.proto import KillActorRequest

        stub = await self._runtime.control.stub()
        await stub.kill_actor(KillActorRequest(actor_id, graceful=False, cause=cause))

    def _on_state(self, actor_id: bytes, state: str, address: Address | None, error: bytes | None) -> None:
        lane = self.lanes.get(actor_id)
        if lane is None:
            return
        if state == "DEAD":
            self._die(lane, error)
        elif state == "PENDING" and lane.lifetime.owner is not None and lane.lifetime.state == messages.ERROR:
            self.owner_died(lane.lifetime)
        elif state == "ALIVE" and address is not None and lane.state != "DEAD":
            lane.news()
            lane.state = state
            link = self._runtime.peers.link(address)
            if lane.link is not link:
                self._strand(lane)
                lane.link, lane.parted = link, None
            self._created(lane)
            if lane.lifetime.owner is None and lane.lifetime.state == 0:
                self._runtime.objects.resolve(lane.lifetime, INLINE, serialization.dumps(None))
            for caller in list(lane.queues):
                self._pump(lane, caller)

    def _die(self, lane: ActorLane, error: bytes | None) -> None:
        if lane.state == "DEAD":
            return
        lane.news()
        lane.state, lane.link, lane.parted = "DEAD", None, None
        if lane.ended is not None:
            lane.ended.set_result(None)
            lane.ended = None
        lane.error = error or serialization.dumps_error(ActorDiedError("the actor has ended"))
        self._created(lane)
        if lane.lifetime.state == 0:
            self._runtime.objects.resolve(lane.lifetime, messages.ERROR, lane.error)
        pending = [*lane.in_flight.values(), *lane.queued()]
        lane.in_flight.clear()
        lane.queues.clear()
        lane.unresolved.clear()
        for task in pending:
            self._fail(lane, task)
        if pending:
            self.rest(lane)

    def _strand(self, lane: ActorLane) -> None:
        """The actor is reached anew: calls that were sent on the stream that was lost have no answer to wait for."""
        stranded, lane.in_flight = lane.in_flight, {}
        error = ActorUnavailableError("the connection with the actor was lost: whether the call has run is not known")
        for task in stranded.values():
            self._runtime.submitter.in_flight.pop(task.id, None)
            self._runtime.submitter.fail(task, error)
        if stranded and not lane.queues:
            self.rest(lane)

    def _created(self, lane: ActorLane) -> None:
        """The constructor has returned, or never will: it needs its arguments no more."""
        creation, lane.creation = lane.creation, None
        if creation is not None:
            self._runtime.submitter.let_go(creation)

    def _fail(self, lane: ActorLane, task: PendingTask) -> None:
        self._runtime.submitter.in_flight.pop(task.id, None)
        assert lane.error is not None
        self._runtime.submitter.fail_with(task, lane.error)

    def _link_lost(self, link: PeerLink, cause: str) -> None:
        for lane in self.lanes.values():
            if lane.link is link:
                lane.news()
                lane.link = None
                wait = _FATE_WAIT if self._runtime.control.connected else 0
                lane.unreachable = self._runtime.loop.call_later(wait, self._unreachable, lane, cause)

    def _called(self) -> set[bytes]:
        """The processes of actors that have calls to answer."""
        lanes = self.lanes.values()
        return {lane.link.process_id for lane in lanes if lane.link is not None and (lane.in_flight or lane.queues)}

    def _link_parted(self, link: PeerLink) -> None:
        for lane in self.lanes.values():
            if lane.link is link:
                lane.link, lane.parted = None, link.address

    def _unreachable(self, lane: ActorLane, cause: str) -> None:
        """The stream has ended, and nobody says that the actor has: its calls cannot be known to have run."""
        if lane.state == "DEAD" or lane.link is not None or lane.parted is not None:
            return
        self._die(lane, serialization.dumps_error(ActorUnavailableError(f"the actor is out of reach: {cause}")))
        lane.state = "LOST"  # the next call asks again

    def _control_lost(self, error: Exception | None) -> None:
        for lane in list(self.lanes.values()):
            if lane.state == "PENDING":
                self._die(lane, serialization.dumps_error(ActorDiedError(f"the control plane is gone: {error}")))
            elif lane.state == "ALIVE" and lane.link is None and lane.parted is None:  # nobody could tell its fate
                self._unreachable(lane, f"the control plane is gone, too: {error}")


def method_template(runtime: Runtime, actor_id: bytes, name: str, num_returns: int) -> Template:
    """The template of the calls of one method of one actor."""
    return runtime.functions.template(actor_id, name, num_returns, is_method=True)
