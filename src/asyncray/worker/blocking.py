"""Tasks that wait for objects: their CPU is free meanwhile, and what they hold up goes elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from asyncray import messages
from asyncray.worker.context import TaskContext, current_task
from asyncray.worker.reference import Reference

if TYPE_CHECKING:
    from asyncray.worker.runtime import Runtime

_T = TypeVar("_T")


class Blocking:
    """Counts what the running task waits for, and tells the node when that begins and ends."""

    def __init__(self, runtime: Runtime, hand_back: Callable[[], None]) -> None:
        self._runtime = runtime
        self._hand_back = hand_back
        self._count = 0
        self._coroutine_task: TaskContext | None = None
        """The `async def` task that runs now, and for how many values it waits."""
        self._coroutine_waits = 0
        self._awaited: dict[Reference, None] = {}
        """Those of them that futures' callbacks stand for."""

    @property
    def active(self) -> bool:
        """Whether the running task waits."""
        return self._count > 0

    @contextmanager
    def blocked(self) -> Iterator[Callable[[], None]]:
        """For the time in which the calling thread waits.

        What it yields is called on the loop as soon as what the thread waits for is there: before it has woken, the
        node would give the CPU to somebody else.
        """
        over = False

        def end() -> None:
            nonlocal over
            if not over:
                over = True
                self._end()

        self._runtime.call_soon(self._begin)
        try:
            yield end
        finally:
            self._runtime.call_soon(end)

    @contextmanager
    def awaiting(self) -> Iterator[None]:
        """For the time in which the current coroutine waits: counts if it is a task's. Loop thread only."""
        task = current_task.get()
        if task is None or task is not self._coroutine_task:
            yield
            return
        self._coroutine_waits += 1
        self._begin()
        try:
            yield
        finally:
            self._resume(task)

    def waits_for(self, reference: Reference) -> None:
        """The current coroutine awaits a value that is not here: counts if it is a task's. Loop thread only."""
        task = current_task.get()
        if task is None or task is not self._coroutine_task or reference in self._awaited:
            return
        self._awaited[reference] = None
        self._coroutine_waits += 1
        self._begin()
        self._runtime.objects.watch(reference, self._arrived)

    def gives_up(self, reference: Reference) -> None:
        """Nobody awaits it any more. Loop thread only."""
        if reference in self._awaited:
            self._runtime.objects.unwatch(reference, self._arrived)
            self._arrived(reference)

    async def run(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """Runs an `async def` task, which has the worker to itself."""
        self._coroutine_task = current_task.get()
        try:
            return await coroutine
        finally:
            for reference in list(self._awaited):
                self.gives_up(reference)
            self._coroutine_task = None
            while self._coroutine_waits:  # for values that it has given up waiting for
                self._coroutine_waits -= 1
                self._end()

    def _arrived(self, reference: Reference) -> None:
        if reference in self._awaited:
            del self._awaited[reference]
            self._coroutine_waits -= 1
            self._end()

    def _resume(self, task: TaskContext) -> None:
        if task is self._coroutine_task and self._coroutine_waits:
            self._coroutine_waits -= 1
            self._end()

    def _begin(self) -> None:
        self._count += 1
        if self._count == 1 and self._runtime.nodes.own is not None:
            self._hand_back()
            self._runtime.nodes.own.send(messages.BLOCKED)

    def _end(self) -> None:
        self._count -= 1
        if self._count == 0 and self._runtime.nodes.own is not None:
            self._runtime.nodes.own.send(messages.UNBLOCKED)
