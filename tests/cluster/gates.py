"""Work that ends when a test says so."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import asyncray


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
