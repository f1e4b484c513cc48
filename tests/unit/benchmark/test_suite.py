"""Which rows are measured, and what is made of the samples."""

from __future__ import annotations

from typing import ClassVar

import pytest

from asyncray.benchmark.row import Plan, Row
from asyncray.benchmark.suite import ROWS, Result, choose, measure

NAMES = [row.name for row in ROWS]


class Fast(Row):
    name = "fast"
    goal = 100

    def samples(self, plan: Plan) -> list[float]:
        return [100.0 * number for number in range(1, plan.repetitions + 1)]


class Small(Row):
    name = "small"
    unit = "MB"
    goal = 90
    less_is_better = True

    def samples(self, plan: Plan) -> list[float]:
        return [180.0]


class Broken(Row):
    name = "broken"

    def samples(self, plan: Plan) -> list[float]:
        raise TimeoutError("it did not end")


class Numeric(Row):
    name = "numeric"
    needs_numpy: ClassVar[bool] = True

    def samples(self, plan: Plan) -> list[float]:
        raise AssertionError("it is left out")


def names(*patterns: str, long: bool = False) -> list[str]:
    return [row.name for row in choose(patterns, long)]


def test_every_row_has_a_name_of_its_own() -> None:
    assert len(set(NAMES)) == len(NAMES)


def test_without_patterns_all_rows_are_measured_but_the_long_ones() -> None:
    assert names() == [row.name for row in ROWS if not row.long]
    assert names(long=True) == NAMES


def test_a_pattern_is_looked_for_anywhere_in_the_name() -> None:
    assert names("TASKS SYNC") == ["single client tasks sync"]
    assert names("1:1*sync", "shutdown") == [
        "1:1 actor calls sync",
        "1:1 actor calls async",
        "1:1 async-actor calls sync",
        "1:1 async-actor calls async",
        "1:1 async-actor calls with args async",
        "shutdown",
    ]
    assert names("nonsense") == []


def test_a_long_row_is_measured_when_it_is_named() -> None:
    assert names("queued tasks") == ["10,000 queued tasks", "10,000 queued tasks: driver memory per task"]
    assert "1,000,000 queued tasks" in names("1,000,000 queued tasks")
    assert len(names("queued tasks", long=True)) == 4


def test_a_row_that_fails_does_not_keep_the_others_from_their_turn() -> None:
    broken, fast = measure([Broken, Fast], Plan(repetitions=3))
    assert (broken.failed, broken.problem, broken.ratio) == (True, "TimeoutError: it did not end", None)
    assert broken.as_data()["problem"] == "TimeoutError: it did not end"
    assert (fast.failed, fast.mean, fast.ratio) == (False, 200, 2)
    assert fast.deviation == pytest.approx(81.65, abs=0.01)


def test_where_less_is_better_the_ratio_to_the_goal_is_turned() -> None:
    (small,) = measure([Small], Plan())
    assert small.ratio == 0.5
    assert small.as_data() == {
        "name": "small",
        "unit": "MB",
        "goal": 90,
        "less_is_better": True,
        "mean": 180,
        "deviation": 0,
        "ratio_to_goal": 0.5,
        "samples": [180],
    }


def test_a_row_that_needs_what_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (numeric,) = measure([Numeric], Plan())
    assert not numeric.failed
    assert numeric.problem == "numpy is not installed"


def test_a_row_without_a_goal_has_no_ratio() -> None:
    assert Result(Numeric, [1.0]).ratio is None
