"""A simulated process: what can be started, frozen, and killed at any await."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast
from weakref import ref

if TYPE_CHECKING:
    from asyncray.simulation.loop import VirtualLoop
    from asyncray.simulation.threads import GreenThreads

_T = TypeVar("_T")

_FEW_TASKS: Final = 8


class Process:
    """Whatever runs in its `context` belongs to it: callbacks, timers, tasks, and what they start in turn.

    Once it is dead, nothing of that ever runs again, not even a `finally`: as after SIGKILL. While it is frozen,
    all of it waits. `loop.py` looks at `runs` and `frozen` before each callback.
    """

    __slots__ = (
        "_deferred",
        "_dying",
        "_look_at_tasks_at",
        "_tasks",
        "context",
        "frozen",
        "host",
        "name",
        "pid",
        "remains",
        "runs",
        "threads",
    )

    def __init__(self, name: str, host: str, pid: int) -> None:
        self.name = name
        """What the transcript calls it: `driver 1`, `node 2`, `worker 2.7`."""
        self.host = host
        """The machine on which it runs, by its address: `10.0.0.2`."""
        self.pid = pid
        self.runs = True
        """Alive and not frozen."""
        self.frozen = False
        self._deferred: list[asyncio.Handle] | None = None
        """Callbacks that were due while it was frozen, once there were any."""
        self._tasks: list[ref[asyncio.Task[Any]]] = []
        """Those that were made in its context, without some that have ended. A `WeakSet` takes 1 KB when it is empty,
        and 1 us for each task."""
        self._look_at_tasks_at = _FEW_TASKS
        self.remains: list[asyncio.Task[Any]] = []
        """The tasks of a dead process: to let go of them would run their `finally`."""
        self.threads: GreenThreads | None = None
        """Of a process that runs plain code beside its loop."""
        self._dying: list[Callable[[str], None]] = []
        self.context = Context()
        self.context.run(current_process.set, self)

    def __repr__(self) -> str:
        state = " frozen" if self.frozen else "" if self.runs else " dead"
        return f"<{self.name} at {self.host} pid {self.pid}{state}>"

    @property
    def alive(self) -> bool:
        return self.runs or self.frozen

    def adopt(self, task: asyncio.Task[Any]) -> None:
        """A task that was made in its context, perhaps by the callback in which it has just ended itself."""
        if self.alive:
            tasks = self._tasks
            tasks.append(ref(task))
            if len(tasks) > self._look_at_tasks_at:
                self._tasks = [one for one in tasks if (known := one()) is not None and not known.done()]
                self._look_at_tasks_at = 2 * len(self._tasks) + _FEW_TASKS
        else:
            self.remains.append(task)

    def defer(self, callback: asyncio.Handle) -> None:
        """Something was due while it is frozen."""
        if self._deferred is None:
            self._deferred = []
        self._deferred.append(callback)

    def call(self, function: Callable[..., _T], *args: Any) -> _T:
        """Calls a function as this process would. Not from within the process itself."""
        return self.context.run(function, *args)

    def spawn(self, coroutine: Coroutine[Any, Any, _T], name: str) -> asyncio.Task[_T]:
        """A task of this process."""
        return asyncio.get_running_loop().create_task(coroutine, name=name, context=self.context.copy())

    def on_death(self, callback: Callable[[str], None]) -> None:
        """Calls `callback(cause)` at the moment at which it dies, in the order of registration, outside of it."""
        self._dying.append(callback)

    def bury(self) -> None:
        """At the end of the simulation: closes what the dead process has left, where it can do no harm."""
        for task in self.remains:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            with contextlib.suppress(BaseException):
                self.context.copy().run(task.get_coro().close)
        self.remains = []
        if self.threads is not None:
            self.threads.bury()

    def kill(self, cause: str) -> None:
        """SIGKILL, or the end of the program. Dead processes stay dead."""
        if not self.alive:
            return
        self.runs = self.frozen = False
        # Before anything is let go that may hold the last reference of one.
        self.remains = [task for one in self._tasks if (task := one()) is not None and not task.done()]
        self._tasks = []
        self._deferred = None
        dying, self._dying = self._dying, []
        for callback in dying:
            Context().run(callback, cause)

    def freeze(self) -> None:
        """SIGSTOP."""
        if self.runs:
            self.runs, self.frozen = False, True

    def thaw(self) -> None:
        """SIGCONT: what was due runs now, in its order."""
        if self.frozen:
            self.runs, self.frozen = True, False
            loop = cast("VirtualLoop", asyncio.get_running_loop())
            deferred, self._deferred = self._deferred, None
            loop.put_back(deferred or ())


current_process: ContextVar[Process | None] = ContextVar("asyncray_simulated_process", default=None)
"""The process to which the running code belongs; None for the simulation itself."""
