"""Calls that this process makes: their ids, their packed arguments, the references of their results. Any thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asyncray.errors import AsyncrayError
from asyncray.ids import derive_task_id, return_id
from asyncray.worker.arguments import pack
from asyncray.worker.context import current_task
from asyncray.worker.object_ref import ObjectRef
from asyncray.worker.task import PendingTask, Template

if TYPE_CHECKING:
    from asyncray.proto import ActorSpec
    from asyncray.worker.runtime import Runtime


class Outgoing:
    """From `.remote(...)` to the submitter, which belongs to the loop."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def task(self, template: Template, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Submits a call of a function; returns its ObjectRef, or a list of them."""
        task, outcome = self._new_task(template, args, kwargs)
        self._runtime.call_now(self._runtime.submitter.submit, task)
        return outcome

    def method(self, lifetime: ObjectRef, template: Template, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Submits a call to an actor, whose handles share `lifetime`; returns its ObjectRef, or a list of them."""
        task, outcome = self._new_task(template, args, kwargs)
        # The reference itself, not its record: the handle may be dropped before the loop has counted the call.
        caller = (current_task.get() or self._runtime.root).caller
        self._runtime.call_now(self._submit_method, lifetime, caller, task)
        return outcome

    def actor(
        self, specification: ActorSpec, template: Template, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> ObjectRef:
        """Creates an actor. Fills in the ids of the specification; returns the lifetime reference."""
        creation, lifetime = self._new_task(template, args, kwargs)
        specification.actor_id = specification.creation_task_id = creation.id
        assert isinstance(lifetime, ObjectRef)
        self._runtime.call_now(self._create_actor, lifetime, specification, creation)
        return lifetime

    def _create_actor(self, lifetime: ObjectRef, specification: ActorSpec, creation: PendingTask) -> None:
        """Takes the lifetime reference so that it lives until there is a lane, which `ActorClient.forget` ends."""
        self._runtime.actors.create(specification, creation)

    def _submit_method(self, lifetime: ObjectRef, caller: bytes, task: PendingTask) -> None:
        actors = self._runtime.actors
        actors.submit(actors.lane(task.template.function_id, lifetime._reference), caller, task)

    def _new_task(self, template: Template, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[PendingTask, Any]:
        runtime = self._runtime
        if runtime.stopping:
            raise AsyncrayError("asyncray has been shut down: call asyncray.init() again")
        context = current_task.get() or runtime.root
        task_id = derive_task_id(context.task_id, context.next_submission())
        packed = pack(runtime, args, kwargs)
        own = runtime.ownership.own
        outcome: Any
        if template.num_returns == 1:
            reference = own(return_id(task_id, 0))
            task = PendingTask(task_id, template, packed.payload, reference)
            if not reference.state:
                reference.value = task  # until it has one: finds the task when the reference is cancelled
            outcome = ObjectRef(reference, runtime)
        else:
            references = [own(return_id(task_id, index)) for index in range(template.num_returns)]
            task = PendingTask(task_id, template, packed.payload, references)
            outcome = [ObjectRef(reference, runtime) for reference in references]
        task.references, task.held = packed.entries, packed.held
        return task, outcome
