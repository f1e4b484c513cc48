"""What runs programs, as far as no cluster is needed."""

from __future__ import annotations

import asyncio

import pytest

from asyncray.errors import capture
from asyncray.simulation.workload.observation import WorkloadError, data_of, data_of_error
from asyncray.simulation.workload.program import Body, Constant, Item, Listed, Raise, Sleep
from asyncray.simulation.workload.remotes import PlainActor, run_plain
from asyncray.simulation.workload.surroundings import finish_at_once, instrumented


def test_plain_code_returns_its_values_sleeps_as_told_and_is_counted() -> None:
    slept: list[float] = []
    with instrumented(slept.append) as executions:
        returned = run_plain(Body(1, (Sleep(2, 0.5),), (Item(0), Listed((Constant(4),)))), 3)
    assert returned == [3, [4]]
    assert slept == [0.5]
    assert executions == {1: 1}


def test_a_body_raises_the_error_of_its_step() -> None:
    with pytest.raises(WorkloadError, match="2"):
        run_plain(Body(1, (Raise(2),)))


def test_methods_are_counted_by_the_key_of_their_call() -> None:
    with instrumented(lambda _: None) as executions:
        actor = PlainActor(1, False, 5, [])
        assert [actor.add(2, 9), actor.add(3, 9), actor.started(4)] == [[1, 9], [2, 9], 5]
    assert executions == {1: 1, 2: 1, 3: 1, 4: 1}


def test_plain_code_that_suspends_is_a_mistake() -> None:
    with pytest.raises(RuntimeError, match="suspended"):
        finish_at_once(asyncio.sleep(0))


def test_the_users_error_is_what_counts_of_a_task_error() -> None:
    caught = capture(WorkloadError(7), "task", 1, "node")
    assert data_of_error(caught) == [
        "error",
        "asyncray.simulation.workload.observation.WorkloadError",
        "7",
        True,
    ]
    assert data_of_error(KeyError(1))[1] == "KeyError"


def test_values_of_other_types_match_nothing() -> None:
    assert data_of((1, 2)) == "tuple (1, 2)"
    assert data_of(b"aab") == ["bytes", 3, "damaged"]
