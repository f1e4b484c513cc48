"""Values: where they are, who waits for them, and how they reach this process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

from asyncray import messages, serialization
from asyncray.errors import (
    AsyncrayError,
    ObjectFreedError,
    ObjectStoreFullError,
    OutOfDiskError,
    OwnerDiedError,
    TaskCancelledError,
)
from asyncray.messages import ERROR, FOR_GET, FOR_WAIT, GONE, INLINE, STORED
from asyncray.store.views import Retired
from asyncray.worker import reading
from asyncray.worker.location import Fetch, Location
from asyncray.worker.peers import PeerLink
from asyncray.worker.reference import Reference, Waiter
from asyncray.worker.waiting import Countdown, Observer

if TYPE_CHECKING:
    from asyncray.worker.runtime import Runtime

PENDING: Final = 0
"""`Reference.state` before the value exists (or is known here). The other states are those of messages.py."""

_ASKED: Final = "asked"
"""`Reference.value` of a pending borrowed object whose owner has been asked."""

_JUST_READ: Final = 0.05
"""Seconds for which a value stays after it was read: another task may have been woken for it, too."""

_ROOM_MAY_COME: Final = 1.0
"""Seconds for which a value counts as not to be had after there was no room to fetch it."""


class NotHere(asyncio.InvalidStateError):
    """A stored value has not been fetched, or has made room for others since."""


class Objects:
    """The values behind this process's references."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._pinned: dict[Location, None] = {}
        """Those that have been fetched."""
        runtime.peers.handlers |= {messages.GET: self._on_get, messages.VALUE: self._on_value}

    # ------------------------------------------------------------------- reading

    def is_here(self, reference: Reference) -> bool:
        """Whether `load` would return or raise at once."""
        state = reference.state
        if state == STORED:
            location = reference.value  # read once: the loop may be failing it
            return type(location) is not Location or location.is_settled
        return state != PENDING

    def poll(self, reference: Reference) -> bool:
        """The same; if not, has it come here, for somebody who does not wait but looks again. Any thread."""
        if self.is_here(reference):
            return True
        if reference.state != PENDING or reference.owner is not None:  # else it comes by itself: `wait` polls thousands
            self._runtime.call_soon(self._come, reference)
        return False

    def is_cancelled(self, reference: Reference) -> bool:
        return reference.state == ERROR and reference.value is CANCELLED

    def load(self, reference: Reference) -> Any:
        """A fresh copy of the value; raises what it failed with."""
        state = reference.state
        if state == INLINE:
            value = reference.value
            if value is None:
                state = GONE  # the loop is freeing it at this moment
            elif reference.contains is None and reference.owner is None:
                return serialization.deserialize(value)
            else:
                return serialization.deserialize(value, restore=self._runtime.restorer(reference))
        if state == STORED:
            location = reference.value
            if type(location) is not Location:
                state = GONE if location is None else ERROR  # the loop is failing it at this moment
            elif location.error is None:
                return self._load_stored(location, reference)
        if state == PENDING:
            raise asyncio.InvalidStateError("the value does not exist yet")
        error = self._exception(state, reference)
        if error is None:  # the loop has just forgotten why the value could not be fetched
            return self.load(reference)
        try:
            raise error
        finally:
            del error  # its traceback refers to this frame: a cycle would keep what the callers' frames refer to

    def let_go_of_read(self) -> None:
        """The store needs room. What was read, and is not in use, comes again when somebody awaits it again."""
        latest = self._runtime.loop.time() - _JUST_READ
        for location in list(self._pinned):
            read_at, pin = location.read_at, location.pin
            read = read_at is not None and read_at <= latest and not location.told
            if read and pin is not None and not pin.view.in_use:
                self._drop_pin(location)

    def tell(self, reference: Reference, callback: Callable[..., object]) -> None:
        """Somebody learns that the value is here, or why it never will be, and may ask much later without awaiting it.

        So does `asyncio.gather`, which hangs if it gets neither: it asks when it has all its values. As long as its
        callback lives, what it was told holds.
        """
        location = reference.value
        if type(location) is Location and location.is_settled:
            if location.told is None:
                location.told = WeakSet()
            with contextlib.suppress(TypeError):  # there are callables without weak references
                location.told.add(callback)

    def _load_stored(self, location: Location, reference: Reference) -> Any:
        pin = location.pin
        try:
            if pin is None:
                raise Retired
            hold = pin.view.acquire()
        except Retired:  # the loop may be letting go of it at this moment
            raise NotHere("the value is not here, or not any more: await the reference") from None
        location.read_at = self._runtime.loop.time()
        return serialization.deserialize(hold.buffer, keepalive=hold, restore=self._runtime.restorer(reference))

    def load_exception(self, reference: Reference) -> BaseException | None:
        return self._exception(reference.state, reference)

    def _exception(self, state: int, reference: Reference) -> BaseException | None:
        if state == STORED:
            location = reference.value  # read once, and its error: the loop may be changing either
            if type(location) is Location:
                failure = location.error
                return None if failure is None else serialization.load_error(failure)
            state = GONE if location is None else ERROR
        if state == ERROR:
            if reference.value is CANCELLED:
                return TaskCancelledError("the task was cancelled before it ran")
            return serialization.load_error(reference.value)
        if state == GONE:
            return ObjectFreedError(reading.freed(reference.id))
        if state == PENDING:
            raise asyncio.InvalidStateError("the value does not exist yet")
        return None

    def wait(self, reference: Reference, callback: Waiter, priority: int | None) -> None:
        """Calls back when the value is here, fetched with this priority; with None when it exists. Loop thread only."""
        state = reference.state
        if state == PENDING:
            self._wait(reference, callback if priority == FOR_GET else Observer(callback, priority))
        elif state == STORED and priority is not None:
            self._fetch(reference, callback, priority)
        else:
            callback(reference)

    def watch(self, reference: Reference, callback: Waiter) -> None:
        """Calls back when the value is here. Loop thread only."""
        self.wait(reference, callback, FOR_GET)

    def observe(self, reference: Reference, callback: Waiter) -> None:
        """Calls back when the value exists somewhere. Loop thread only."""
        self.wait(reference, callback, None)

    def unwatch(self, reference: Reference, callback: Waiter) -> None:
        """Takes back one `wait` that has not called back yet; does nothing when there is none.

        A fetch that nobody waits for any more is taken back, too.
        """
        waiters = reference.waiters
        fetch = reference.value.fetch if reference.state == STORED else None
        if fetch is not None:
            waiters = fetch.waiting
        for waiter in waiters or ():
            if waiter == callback or (type(waiter) is Observer and waiter.callback == callback):
                waiters.remove(waiter)
                break
        if fetch is not None and not fetch.waiting and not fetch.lasting:
            self._take_back(reference.value)

    async def all_local(self, references: Sequence[Reference]) -> None:
        """Returns when every value is here. Cancelling it disturbs nobody else."""
        missing = [reference for reference in references if not self.is_here(reference)]
        if missing:
            await self.arrival(missing, len(missing), FOR_GET)

    async def arrival(self, references: Sequence[Reference], count: int, priority: int | None) -> None:
        """Returns when `count` of the references have a value here, or anywhere when `priority` is None.

        Any of them may be repeated.
        """
        arrived = self._runtime.loop.create_future()

        def settle() -> None:
            if not arrived.done():
                arrived.set_result(None)

        countdown = Countdown(self, references, count, settle, priority)
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
                self.wait(reference, waiter.callback, waiter.priority)
            elif state == STORED:
                self._fetch(reference, waiter, FOR_GET)
            else:
                waiter(reference)

    def resolve_stored(self, reference: Reference, location: Location) -> None:
        if reference.owner is None:
            self._runtime.whereabouts.stored(reference, location)
        self.resolve(reference, STORED, location)

    def discard(self, reference: Reference) -> None:
        """The value is gone, for everybody. An error stays, and what does not exist yet never will."""
        state, value = reference.state, reference.value
        if state in (ERROR, GONE):
            return
        self.resolve(reference, GONE, None)
        if state == STORED:
            self._let_go(reference, value)
            self._call_waiting(reference, value)

    def lose(self, reference: Reference, location: Location, error: BaseException) -> None:
        """The last copy of a stored object is gone. What a process of this node reads already is no copy for others."""
        self.fail(reference, error)
        self._drop_pin(location)
        self._call_waiting(reference, location)

    def fail(self, reference: Reference, error: BaseException) -> None:
        self.resolve(reference, ERROR, serialization.dumps_error(error))

    def cancel(self, reference: Reference) -> None:
        """The value is not wanted any more, and never comes."""
        if reference.state == PENDING:
            self.resolve(reference, ERROR, CANCELLED)

    def owner_died(self, reference: Reference) -> None:
        if reference.state == PENDING or (reference.state == STORED and not reference.value.is_settled):
            location = reference.value if reference.state == STORED else None
            self.fail(reference, OwnerDiedError(reading.owner_died(reference.id)))
            if location is not None:
                self._call_waiting(reference, location)

    def forget(self, reference: Reference) -> None:
        """Nobody here needs the value: owned objects are freed in their node's store, pins given back."""
        if reference.state != STORED:
            if reference.value is not CANCELLED:  # which its task has yet to learn
                reference.value = None
            return
        location: Location = reference.value
        reference.state, reference.value = GONE, None
        location.told = None  # else its error would be looked at for as long as a callback lives, a function for one
        self._let_go(reference, location)
        self._take_back(location)

    def close(self, reason: AsyncrayError, *, tell: bool) -> None:
        """What is not here by now never comes. Those who wait are told, or forgotten."""
        error = serialization.dumps_error(reason)
        references = self._runtime.ownership.references
        for reference in [*references.values(), *references.shadowed.values()]:
            waiting: list[Waiter] = []
            if reference.state == STORED and not reference.value.is_settled:
                fetch, reference.value.fetch = reference.value.fetch, None
                waiting = fetch.waiting if fetch is not None else []
            elif reference.state != PENDING:
                continue
            if not tell:
                reference.waiters, waiting = None, []
            self.resolve(reference, ERROR, error)
            for callback in waiting:
                callback(reference)

    def outcome(self, reference: Reference) -> tuple[int, Any]:
        """The state and the value, or its location, as they travel."""
        state, value = reference.state, reference.value
        if state == STORED:
            value = value.pack()
        elif state == ERROR and value is CANCELLED:
            value = serialization.dumps_error(TaskCancelledError("the task was cancelled before it ran"))
        return state, value

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

    def _come(self, reference: Reference) -> None:
        if reference.state == STORED:
            self._fetch(reference, None, FOR_WAIT)
        elif reference.state == PENDING:
            self._ask(reference)

    def _fetch(self, reference: Reference, callback: Waiter | None, priority: int) -> None:
        location: Location = reference.value
        if reference.state != STORED or location.is_settled:
            if callback is not None:
                callback(reference)
            return
        fetch = location.fetch
        if fetch is None:
            fetch = location.fetch = Fetch()
            location.priority = priority
            fetch.task = self._runtime.spawn(
                self._pin(reference, location, fetch), name=f"fetch {reference.id.hex()[:8]}"
            )
        elif priority < location.priority:
            location.priority = priority
            self._runtime.store.hasten(location.key(reference.id), priority)
        if callback is not None:
            fetch.waiting.append(callback)
        fetch.lasting = fetch.lasting or priority == FOR_WAIT

    async def _pin(self, reference: Reference, location: Location, fetch: Fetch) -> None:
        try:
            pin = await self._runtime.reader.pin(reference.id, location, reference.owner)
        except Exception as error:
            if location.fetch is fetch:
                location.error = serialization.dumps_error(error)
                if isinstance(error, (ObjectStoreFullError, OutOfDiskError)):
                    self._forget_later(location, location.error)
        else:
            if reference.value is location and reference.in_use and location.fetch is fetch:
                location.pin, location.read_at = pin, None
                self._pinned[location] = None
            else:
                self._runtime.store.unhold(pin)
        if location.fetch is fetch:
            self._call_waiting(reference, location)

    def _forget_later(self, location: Location, error: bytes) -> None:
        self._runtime.loop.call_later(_ROOM_MAY_COME, self._forget_error, location, error)

    def _forget_error(self, location: Location, error: bytes) -> None:
        """The next one who awaits the value tries again, once none of those who know of the error can ask for it."""
        if location.error is error:
            if location.told:
                self._forget_later(location, error)
            else:
                location.error = None

    def _take_back(self, location: Location) -> None:
        """The value need not come."""
        fetch, location.fetch = location.fetch, None
        if fetch is not None:
            fetch.task.cancel()

    def _call_waiting(self, reference: Reference, location: Location) -> None:
        """The fetch of a stored value has ended, one way or another."""
        fetch, location.fetch = location.fetch, None
        if fetch is not None:
            if fetch.task is not asyncio.current_task():
                fetch.task.cancel()
            for callback in fetch.waiting:
                callback(reference)

    def _let_go(self, reference: Reference, location: Location) -> None:
        self._drop_pin(location)
        if reference.owner is None:
            self._runtime.whereabouts.free(reference, location)

    def _drop_pin(self, location: Location) -> None:
        pin, location.pin = location.pin, None
        if pin is not None:
            del self._pinned[location]
            self._runtime.store.unhold(pin)

    def _on_get(self, link: PeerLink, object_id: bytes) -> None:
        reference = self._runtime.ownership.owned(object_id)
        if reference is None:
            link.send((messages.VALUE, object_id, GONE, None))
            return
        self.observe(reference, lambda reference: link.send((messages.VALUE, reference.id, *self.outcome(reference))))

    def _on_value(self, link: PeerLink, object_id: bytes, state: int, value: Any) -> None:
        reference = self._runtime.ownership.references.find(object_id, link.process_id)
        if reference is None or reference.state != PENDING:
            return
        if state == STORED:
            value = Location(*value)
        self.resolve(reference, state, value)


CANCELLED: Final = b"cancelled"
"""`Reference.value` of a task withdrawn before it ran."""
