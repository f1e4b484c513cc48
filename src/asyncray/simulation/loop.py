"""An asyncio event loop whose time is virtual: when nothing is ready, its clock jumps to the next timer."""

from __future__ import annotations

import asyncio
import gc
import threading
from asyncio import base_events, events
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterable
from contextvars import Context, copy_context
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any, Final, TypeVar

from asyncray.errors import AsyncrayError
from asyncray.simulation.process import Process, current_process

_T = TypeVar("_T")

_COLLECT_EVERY: Final = 50_000
"""Callbacks between two runs of the garbage collector, which else runs when it likes: what it finds has finalisers,
and when those run must not differ from one run of a seed to the next."""
_COLLECT_RARELY: Final = 1_000_000
"""The same at the most: an eighth of all callbacks so far. Each run looks at all that is in the middle of something,
which is the more the larger the cluster is, as is the number of callbacks."""
_FIRST_FULL_COLLECTION: Final = 4_000_000
"""Callbacks until everything is looked at, what has survived a collection too; again whenever they have doubled: what
that costs grows with the heap, which grows with them."""
_LIVELOCK: Final = 1_000_000
"""Callbacks at one and the same virtual time that nobody needs."""
_CANCELLED_SHARE: Final = 0.5
_FEW_TIMERS: Final = 100


class Deadlock(AsyncrayError):
    """Everything waits, and no timer is set: nothing would ever happen again."""


class Livelock(AsyncrayError):
    """Callbacks run without end, and no time passes: somebody waits for a moment that never comes."""


class HorizonReached(AsyncrayError):
    """The simulation has taken more virtual time than it was given."""


