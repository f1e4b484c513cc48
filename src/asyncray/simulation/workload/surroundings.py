"""What the code of a program calls: asyncray as an `async def` uses it, and as a plain function does.

Both have the same coroutines. Those of plain code block where the others suspend, so that one interpreter does for
both, and `finish_at_once` runs it in a plain function.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import asyncray
import asyncray.sync
from asyncray.api.actor import ActorHandle
from asyncray.simulation.workload.program import Way, Withdrawal
from asyncray.worker.object_ref import ObjectRef

_T = TypeVar("_T")


class Instruments:
    """Of this process: how plain code sleeps, and what counts the bodies and methods that run."""

    def __init__(self) -> None:
        self.sleep: Callable[[float], object] = time.sleep
        self.executions: Counter[int] | None = None

    def executed(self, key: int) -> None:
        if self.executions is not None:
            self.executions[key] += 1


INSTRUMENTS = Instruments()


@contextmanager
def instrumented(sleep: Callable[[float], object]) -> Iterator[Counter[int]]:
    """For a simulation, where one process runs everything: has plain code sleep so, and counts what runs by its key."""
    before = INSTRUMENTS.sleep, INSTRUMENTS.executions
    executions: Counter[int] = Counter()
    INSTRUMENTS.sleep, INSTRUMENTS.executions = sleep, executions
    try:
        yield executions
    finally:
        INSTRUMENTS.sleep, INSTRUMENTS.executions = before


class Surroundings(Protocol):
    async def put(self, value: Any) -> ObjectRef: ...
    async def fetch(self, refs: list[ObjectRef], way: Way, timeout: float | None) -> list[Any]:
        """The values; raises what one of them failed with."""

    async def wait(
        self, refs: list[ObjectRef], num_returns: int, timeout: float | None
    ) -> tuple[list[ObjectRef], list[ObjectRef]]: ...
    async def kill(self, actor: ActorHandle) -> None: ...
    async def cancel(self, ref: ObjectRef, what: Withdrawal) -> None: ...
    async def sleep(self, seconds: float) -> None: ...
    async def concurrently(self, branches: list[Coroutine[Any, Any, None]]) -> None:
        """Runs all of them to their ends; raises the error of the first that has one."""


class Awaiting:
    """For `async def` code."""

    async def put(self, value: Any) -> ObjectRef:
        return await asyncray.put(value)

    async def fetch(self, refs: list[ObjectRef], way: Way, timeout: float | None) -> list[Any]:
        match way:
            case "get":
                values: list[Any] = await asyncray.get(refs, timeout=timeout)
                return values
            case "gather":
                return list(await asyncio.gather(*refs))
            case _:
                return [await ref for ref in refs]

    async def wait(
        self, refs: list[ObjectRef], num_returns: int, timeout: float | None
    ) -> tuple[list[ObjectRef], list[ObjectRef]]:
        return await asyncray.wait(refs, num_returns=num_returns, timeout=timeout)

    async def kill(self, actor: ActorHandle) -> None:
        await asyncray.kill(actor)

    async def cancel(self, ref: ObjectRef, what: Withdrawal) -> None:
        if what == "reference":
            await asyncray.cancel(ref)
            return
        task = asyncio.create_task(_value_of(asyncio.shield(ref) if what == "shielded task" else ref))
        await asyncio.sleep(0)  # so that it awaits the reference
        task.cancel()
        await asyncio.wait((task,))
        if not task.cancelled():
            task.exception()  # seen: asyncio would complain of it otherwise

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def concurrently(self, branches: list[Coroutine[Any, Any, None]]) -> None:
        outcomes = await asyncio.gather(*branches, return_exceptions=True)
        try:
            for outcome in outcomes:
                if outcome is not None:
                    raise outcome
        finally:
            del outcomes  # an error's traceback refers to this frame


class Blocking:
    """For plain code, which runs on a thread of its own. Nothing here suspends."""

    async def put(self, value: Any) -> ObjectRef:
        return asyncray.sync.put(value)

    async def fetch(self, refs: list[ObjectRef], way: Way, timeout: float | None) -> list[Any]:
        if way in ("await", "twice"):
            return [asyncray.sync.get(ref) for ref in refs]
        values: list[Any] = asyncray.sync.get(refs, timeout=timeout)
        return values

    async def wait(
        self, refs: list[ObjectRef], num_returns: int, timeout: float | None
    ) -> tuple[list[ObjectRef], list[ObjectRef]]:
        return asyncray.sync.wait(refs, num_returns=num_returns, timeout=timeout)

    async def kill(self, actor: ActorHandle) -> None:
        asyncray.sync.kill(actor)

    async def cancel(self, ref: ObjectRef, what: Withdrawal) -> None:
        asyncray.sync.cancel(ref)

    async def sleep(self, seconds: float) -> None:
        INSTRUMENTS.sleep(seconds)

    async def concurrently(self, branches: list[Coroutine[Any, Any, None]]) -> None:
        try:
            for branch in branches:
                await branch
        finally:
            for branch in branches:
                branch.close()  # those that an error has kept from running


async def _value_of(awaitable: Any) -> Any:
    return await awaitable


def finish_at_once(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """The result of a coroutine that never suspends."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: _T = end.value
        return result
    coroutine.close()
    raise RuntimeError("plain code has suspended where it should have blocked")
