"""Which task the current code belongs to: the parent of what it submits, and of the ids of what it puts."""

from __future__ import annotations

import itertools
from contextvars import ContextVar


class TaskContext:
    """One running task, or the driver's program as a whole. Safe to use from any thread."""

    __slots__ = ("_puts", "_submissions", "actor_id", "job_id", "instances", "name", "task_id")

    def __init__(
        self,
        task_id: bytes,
        job_id: bytes,
        name: str,
        actor_id: bytes | None = None,
        instances: dict[str, list[int]] | None = None,
    ) -> None:
        self.task_id = task_id
        self.job_id = job_id
        self.name = name
        self.actor_id = actor_id
        self.instances = instances or {}
        """Indices of the GPUs assigned, by resource name."""
        self._submissions = itertools.count()
        self._puts = itertools.count()

    @property
    def caller(self) -> bytes:
        """Who it is that calls actors: an actor's methods are one caller, in whichever call of it they run."""
        return self.actor_id or self.task_id

    def next_submission(self) -> int:
        return next(self._submissions)

    def next_put(self) -> int:
        return next(self._puts)


current_task: ContextVar[TaskContext | None] = ContextVar("asyncray_current_task", default=None)
"""None outside of a task: then the runtime's root context is meant."""
