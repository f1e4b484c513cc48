"""Tasks whose worker was ended for memory: each runs again, but not at once, for what filled the memory may still be
there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from asyncray.config import Config
from asyncray.worker.task import PendingTask


class Postponed:
    """Calls `resume` with each task when its time has come."""

    def __init__(self, loop: asyncio.AbstractEventLoop, config: Config, resume: Callable[[PendingTask], None]) -> None:
        self._loop = loop
        self._config = config
        self._resume = resume
        self._timers: dict[PendingTask, asyncio.TimerHandle] = {}

    def __iter__(self) -> Iterator[PendingTask]:
        return iter(list(self._timers))

    def add(self, task: PendingTask) -> float:
        """Returns the seconds that it waits: twice as long for each retry that it has used up."""
        used = max(task.template.max_retries - task.retries - 1, 0)
        config = self._config
        # Not a power of a large number: a task may be retried without end.
        delay = min(config.memory_retry_delay * (1 << min(used, 20)), config.memory_retry_delay_limit)
        self._timers[task] = self._loop.call_later(delay, self._over, task)
        return delay

    def drop(self, task: PendingTask) -> bool:
        """The task was cancelled. Whether it was here."""
        timer = self._timers.pop(task, None)
        if timer is not None:
            timer.cancel()
        return timer is not None

    def close(self) -> None:
        """The process leaves the cluster."""
        for task in list(self._timers):
            self.drop(task)

    def _over(self, task: PendingTask) -> None:
        del self._timers[task]
        self._resume(task)
