"""`ObjectRef`: a reference to a remote value that asyncio takes for a future."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
from collections.abc import Callable, Generator
from contextvars import Context
from typing import TYPE_CHECKING, Any, NoReturn

from asyncray import serialization
from asyncray.errors import AsyncrayError
from asyncray.ids import ObjectId, TaskId
from asyncray.messages import STORED

if TYPE_CHECKING:
    from asyncray.worker.reference import Reference
    from asyncray.worker.runtime import Runtime

_Callback = tuple[Callable[[Any], object], Context | None]


class ObjectRef:
    """A value that exists, or will: the result of a task, or something put.

    `await ref` gives a fresh copy of the value each time (large arrays are read-only views of shared
    memory) or raises the task's exception. `asyncio.gather`, `wait`, `wait_for`, `as_completed`, `shield`
    and `TaskGroup` take it as it is. The value is fetched when somebody waits for it, not before.

    Cancelling a task that awaits the reference withdraws the work if this process submitted it and it has
    not begun; `asyncio.shield(ref)` keeps it. Dropping the last reference lets the cluster forget the value.
    """

    __slots__ = ("_asyncio_future_blocking", "_callbacks", "_reference", "_runtime")

    def __init__(self, reference: Reference, runtime: Runtime) -> None:
        self._reference = reference
        self._runtime = runtime
        self._callbacks: list[_Callback] | bool | None = None  # False: cancelled
        self._asyncio_future_blocking = False

    # ------------------------------------------------------------------ identity

    @property
    def id(self) -> ObjectId:
        return ObjectId(self._reference.id)

    def task_id(self) -> TaskId:
        """The task that makes the object (or that put it)."""
        return TaskId(self._reference.id[:16])

    def hex(self) -> str:
        return self._reference.id.hex()

    def binary(self) -> bytes:
        """The 20 bytes of the object's id."""
        return bytes(self._reference.id)

    def __hash__(self) -> int:
        return hash(self._reference.id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectRef) and other._reference.id == self._reference.id

    def __repr__(self) -> str:
        return f"ObjectRef({self._reference.id.hex()})"

    def __reduce__(self) -> Any:
        reference = self._reference
        return serialization.capture_reference(self, reference.id, reference.owner or self._runtime.address)

    def check_open(self) -> None:
        """For the reference that stands for an actor: raises AsyncrayError when its cluster has been left."""
        if self._runtime.stopping:
            raise AsyncrayError("the actor belongs to a cluster that this process has left: create it anew")

    def check(self, runtime: Runtime) -> None:
        """Raises AsyncrayError when the reference belongs to a cluster that this process has left."""
        if self._runtime is not runtime:
            raise AsyncrayError(f"{self!r} belongs to a cluster that this process has left: it cannot be passed on")

    def __copy__(self) -> ObjectRef:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> ObjectRef:
        return self

    def __del__(self) -> None:
        # May run in any thread, inside any lock: nothing but this append is allowed here.
        self._runtime.dropped.append(self._reference)

    # ---------------------------------------------------------------- the future

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._runtime.loop

    def done(self) -> bool:
        """Whether `result()` would return or raise the outcome at once. Asking starts the fetch of a finished value."""
        return self._callbacks is False or self._runtime.objects.poll(self._reference)

    def cancelled(self) -> bool:
        return self._callbacks is False or self._runtime.objects.is_cancelled(self._reference)

    def result(self) -> Any:
        """The value. Raises its exception, CancelledError, or InvalidStateError while it is not there."""
        if self._callbacks is False:
            raise asyncio.CancelledError
        return self._runtime.objects.load(self._reference)

    def exception(self) -> BaseException | None:
        """The exception of the task, None if it has a value."""
        if self._callbacks is False:
            raise asyncio.CancelledError
        return self._runtime.objects.load_exception(self._reference)

    def add_done_callback(self, callback: Callable[[Any], object], *, context: Context | None = None) -> None:
        """Has the loop call `callback(ref)` when the value is here. Starts the fetch."""
        if self._is_here():
            if self._reference.state == STORED:
                self._runtime.objects.tell(self._reference, callback)
            self._runtime.loop.call_soon(callback, self, context=context)
        elif self._callbacks is not None:
            self._callbacks.append((callback, context))  # type: ignore[union-attr]
        else:
            self._callbacks = [(callback, context)]
            self._runtime.objects.watch(self._reference, self._wake)
            if self._runtime.executor is not None:
                self._runtime.executor.blocking.waits_for(self._reference)

    def remove_done_callback(self, callback: Callable[[Any], object]) -> int:
        if not isinstance(self._callbacks, list):
            return 0
        kept = [entry for entry in self._callbacks if entry[0] != callback]
        removed = len(self._callbacks) - len(kept)
        if kept:
            self._callbacks = kept
        else:  # else what waits for the value would keep this reference alive
            self._callbacks = None
            self._unwatch()
        return removed

    def cancel(self, msg: Any = None) -> bool:
        """Cancels this reference; withdraws the work when it is this process's and has not begun."""
        if self._is_here():
            return False
        callbacks, self._callbacks = self._callbacks, False
        self._schedule(callbacks)
        if callbacks:
            self._unwatch()
        self._runtime.cancel(self._reference)
        return True

    # What `asyncio.gather` uses of a future besides its documented methods.

    _cancel_message = None

    def _make_cancelled_error(self) -> asyncio.CancelledError:
        return asyncio.CancelledError()

    def set_result(self, result: Any) -> NoReturn:
        raise RuntimeError("the result of an ObjectRef comes from the cluster")

    def set_exception(self, exception: Any) -> NoReturn:
        raise RuntimeError("the outcome of an ObjectRef comes from the cluster")

    def __await__(self) -> Generator[Any, None, Any]:
        while not self._is_here():  # again, if the value was let go before this task had its turn
            self._asyncio_future_blocking = True
            yield self
        return self.result()

    __iter__ = __await__

    def future(self) -> concurrent.futures.Future[Any]:
        """A `concurrent.futures.Future` of the value, for code in other threads."""
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        self._runtime.call_soon(self.add_done_callback, functools.partial(_settle, future))
        return future

    def _is_here(self) -> bool:
        """`done`, without asking for anything."""
        return self._callbacks is False or self._runtime.objects.is_here(self._reference)

    def _unwatch(self) -> None:
        self._runtime.objects.unwatch(self._reference, self._wake)
        if self._runtime.executor is not None:
            self._runtime.executor.blocking.gives_up(self._reference)

    def _wake(self, _: Reference) -> None:
        callbacks = self._callbacks
        if isinstance(callbacks, list):
            self._callbacks = None
            if self._reference.state == STORED:
                for callback, _context in callbacks:
                    self._runtime.objects.tell(self._reference, callback)
            self._schedule(callbacks)

    def _schedule(self, callbacks: list[_Callback] | bool | None) -> None:
        if isinstance(callbacks, list):
            call_soon = self._runtime.loop.call_soon
            for callback, context in callbacks:
                call_soon(callback, self, context=context)


def _settle(future: concurrent.futures.Future[Any], reference: ObjectRef) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(reference.result())
    except asyncio.CancelledError:
        future.set_exception(concurrent.futures.CancelledError())
    except BaseException as error:
        future.set_exception(error)
    finally:
        del future, reference  # the error, which the future keeps, keeps this frame
