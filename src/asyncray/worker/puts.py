"""Values that this process puts: small ones stay in it, large ones go to the node's store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from asyncray import serialization
from asyncray.ids import put_id, store_key
from asyncray.messages import INLINE, STORED
from asyncray.serialization import Serialized
from asyncray.worker.context import current_task
from asyncray.worker.location import Location
from asyncray.worker.object_ref import ObjectRef
from asyncray.worker.reference import Reference

if TYPE_CHECKING:
    from asyncray.worker.runtime import Runtime


_HAVE_A_VALUE: Final = (INLINE, STORED)
"""Objects that a task has put before, and puts once more when it runs again in the same process. Others may read them,
so they stay as they are."""


class Puts:
    """`begin` in any thread, `finish` on the loop."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def put(self, value: Any) -> ObjectRef:
        """Stores a value. Until this returns, a large one must not change."""
        ref, serialized = self.begin(value)
        if serialized is not None:
            await self.finish(ref, serialized)
        return ref

    def begin(self, value: Any) -> tuple[ObjectRef, Serialized | None]:
        """The reference; and what `finish` has yet to store, unless the value is small and in place. Any thread."""
        runtime = self._runtime
        if type(value) in serialization.ATOMIC:
            data = serialization.dumps(value)
            if len(data) <= runtime.config.inline_limit:
                reference = self._new_reference()
                if reference.state not in _HAVE_A_VALUE:
                    reference.value = data
                    reference.state = INLINE
                return ObjectRef(reference, runtime), None
        serialized = serialization.serialize(value)
        for inner in serialized.references:
            inner.check(runtime)
        reference = self._new_reference()
        ref = ObjectRef(reference, runtime)
        if reference.state in _HAVE_A_VALUE:
            return ref, None
        if serialized.references:
            with runtime.ownership_lock:
                runtime.ownership.put_contains(reference, [inner._reference for inner in serialized.references])
        if serialized.size > runtime.config.inline_limit:
            return ref, serialized
        reference.value = serialized.to_bytes()
        reference.state = INLINE
        return ref, None

    async def finish(self, ref: ObjectRef, serialized: Serialized) -> None:
        """Raises ObjectStoreFullError, OutOfDiskError."""
        context = current_task.get() or self._runtime.root
        location = await self._store(ref._reference, serialized, f"put by {context.name}")
        self._stored(ref._reference, location)

    def arguments(self, payload: bytes) -> ObjectRef:
        """Stores packed arguments in the background. Any thread."""
        ref = ObjectRef(self._new_reference(), self._runtime)
        self._runtime.call_soon(self._store_soon, ref, Serialized.of_bytes(payload))
        return ref

    def _new_reference(self) -> Reference:
        context = current_task.get() or self._runtime.root
        return self._runtime.ownership.own(put_id(context.task_id, context.next_put()))

    def _store_soon(self, ref: ObjectRef, serialized: Serialized) -> None:
        self._runtime.spawn(self._store_or_fail(ref, serialized), name="store arguments")

    async def _store_or_fail(self, ref: ObjectRef, serialized: Serialized) -> None:
        try:
            location = await self._store(ref._reference, serialized, "the arguments of a call")
        except Exception as error:  # whatever it is: a task waits for the reference
            self._runtime.objects.fail(ref._reference, error)
        else:
            self._stored(ref._reference, location)

    def _stored(self, reference: Reference, location: Location) -> None:
        known = reference.value
        if reference.state == STORED and type(known) is Location and known.node_id == location.node_id:
            known.size = location.size  # it was stored before: the new copy has taken the old one's place
        else:
            self._runtime.objects.resolve_stored(reference, location)

    async def _store(self, reference: Reference, serialized: Serialized, origin: str) -> Location:
        runtime = self._runtime
        await runtime.store.put(store_key(reference.id, runtime.process_id), serialized)
        node = runtime.nodes.own
        assert node is not None
        return Location(node.node_id, node.address, serialized.size, runtime.process_id, origin=origin)
