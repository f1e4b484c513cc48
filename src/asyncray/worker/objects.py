"""Values: where they are, who waits for them, and how they reach this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from asyncray import messages, serialization
from asyncray.errors import AsyncrayError, ObjectFreedError, OwnerDiedError, TaskCancelledError
from asyncray.messages import ERROR, GONE, INLINE, STORED
from asyncray.worker.location import Location
from asyncray.worker.peers import PeerLink
from asyncray.worker.reference import Reference, Waiter
from asyncray.worker.store_client import Pin

if TYPE_CHECKING:
    from asyncray.worker.runtime import Runtime

PENDING: Final = 0
"""`Reference.state` before the value exists (or is known here). The other states are those of messages.py."""

_ASKED: Final = "asked"
"""`Reference.value` of a pending borrowed object whose owner has been asked."""


class Observer:
    """Waits for a value to exist, wherever it is; a plain callable waits for it to be here."""

    __slots__ = ("callback",)

    def __init__(self, callback: Waiter) -> None:
        self.callback = callback


class Countdown:
    """Calls back, once, when `count` of the references have a value. Stop it: values that never come would keep it."""

    __slots__ = ("_callback", "_fetch", "_objects", "_references", "_remaining")

    def __init__(
        self,
        objects: Objects,
        references: Sequence[Reference],
        count: int,
        callback: Callable[[], object],
        *,
        fetch: bool = True,
    ) -> None:
        self._objects = objects
        self._references = references
        self._remaining = count
        self._callback = callback
        self._fetch = fetch

    def start(self) -> None:
        """Loop thread only."""
        wait = self._objects.watch if self._fetch else self._objects.observe
        for reference in self._references:
            wait(reference, self._one)

    def stop(self) -> None:
        """Loop thread only."""
        for reference in self._references:
            self._objects.unwatch(reference, self._one)

    def _one(self, _: Reference) -> None:
        self._remaining -= 1
        if not self._remaining:
            self._callback()


class Objects:
    """The values behind this process's references."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        runtime.peers.handlers |= {messages.GET: self._on_get, messages.VALUE: self._on_value}

    # ------------------------------------------------------------------- reading

    def is_local(self, reference: Reference) -> bool:
        """Whether `load` would return at once; if not, starts the fetch of what exists."""
        state = reference.state
        if state == INLINE:
            return True
        if state == STORED:
            location = reference.value  # read once: the loop may be failing it
            if type(location) is not Location or location.is_settled:
                return True
            self._runtime.call_soon(self._fetch, reference, None)
            return False
        if state == PENDING:
            if reference.owner is not None:
                self._runtime.call_soon(self._ask, reference)
            return False
        return True

    def is_cancelled(self, reference: Reference) -> bool:
        return reference.state == ERROR and reference.value is CANCELLED

    def load(self, reference: Reference) -> Any:
        """A fresh copy of the value; raises what it failed with."""
        state = reference.state
        if state == INLINE:
            if reference.contains is None and reference.owner is None:
                return serialization.deserialize(reference.value)
            return serialization.deserialize(reference.value, restore=self._runtime.restorer(reference))
        if state == STORED:
            location = reference.value
            if type(location) is not Location:
                state = ERROR  # the loop is failing it at this moment
            elif location.pin is not None:
                return self.load_pinned(location.pin, reference)
            elif location.error is None:
                raise asyncio.InvalidStateError("the value is not here yet")
        if state == PENDING:
            raise asyncio.InvalidStateError("the value does not exist yet")
        error = self._exception(state, reference)
        assert error is not None
        try:
            raise error
        finally:
            del error  # its traceback refers to this frame: a cycle would keep what the callers' frames refer to

    def load_pinned(self, pin: Pin, source: Any) -> Any:
        hold = pin.view.acquire()
        return serialization.deserialize(hold.buffer, keepalive=hold, restore=self._runtime.restorer(source))

    def load_exception(self, reference: Reference) -> BaseException | None:
        return self._exception(reference.state, reference)

    def _exception(self, state: int, reference: Reference) -> BaseException | None:
        if state == ERROR:
            if reference.value is CANCELLED:
                return TaskCancelledError("the task was cancelled before it ran")
            return serialization.load_error(reference.value)
        if state == GONE:
            return ObjectFreedError(f"object {reference.id.hex()} was freed before it was read")
        if state == PENDING:
            raise asyncio.InvalidStateError("the value does not exist yet")
        if state == STORED and reference.value.error is not None:
            return serialization.load_error(reference.value.error)
        return None

    def watch(self, reference: Reference, callback: Waiter) -> None:
        """Calls back when the value is here. Loop thread only."""
        state = reference.state
        if state == PENDING:
            self._wait(reference, callback)
        elif state == STORED:
            self._fetch(reference, callback)
        else:
            callback(reference)

    def observe(self, reference: Reference, callback: Waiter) -> None:
        """Calls back when the value exists somewhere. Loop thread only."""
        if reference.state == PENDING:
            self._wait(reference, Observer(callback))
        else:
            callback(reference)

    def unwatch(self, reference: Reference, callback: Waiter) -> None:
        """Takes back one `watch` or `observe` that has not called back yet; does nothing when there is none."""
        waiters = reference.waiters
        if reference.state == STORED:
            waiters = reference.value.waiting
        for waiter in waiters or ():
            if waiter == callback or (type(waiter) is Observer and waiter.callback == callback):
                waiters.remove(waiter)
                return

    async def all_local(self, references: Sequence[Reference]) -> None:
        """Returns when every value is here. Cancelling it disturbs nobody else."""
        missing = [reference for reference in references if not self.is_local(reference)]
        if missing:
            await self.arrival(missing, len(missing), fetch=True)

    async def arrival(self, references: Sequence[Reference], count: int, *, fetch: bool) -> None:
        """Returns when `count` of the references have a value (with `fetch`: here). Any of them may be repeated."""
        arrived = self._runtime.loop.create_future()

        def settle() -> None:
            if not arrived.done():
                arrived.set_result(None)

        countdown = Countdown(self, references, count, settle, fetch=fetch)
        countdown.start()
        try:
            with self._runtime.awaiting():
                await arrived
        finally:
            countdown.stop()

    # ------------------------------------------------------------------ outcomes

    def resolve(self, reference: Reference, state: int, value: Any) -> None:
        """The value exists now (or never will): tells everybody who waits."""
        reference.value = value  # first: other threads look at the state, then read the value
        reference.state = state
        waiters = reference.waiters
        if waiters is None:
            return
        reference.waiters = None
        for waiter in waiters:
            if type(waiter) is Observer:
                waiter.callback(reference)
            elif state == STORED:
                self._fetch(reference, waiter)
            else:
                waiter(reference)

    def resolve_stored(self, reference: Reference, location: Sequence[Any]) -> None:
        self.resolve(reference, STORED, Location(*location))

    def fail(self, reference: Reference, error: BaseException) -> None:
        self.resolve(reference, ERROR, serialization.dumps_error(error))

    def cancel(self, reference: Reference) -> None:
        """The value is not wanted any more, and never comes."""
        if reference.state == PENDING:
            self.resolve(reference, ERROR, CANCELLED)

    def owner_died(self, reference: Reference) -> None:
        if reference.state == PENDING or (reference.state == STORED and not reference.value.is_settled):
            self.fail(
                reference,
                OwnerDiedError(f"the process that owned object {reference.id.hex()} has ended, and the value with it"),
            )

    def forget(self, reference: Reference) -> None:
        """Nobody here needs the value: owned objects are freed in their node's store, pins given back."""
        if reference.state != STORED:
            if reference.value is not CANCELLED:  # which its task has yet to learn
                reference.value = None
            return
        location: Location = reference.value
        if location.pin is not None:
            self._runtime.store.unhold(location.pin)
            location.pin = None
        if reference.owner is None:
            self.free_stored(reference.id, location)
        reference.state, reference.value = GONE, None

    def close(self, reason: AsyncrayError, *, tell: bool) -> None:
        """What is not here by now never comes. Those who wait are told, or forgotten."""
        error = serialization.dumps_error(reason)
        references = self._runtime.ownership.references
        for reference in [*references.values(), *references.shadowed.values()]:
            waiting: list[Waiter] = []
            if reference.state == STORED and not reference.value.is_settled:
                waiting, reference.value.waiting = reference.value.waiting or [], None
            elif reference.state != PENDING:
                continue
            if not tell:
                reference.waiters, waiting = None, []
            self.resolve(reference, ERROR, error)
            for callback in waiting:
                callback(reference)

    def free_stored(self, object_id: bytes, location: Location) -> None:
        nodes = self._runtime.nodes
        assert nodes.own is not None
        link = nodes.own if location.node_id == nodes.own.node_id else nodes.other(location.node_address)
        link.send(messages.FREE, [location.key(object_id)])

    # ----------------------------------------------------------------- internals

    def _wait(self, reference: Reference, waiter: Waiter | Observer) -> None:
        if reference.waiters is None:
            reference.waiters = [waiter]
        else:
            reference.waiters.append(waiter)
        if reference.owner is not None:
            self._ask(reference)

    def _ask(self, reference: Reference) -> None:
        if reference.state != PENDING or reference.value is _ASKED or reference.owner is None:
            return
        reference.value = _ASKED
        self._runtime.peers.link(reference.owner).send((messages.GET, reference.id))

    def _fetch(self, reference: Reference, callback: Waiter | None) -> None:
        location = reference.value
        if reference.state != STORED or location.is_settled:
            if callback is not None:
                callback(reference)
            return
        if location.waiting is not None:
            if callback is not None:
                location.waiting.append(callback)
            return
        location.waiting = [callback] if callback is not None else []
        self._runtime.spawn(self._pin(reference, location), name=f"fetch {reference.id.hex()[:8]}")

    async def _pin(self, reference: Reference, location: Location) -> None:
        try:
            pin = await self.pin_location(reference.id, location, messages.FOR_GET)
        except Exception as error:
            waiting, location.waiting = location.waiting or [], None
            location.error = serialization.dumps_error(error)
        else:
            waiting, location.waiting = location.waiting or [], None
            if reference.value is location and reference.in_use:
                location.pin = pin
            else:
                self._runtime.store.unhold(pin)
        for callback in waiting:
            callback(reference)

    async def pin_location(self, object_id: bytes, location: Location, priority: int) -> Pin:
        """Pins a stored object in this node's store. Raises ObjectLostError."""
        own = self._runtime.nodes.own
        assert own is not None
        if location.node_id != own.node_id:
            raise AsyncrayError(
                f"object {object_id.hex()} is in the store of the node at {location.node_address}: objects above"
                f" {self._runtime.config.inline_limit} bytes can only be read on the node that holds them"
            )
        return await self._runtime.store.pin(location.key(object_id), location.size, location.sources(), priority)

    def _on_get(self, link: PeerLink, object_id: bytes) -> None:
        reference = self._runtime.ownership.owned(object_id)
        if reference is None:
            link.send((messages.VALUE, object_id, GONE, None))
            return
        self.observe(reference, lambda reference: link.send(self._value_message(reference)))

    def _value_message(self, reference: Reference) -> tuple[Any, ...]:
        state, value = reference.state, reference.value
        if state == STORED:
            value = value.pack()
        elif state == ERROR and value is CANCELLED:
            value = serialization.dumps_error(TaskCancelledError("the task was cancelled before it ran"))
        return messages.VALUE, reference.id, state, value

    def _on_value(self, link: PeerLink, object_id: bytes, state: int, value: Any) -> None:
        reference = self._runtime.ownership.references.find(object_id, link.process_id)
        if reference is None or reference.state != PENDING:
            return
        if state == STORED:
            self.resolve_stored(reference, value)
        else:
            self.resolve(reference, state, value)


CANCELLED: Final = b"cancelled"
"""`Reference.value` of a task withdrawn before it ran."""
