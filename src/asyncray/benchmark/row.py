"""A row of the benchmark: a kind of work, how it is measured, and the speed to reach."""

from __future__ import annotations

import asyncio
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, ClassVar, Final

import asyncray
from asyncray import sync

WARM_UP_LIMIT: Final = 1.0
"""Seconds of warming up, at most: then every connection, lease and page of memory has been used."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How rows are measured."""

    seconds: float = 1.0
    """Length of one time slice."""
    repetitions: int = 4
    """Time slices; each gives one sample."""
    blocking: bool = False
    """Through `asyncray.sync`, from a plain thread, instead of the async API."""
    uvloop: bool = True
    """Whether the driver's own loop is uvloop's; that of `asyncray.sync` always is."""

    def loop_factory(self) -> Callable[[], asyncio.AbstractEventLoop] | None:
        if not self.uvloop:
            return None
        import uvloop

        return uvloop.new_event_loop


class Row(ABC):
    """One figure of the benchmark. Instances are used once."""

    name: ClassVar[str]
    """As `ray microbenchmark` calls the same work, where it has it."""
    unit: ClassVar[str] = "/s"
    goal: ClassVar[float | None] = None
    less_is_better: ClassVar[bool] = False
    long: ClassVar[bool] = False
    """Takes minutes: only measured when it is named, or with `--long`."""
    needs_numpy: ClassVar[bool] = False
    limit: ClassVar[float] = 120.0
    """Seconds after which it counts as stuck."""

    @abstractmethod
    def samples(self, plan: Plan) -> list[float]:
        """Measures. Must be called from a thread without a running loop."""

    def ratio(self, figure: float) -> float | None:
        """How the figure compares with the goal: 1 or more is reached."""
        if self.goal is None or not figure:
            return None
        return self.goal / figure if self.less_is_better else figure / self.goal


class Throughput(Row):
    """Work done again and again on a cluster of its own: so much a second."""

    amount: ClassVar[float] = 1.0
    """Work in one round, in the unit of the row."""
    tidies: ClassVar[bool] = False
    cluster: ClassVar[dict[str, Any]] = {}
    """Settings of its cluster."""

    def settings(self) -> dict[str, Any]:
        """What `init` is given."""
        return self.cluster

    async def prepare(self, blocking: bool) -> None:
        """Makes what the rounds need. Runs on the runtime's loop; `blocking` says how the rounds will work."""
        return

    async def run(self) -> None:
        """One round, by the async API."""
        raise NotImplementedError

    def run_blocking(self) -> None:
        """The same round, by the blocking API."""
        raise NotImplementedError

    async def tidy(self) -> None:
        """After each round of a row that `tidies`; its time does not count."""
        return

    def samples(self, plan: Plan) -> list[float]:
        slices = [min(plan.seconds, WARM_UP_LIMIT), *[plan.seconds] * plan.repetitions]
        measured = self._blocking_slices(slices) if plan.blocking else self._async_slices(plan, slices)
        return measured[1:]

    def _async_slices(self, plan: Plan, slices: list[float]) -> list[float]:
        async def measure() -> list[float]:
            async with asyncio.timeout(self.limit), asyncray.init(**self.settings()):
                await self.prepare(False)
                return [await self._slice(seconds) for seconds in slices]

        with asyncio.Runner(loop_factory=plan.loop_factory()) as runner:
            return runner.run(measure())

    async def _slice(self, seconds: float) -> float:
        rounds, untimed = 0, 0.0
        start = time.perf_counter()
        while True:
            await self.run()
            rounds += 1
            elapsed = time.perf_counter() - start - untimed
            if self.tidies:
                tidying = time.perf_counter()
                await self.tidy()
                untimed += time.perf_counter() - tidying
            if elapsed >= seconds:
                return self.amount * rounds / elapsed

    def _blocking_slices(self, slices: list[float]) -> list[float]:
        with _stuck_after(self.limit), sync.init(**self.settings()):
            sync.run(self.prepare(True))
            return [self._blocking_slice(seconds) for seconds in slices]

    def _blocking_slice(self, seconds: float) -> float:
        rounds, untimed = 0, 0.0
        start = time.perf_counter()
        while True:
            self.run_blocking()
            rounds += 1
            elapsed = time.perf_counter() - start - untimed
            if self.tidies:
                tidying = time.perf_counter()
                sync.run(self.tidy())
                untimed += time.perf_counter() - tidying
            if elapsed >= seconds:
                return self.amount * rounds / elapsed


class Calls(Throughput):
    """Submits calls and gets their results."""

    def submit(self) -> Any:
        """The reference of one call, or a list of them."""
        raise NotImplementedError

    async def run(self) -> None:
        submitted = self.submit()
        if isinstance(submitted, list):
            await asyncray.get(submitted)
        else:
            await submitted

    def run_blocking(self) -> None:
        sync.get(self.submit())


@contextmanager
def _stuck_after(seconds: float) -> Iterator[None]:
    """Raises TimeoutError in the main thread, which blocks in locks that nothing but a signal interrupts."""

    def stuck(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"it did not end within {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, stuck)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
