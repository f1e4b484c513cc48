"""A simulated disk whose times are exact, and processes that use it, as the tests hold them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from asyncray.simulation.disk import DiskConditions, SimulatedDisk
from asyncray.simulation.loop import VirtualLoop
from asyncray.simulation.network import Latency
from asyncray.simulation.process import Process

T = TypeVar("T")

LATENCY = 0.5
BANDWIDTH = 100.0
EXACT = DiskConditions(capacity=1000, latency=Latency(LATENCY), bandwidth=BANDWIDTH)
"""No time is left to chance."""
SEEDS = range(40)


class Machine:
    """A disk, and processes that use it."""

    def __init__(self, seed: int = 0, conditions: DiskConditions = EXACT) -> None:
        self.seed = seed
        self.loop = VirtualLoop(horizon=1000)
        self.disk = SimulatedDisk(random.Random(seed), conditions)
        self.processes = [Process(f"node {number}", "10.0.0.1", 1000 + number) for number in range(2)]

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        try:
            return self.loop.run_until_complete(main)
        finally:
            for process in self.processes:
                process.kill("the test has ended")
                process.bury()
            self.loop.close()

    def spawn(self, operation: Coroutine[Any, Any, T], process: int = 0) -> asyncio.Task[T]:
        return self.processes[process].spawn(operation, "an operation")


def outcomes(story: Callable[[Machine], Coroutine[Any, Any, T]]) -> list[T]:
    """What came of a story with each of the seeds."""
    return [machine.run(story(machine)) for machine in map(Machine, SEEDS)]


async def write_synced(disk: SimulatedDisk, content: bytes) -> None:
    """A file of that content, which lasts."""
    await disk.write("/file", [content])
    await disk.sync("/file")


def now() -> float:
    """Virtual seconds."""
    return asyncio.get_running_loop().time()
