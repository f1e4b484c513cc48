"""Conditions of other processes, which can only be polled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from inspect import isawaitable
from typing import Any

PATIENCE = 20.0
"""Seconds after which a condition counts as never to be met: many times what a loaded machine needs."""
_TICK = 0.01


async def eventually(condition: Callable[[], Any], *, within: float = PATIENCE) -> Any:
    """The value of `condition()`, or of what it returns to be awaited, as soon as that is true."""
    for _ in _attempts(condition, within):
        value = condition()
        if isawaitable(value):
            value = await value
        if value:
            return value
        await asyncio.sleep(_TICK)


def eventually_blocking(condition: Callable[[], Any], *, within: float = PATIENCE) -> Any:
    """The same for tests without a loop."""
    for _ in _attempts(condition, within):
        if value := condition():
            return value
        time.sleep(_TICK)


def _attempts(condition: Callable[[], Any], within: float) -> Iterator[None]:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        yield
    raise TimeoutError(f"not within {within} s: {getattr(condition, '__qualname__', condition)}")
