"""Rows: many tasks submitted at once. Neither time nor memory per task may grow with their number."""

from __future__ import annotations

from functools import lru_cache
from typing import ClassVar

from asyncray.benchmark.probe_process import started_probe
from asyncray.benchmark.row import Plan, Row

FEW = 10_000
MANY = 1_000_000


@lru_cache
def _figures(tasks: int, plan: Plan, limit: float) -> dict[str, float]:
    """One run serves for both figures: with many tasks it takes a while."""
    with started_probe("queue", plan, "--tasks", str(tasks), timeout=limit) as probe:
        return probe.figures()


class _Rate(Row):
    goal = 25_000
    tasks: ClassVar[int]

    def samples(self, plan: Plan) -> list[float]:
        return [_figures(self.tasks, plan, self.limit)["tasks_per_second"]]


class _Memory(Row):
    unit = "bytes"
    goal = 1_500
    less_is_better = True
    tasks: ClassVar[int]

    def samples(self, plan: Plan) -> list[float]:
        return [_figures(self.tasks, plan, self.limit)["bytes_per_task"]]


class FewRate(_Rate):
    name = "10,000 queued tasks"
    tasks = FEW


class FewMemory(_Memory):
    name = "10,000 queued tasks: driver memory per task"
    tasks = FEW


class ManyRate(_Rate):
    name = "1,000,000 queued tasks"
    tasks = MANY
    long = True
    limit = 900.0


class ManyMemory(_Memory):
    name = "1,000,000 queued tasks: driver memory per task"
    tasks = MANY
    long = True
    limit = 900.0


ROWS = (FewRate, FewMemory, ManyRate, ManyMemory)
