"""Work that ends when a test says so."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncray
from asyncray import ActorHandle

from .polling import eventually


@asyncray.remote(num_cpus=0)
class Gate:
    """Calls of `passed` return once `open` has been called; until then their references are pending."""

    def __init__(self) -> None:
        self._opened = asyncio.Event()
        self._waiting = 0

    async def passed(self, value: Any = None) -> Any:
        self._waiting += 1
        await self._opened.wait()
        self._waiting -= 1
        return value

    async def open(self) -> None:
        self._opened.set()

    async def waiting(self) -> int:
        """Calls that have come and not passed."""
        return self._waiting


@asynccontextmanager
async def closed_gate() -> AsyncIterator[ActorHandle]:
    """A gate that is open in the end, whatever the test has given up."""
    gate = Gate.remote()
    yield gate
    await gate.open.remote()


async def waiting_at(gate: ActorHandle, count: int) -> None:
    """Returns when so many calls have come."""

    async def have_come() -> bool:
        return await gate.waiting.remote() == count

    await eventually(have_come)


@asyncray.remote
def busy_until(path: Path, value: Any = None) -> Any:
    """Keeps its worker, as a long computation would, until the file at `path` exists. Says by another that it runs."""
    path.with_name(f"{path.name}.{os.getpid()}.running").touch()
    while not path.exists():
        time.sleep(0.002)
    return value


def running(path: Path) -> list[int]:
    """The pids of the workers that `busy_until(path)` has begun in."""
    return [int(mark.name.split(".")[-2]) for mark in path.parent.glob(f"{path.name}.*.running")]
