"""Tasks whose arguments do not all exist yet."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from asyncray.errors import AsyncrayError
from asyncray.messages import INLINE, STORED, Address
from asyncray.worker.arguments import Entry
from asyncray.worker.objects import PENDING
from asyncray.worker.reference import Reference
from asyncray.worker.task import PendingTask

if TYPE_CHECKING:
    from asyncray.worker.runtime import Runtime

Then = Callable[[PendingTask], object]


class Dependencies:
    """Waits until the arguments of a task exist, then fills them in."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def when_ready(self, task: PendingTask, ready: Then, given_up: Then | None = None) -> None:
        """Calls `ready(task)` when every top-level reference has a value.

        Fails the task with the first that failed, and then calls `given_up(task)`; so it does when the task has been
        cancelled meanwhile. Calls neither if it has failed otherwise by then. `task.held` begins with the top-level
        references, in the order of `task.references`.
        """
        if task.references is None:
            ready(task)
            return
        assert task.held is not None
        top_level = task.held[: len(task.references)]
        missing = [reference for reference in top_level if reference.state == PENDING]

        def all_there() -> None:
            if task.held is None:  # it failed meanwhile, as calls of an actor that dies do, and let go of its arguments
                return
            then = ready if self._fill(task, top_level) else given_up
            if then is not None:
                then(task)

        if not missing:
            all_there()
            return
        remaining = len(missing)

        def one(_: Reference) -> None:
            nonlocal remaining
            remaining -= 1
            if not remaining:
                all_there()

        for reference in missing:
            self._runtime.objects.observe(reference, one)

    def _fill(self, task: PendingTask, top_level: list[Reference]) -> bool:
        """Whether the task can be sent now; it has been given up otherwise."""
        submitter = self._runtime.submitter
        if submitter.withdrawn(task):
            submitter.let_go(task)
            return False
        assert task.references is not None
        size = len(task.arguments)
        for entry, reference in zip(task.references, top_level, strict=True):
            if reference.state == INLINE:
                entry[2:] = [INLINE, reference.value]
                size += len(reference.value)
            elif reference.state == STORED:
                entry[2:] = [STORED, reference.value.pack(), self._owner(reference)]
            else:
                error = self._runtime.objects.load_exception(reference)
                assert error is not None
                submitter.fail(task, error)
                return False
        if size > self._runtime.config.frame_target:
            size = self._lighten(task.references, top_level, size)
            limit = self._runtime.config.frame_limit // 2
            if size > limit:
                submitter.fail(task, AsyncrayError(_too_large(task, size, limit)))
                return False
        return True

    def _lighten(self, entries: list[Entry], references: list[Reference], size: int) -> int:
        """Leaves the largest of the small values to be asked for by the worker. Returns the size of what is left."""
        inline = [(len(entry[3]), at) for at, entry in enumerate(entries) if entry[2] == INLINE]
        for length, at in sorted(inline, reverse=True):
            if size <= self._runtime.config.frame_target:
                break
            reference = references[at]
            if reference.owner is None or reference.sequence:  # else its owner is dead: nobody but this process has it
                entries[at][2:] = [PENDING, None, self._owner(reference)]
                size -= length
        return size

    def _owner(self, reference: Reference) -> Address:
        return reference.owner or self._runtime.address


def _too_large(task: PendingTask, size: int, limit: int) -> str:
    return (
        f"the arguments of {task.template.name}() take {size} bytes, and {limit} is the most that travels with a call;"
        " they cannot be asked for later, as the processes that owned them have ended"
    )
