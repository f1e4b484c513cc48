"""Threads of simulated processes: stacks of their own in the one real thread, which switch where they would block."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import queue
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from greenlet import getcurrent, greenlet

from asyncray.simulation.loop import VirtualLoop
from asyncray.simulation.process import Process

_T = TypeVar("_T")

_UNWINDINGS: Final = 100
"""How often a stack may catch what is to unwind it, and go on."""


class Stack(greenlet):
    """One thread of a simulated process. `number` is its ident; the loop's is 0."""

    def __init__(self, threads: GreenThreads, number: int, target: Callable[[], object]) -> None:
        super().__init__(target)
        self.threads = threads
        self.number = number
        self.gr_context = threads.process.context.copy()


class GreenThreads:
    """The `Threads` of one process. Nothing of what blocks here takes real time."""

    def __init__(self, loop: VirtualLoop, process: Process) -> None:
        self.loop = loop
        self.process = process
        self._numbers = itertools.count(1)
        self._stacks: dict[int, Stack] = {}
        """Those that have not ended."""

    def ident(self) -> int:
        """0 on the loop."""
        return getattr(getcurrent(), "number", 0)

    def start(self, target: Callable[[], object], name: str) -> None:
        number = next(self._numbers)
        self._stacks[number] = stack = Stack(self, number, target)
        self.resume_soon(stack)

    def run(self, function: Callable[[], _T]) -> asyncio.Future[_T]:
        """On the loop: the outcome of a function that runs in a new thread."""
        future: asyncio.Future[_T] = self.loop.create_future()

        def settle() -> None:
            try:
                result = function()
            except Exception as error:
                if not future.done():
                    future.set_exception(error)
            else:
                if not future.done():
                    future.set_result(result)

        self.start(settle, "executor")
        return future

    def queue(self) -> GreenQueue:
        return GreenQueue(self)

    def latch(self) -> GreenLatch:
        return GreenLatch(self)

    def wait(self, coroutine: Coroutine[Any, Any, _T], loop: asyncio.AbstractEventLoop) -> _T:
        stack = current_stack("to wait for a coroutine")
        task = loop.create_task(coroutine)
        task.add_done_callback(lambda _: self.resume(stack))
        self.block()
        return task.result()

    def block(self) -> None:
        """Lets others run until somebody resumes the calling stack."""
        loop = current_stack("to block").parent
        assert loop is not None
        loop.switch()

    def resume(self, stack: Stack) -> None:
        """On the loop: runs the stack until it blocks again, or ends."""
        stack.parent = getcurrent()  # else where it was made, which may be another stack
        events._set_running_loop(None)  # as in any thread that is not the loop's
        try:
            stack.switch()
        finally:
            events._set_running_loop(self.loop)
        if stack.dead:
            self._stacks.pop(stack.number, None)

    def resume_soon(self, stack: Stack) -> None:
        self.loop.call_soon(self.resume, stack, context=self.process.context)

    def bury(self) -> None:
        """At the end of the simulation: unwinds the stacks of a dead process, where that can do no harm."""
        stacks, self._stacks = self._stacks, {}
        for stack in stacks.values():
            for _ in range(_UNWINDINGS):
                if stack.dead:
                    break
                with contextlib.suppress(BaseException):
                    stack.throw()


def current_stack(purpose: str) -> Stack:
    """Raises RuntimeError on the loop, which must not block."""
    stack = getcurrent()
    if not isinstance(stack, Stack):
        raise RuntimeError(f"only plain functions of simulated tasks and actors have a thread {purpose}: use await")
    return stack


class GreenQueue:
    """As `queue.SimpleQueue`."""

    def __init__(self, threads: GreenThreads) -> None:
        self._threads = threads
        self._items: deque[Any] | None = None
        """None while there is none: an empty deque takes 760 bytes."""
        self._waiting: list[Stack] = []

    def put(self, item: Any) -> None:
        if self._items is None:
            self._items = deque()
        self._items.append(item)
        if self._waiting:
            self._threads.resume_soon(self._waiting.pop(0))

    def get(self) -> Any:
        while not self._items:
            self._waiting.append(current_stack("to wait for an item"))
            self._threads.block()
        return self._take(self._items)

    def get_nowait(self) -> Any:
        if not self._items:
            raise queue.Empty
        return self._take(self._items)

    def _take(self, items: deque[Any]) -> Any:
        item = items.popleft()
        if not items:
            self._items = None
        return item


class GreenLatch:
    """As a `threading.Lock` that is held: `acquire` returns once somebody has called `release`."""

    def __init__(self, threads: GreenThreads) -> None:
        self._threads = threads
        self._open = False
        self._stack: Stack | None = None

    def release(self) -> None:
        self._open = True
        self._wake()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if blocking and not self._open:
            loop = self._threads.loop
            self._stack = current_stack("to wait")
            timer = loop.call_later(timeout, self._wake) if timeout >= 0 else None
            self._threads.block()
            if timer is not None:
                timer.cancel()
        return self._open

    def _wake(self) -> None:
        stack, self._stack = self._stack, None
        if stack is not None:
            self._threads.resume_soon(stack)


def sleep(seconds: float) -> None:
    """Takes virtual time in a plain function of a simulated task or actor; elsewhere `await asyncio.sleep(seconds)`."""
    stack = current_stack("to sleep in")
    threads = stack.threads
    threads.loop.call_later(seconds, threads.resume, stack)
    threads.block()