class VirtualLoop(base_events.BaseEventLoop):
    """Runs callbacks in the order in which they were scheduled, timers in the order of their times, then of their
    making.

    A callback, timer or task belongs to the simulated process in whose context it runs (`process.py`). There is no
    I/O: sockets, pipes, signals and subprocesses raise NotImplementedError.
    """

    def __init__(self, *, horizon: float = float("inf")) -> None:
        """`horizon`: virtual seconds after which `run_until_complete` raises HorizonReached."""
        super().__init__()
        self.callbacks = 0
        """How many have run."""
        self._now = 0.0
        self._horizon = horizon
        self._os_thread = threading.get_ident()
        self._ready: deque[_Callback | _Timer] = deque()
        self._scheduled: list[tuple[float, int, _Timer]] = []
        self._timers = 0
        self._cancelled_timers = 0
        self._collect_at = _COLLECT_EVERY
        self._collect_fully_at = _FIRST_FULL_COLLECTION
        self._collect_fully = False
        self._jumped_at = 0
        """`callbacks` when time last passed."""

    def time(self) -> float:
        """Virtual seconds since the start."""
        return self._now

    def run_forever(self) -> None:
        collects = gc.isenabled()
        gc.disable()
        try:
            super().run_forever()
        finally:
            if collects:
                gc.enable()

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        # All that `Handle.__init__` does, without its call and that of the subclass: 0.5 us instead of 1.1, and a
        # simulated task takes some forty callbacks.
        handle = _Callback.__new__(_Callback)
        if context is None:
            handle._context = copy_context()
            handle.process = current_process.get()
        else:
            handle._context = context
            handle.process = context.get(current_process)
        handle._loop = self
        handle._callback = callback
        handle._args = args
        handle._cancelled = False
        handle._repr = handle._source_traceback = None
        self._ready.append(handle)
        return handle

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        if threading.get_ident() != self._os_thread:
            raise RuntimeError("a real thread called the loop of a simulation, whose order that would upset")
        return self.call_soon(callback, *args, context=context)

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = _Timer.__new__(_Timer)  # as in `call_soon`
        if context is None:
            timer._context = copy_context()
            timer.process = current_process.get()
        else:
            timer._context = context
            timer.process = context.get(current_process)
        timer._loop = self
        timer._callback = callback
        timer._args = args
        timer._cancelled = timer._scheduled = timer.due = False
        timer._repr = timer._source_traceback = None
        timer._when = when
        self._timers += 1
        heappush(self._scheduled, (when, self._timers, timer))
        return timer

    def create_task(  # type: ignore[override]
        self,
        coroutine: Coroutine[Any, Any, _T] | Generator[Any, None, _T],
        *,
        name: str | None = None,
        context: Context | None = None,
    ) -> asyncio.Task[_T]:
        """A task that its process knows of."""
        task: asyncio.Task[_T] = asyncio.Task(coroutine, loop=self, name=name, context=context)
        process = current_process.get() if context is None else context.get(current_process)
        if process is not None:
            process.adopt(task)
        return task

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., _T], *args: Any
    ) -> asyncio.Future[_T]:
        """Runs it in this thread, on a stack of its own. Raises RuntimeError for an executor with real threads."""
        process = current_process.get()
        if executor is not None or process is None or process.threads is None:
            raise RuntimeError("an executor has real threads, which a simulation cannot have: use asyncio.to_thread")
        return process.threads.run(lambda: func(*args))

    def put_back(self, handles: Iterable[asyncio.Handle]) -> None:
        """Makes callbacks ready that were deferred."""
        self._ready.extend(handles)  # type: ignore[arg-type]

    def collect_fully(self) -> None:
        """Has the garbage collector look at everything before long: there is much for it."""
        self._collect_fully = True
        self._collect_at = min(self._collect_at, self.callbacks + _COLLECT_EVERY)

    # ---- what BaseEventLoop calls

    def _run_once(self) -> None:
        """Not once, but until it is to stop: one call instead of many."""
        ready, scheduled = self._ready, self._scheduled
        while True:
            if not ready:
                self._jump()
            elif self.callbacks - self._jumped_at > _LIVELOCK:
                self._refuse_livelock(ready[0])
            now = self._now
            while scheduled and scheduled[0][0] <= now:
                timer = heappop(scheduled)[2]
                if timer._cancelled:
                    self._cancelled_timers -= 1
                else:
                    timer.due = True
                    ready.append(timer)
            count = len(ready)
            for _ in range(count):
                handle = ready.popleft()
                if handle._cancelled:
                    continue
                process = handle.process
                if process is None or process.runs:
                    try:  # as `Handle._run`, whose call would take 0.2 us
                        handle._context.run(handle._callback, *handle._args)
                    except (SystemExit, KeyboardInterrupt):
                        raise
                    except BaseException as error:
                        self._failed(handle, error)
                elif process.frozen:
                    process.defer(handle)
            del handle  # what it refers to
            self.callbacks += count
            if self.callbacks >= self._collect_at:
                self._collect_garbage()
            if self._stopping:  # type: ignore[attr-defined]
                return

    def _failed(self, handle: _Callback | _Timer, error: BaseException) -> None:
        self.call_exception_handler(
            {"message": f"Exception in callback {handle._callback!r}", "exception": error, "handle": handle}
        )

    def _collect_garbage(self) -> None:
        self._collect_at = self.callbacks + max(_COLLECT_EVERY, min(_COLLECT_RARELY, self.callbacks // 8))
        generation = 1
        if self.callbacks >= self._collect_fully_at:
            self._collect_fully_at = 2 * self.callbacks
            self._collect_fully = True
        if self._collect_fully:
            self._collect_fully = False
            generation = 2
        gc.collect(generation)

    def _jump(self) -> None:
        """Nothing is ready: to the time of the next timer."""
        scheduled = self._scheduled
        while scheduled and scheduled[0][2]._cancelled:
            heappop(scheduled)
            self._cancelled_timers -= 1
        if self._stopping:  # type: ignore[attr-defined]
            return
        if not scheduled:
            waiting = sorted(task.get_name() for task in asyncio.all_tasks(self))
            raise Deadlock(
                f"nothing can happen any more at {self._now:.6f} s: everything waits, and no timer is set."
                f" Waiting are {', '.join(waiting[:20]) or 'no tasks'}"
            )
        if scheduled[0][0] > self._horizon:
            raise HorizonReached(f"the simulation has not ended after {self._horizon:g} virtual seconds")
        if scheduled[0][0] > self._now:
            self._now = scheduled[0][0]
            self._jumped_at = self.callbacks
        elif self.callbacks - self._jumped_at > _LIVELOCK:
            self._refuse_livelock(scheduled[0][2])

    def _refuse_livelock(self, next_one: asyncio.Handle) -> None:
        raise Livelock(f"{_LIVELOCK:,} callbacks have run at {self._now:.6f} s; the next one is {next_one!r}")

    def _timer_handle_cancelled(self, handle: Any) -> None:
        if handle.due:
            return
        self._cancelled_timers += 1
        if len(self._scheduled) > _FEW_TIMERS and self._cancelled_timers > _CANCELLED_SHARE * len(self._scheduled):
            self._scheduled[:] = [entry for entry in self._scheduled if not entry[2]._cancelled]
            heapify(self._scheduled)
            self._cancelled_timers = 0

    def _write_to_self(self) -> None:
        """Nobody has to wake this loop: it never sleeps."""


if TYPE_CHECKING:

    class _Handle(asyncio.Handle):
        """What `Handle.__init__` sets."""

        _args: tuple[Any, ...]
        _callback: Callable[..., Any]
        _context: Context
        _loop: asyncio.AbstractEventLoop
        _repr: str | None
        _source_traceback: Any

    class _TimerHandle(_Handle, asyncio.TimerHandle):
        _scheduled: bool
        _when: float

else:
    _Handle, _TimerHandle = events.Handle, events.TimerHandle


class _Callback(_Handle):
    """Runs if its process does. `VirtualLoop.call_soon` makes it."""

    __slots__ = ("process",)

    process: Process | None


class _Timer(_TimerHandle):
    """The same, at its time. `VirtualLoop.call_at` makes it."""

    __slots__ = ("due", "process")

    process: Process | None
    due: bool
    """It has left the heap."""
