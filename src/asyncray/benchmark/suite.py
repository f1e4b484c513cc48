"""All rows, which of them to measure, and what became of each."""

from __future__ import annotations

import fnmatch
import importlib.util
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from asyncray.benchmark import actors, footprint, nodes, objects, queued_tasks, tasks
from asyncray.benchmark.row import Plan, Row

ROWS: tuple[type[Row], ...] = (
    *objects.ROWS,
    *nodes.ROWS,
    *tasks.ROWS,
    *actors.ROWS,
    *queued_tasks.ROWS,
    *footprint.ROWS,
)


@dataclass(frozen=True, slots=True)
class Result:
    """What was measured; without samples, why nothing was."""

    row: type[Row]
    samples: list[float]
    problem: str = ""
    failed: bool = False

    @property
    def mean(self) -> float:
        return statistics.fmean(self.samples)

    @property
    def deviation(self) -> float:
        return statistics.pstdev(self.samples)

    @property
    def ratio(self) -> float | None:
        return self.row().ratio(self.mean) if self.samples else None

    def as_data(self) -> dict[str, Any]:
        """For JSON."""
        data: dict[str, Any] = {
            "name": self.row.name,
            "unit": self.row.unit,
            "goal": self.row.goal,
            "less_is_better": self.row.less_is_better,
        }
        if not self.samples:
            return {**data, "problem": self.problem}
        return {
            **data,
            "mean": self.mean,
            "deviation": self.deviation,
            "ratio_to_goal": self.ratio,
            "samples": self.samples,
        }


def choose(patterns: Sequence[str], long: bool) -> list[type[Row]]:
    """The rows whose name has one of the patterns in it (`*` and `?` are wildcards); without patterns, all.

    Long ones are left out unless `long` is set, or a pattern is the whole name.
    """

    def matches(row: type[Row]) -> bool:
        name = row.name.lower()
        named = any(fnmatch.fnmatchcase(name, pattern.lower()) for pattern in patterns)
        found = not patterns or any(fnmatch.fnmatchcase(name, f"*{pattern.lower()}*") for pattern in patterns)
        return named or (found and (long or not row.long))

    return [row for row in ROWS if matches(row)]


def measure(rows: Sequence[type[Row]], plan: Plan) -> Iterator[Result]:
    """Measures one after the other; one that fails does not keep the rest from their turn."""
    for row in rows:
        if row.needs_numpy and importlib.util.find_spec("numpy") is None:
            yield Result(row, [], "numpy is not installed")
            continue
        try:
            samples = row().samples(plan)
        except Exception as error:
            yield Result(row, [], f"{type(error).__name__}: {error}".rstrip(": "), failed=True)
        else:
            yield Result(row, samples)
