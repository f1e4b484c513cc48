"""An event loop whose clock jumps to the next timer: hours of scheduling in milliseconds, always the same."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

_T = TypeVar("_T")
_P = ParamSpec("_P")


class VirtualLoop(asyncio.BaseEventLoop):
    """Has no files and no threads. When nothing at all is left to happen, `EverythingWaits` is raised."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._selector = self

    def time(self) -> float:
        return self._now

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise EverythingWaits
        self._now += timeout
        return []

    def _process_events(self, events: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass


class EverythingWaits(Exception):
    """No callback and no timer is left, and the coroutine has not returned."""


def run_virtually(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """`asyncio.run` in virtual time. What a callback raises ends it, too."""
    loop = VirtualLoop()
    failures: list[BaseException] = []
    task = loop.create_task(coroutine)

    def failed(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if isinstance(error := context.get("exception"), BaseException):
            failures.append(error)
            task.cancel()

    loop.set_exception_handler(failed)
    try:
        return loop.run_until_complete(task)
    except asyncio.CancelledError:
        raise failures[0] from None
    finally:
        left = asyncio.all_tasks(loop)
        for other in left:
            other.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.close()


def virtually(test: Callable[_P, Coroutine[Any, Any, None]]) -> Callable[_P, None]:
    """Makes a test of a coroutine function, run in virtual time."""

    @functools.wraps(test)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> None:
        run_virtually(test(*args, **kwargs))

    return run
