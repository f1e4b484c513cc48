"""Whose worker is ended when memory runs short, and when."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncray.node.memory_pressure import Candidate, MemoryPressure, choose

PAUSE, PATIENCE = 0.25, 5.0


def task(name: str, since: float, *, retriable: bool = True) -> Candidate:
    return Candidate(name.encode(), name, since, retriable)


def actor(name: str, since: float, *, retriable: bool = False) -> Candidate:
    return Candidate(name.encode(), name, since, retriable, is_actor=True)


@pytest.mark.parametrize(
    ("candidates", "chosen"),
    [
        ([task("old", 1), task("new", 3), task("middle", 2)], "new"),
        ([task("old", 1), task("newest, but not retriable", 2, retriable=False)], "old"),
        ([task("old", 1, retriable=False), task("new", 2, retriable=False)], "new"),
        ([task("not retriable", 1, retriable=False), actor("newer", 2, retriable=True)], "not retriable"),
        ([actor("newest", 3), actor("restartable", 1, retriable=True)], "restartable"),
        ([actor("old", 1), actor("new", 2)], "new"),
    ],
)
def test_the_one_whose_end_costs_least_is_chosen(candidates: list[Candidate], chosen: str) -> None:
    for order in (candidates, candidates[::-1]):
        found = choose(order)
        assert found is not None
        assert found.name == chosen


def test_nobody_is_chosen_of_nobody() -> None:
    assert choose([]) is None


def test_below_the_threshold_nobody_is_ended() -> None:
    pressure = MemoryPressure(0.95, PAUSE, PATIENCE)
    assert not pressure.look(0.0, 0.95)
    assert pressure.look(0.0, 0.951)


def test_after_an_end_memory_is_looked_at_anew() -> None:
    pressure = MemoryPressure(0.95, PAUSE, PATIENCE)
    pressure.end(1.0, b"one")
    assert not pressure.look(2.0, 0.99)
    pressure.ended(2.0, b"one")
    assert not pressure.look(2.0 + PAUSE - 0.01, 0.99)
    assert pressure.look(2.0 + PAUSE, 0.99)


def test_the_end_of_another_worker_is_not_what_is_waited_for() -> None:
    pressure = MemoryPressure(0.95, PAUSE, PATIENCE)
    pressure.end(1.0, b"one")
    pressure.ended(1.1, b"another")
    assert not pressure.look(2.0, 0.99)


def test_a_worker_that_does_not_end_is_not_waited_for_without_end() -> None:
    pressure = MemoryPressure(0.95, PAUSE, PATIENCE)
    pressure.end(1.0, b"one")
    assert not pressure.look(1.0 + PATIENCE - 0.01, 0.99)
    assert pressure.look(1.0 + PATIENCE, 0.99)


workers = st.builds(
    Candidate,
    process_id=st.binary(min_size=4, max_size=4),
    name=st.just("task"),
    since=st.floats(0, 100),
    retriable=st.booleans(),
    is_actor=st.booleans(),
)
events = st.lists(st.tuples(st.sampled_from(["look", "ends"]), st.floats(0, 2), st.floats(0, 1)), max_size=40)


@given(st.lists(workers, min_size=1, unique_by=lambda one: one.process_id))
def test_no_other_would_have_been_a_smaller_loss(candidates: list[Candidate]) -> None:
    chosen = choose(candidates)
    assert chosen in candidates
    assert chosen is not None
    for other in candidates:
        if chosen.is_actor:
            assert other.is_actor
        if other.is_actor == chosen.is_actor:
            assert chosen.retriable or not other.retriable
            if other.retriable == chosen.retriable:
                assert chosen.since >= other.since


@given(events)
def test_whatever_happens_one_is_ended_at_a_time_and_never_below_the_threshold(
    steps: list[tuple[str, float, float]],
) -> None:
    pressure = MemoryPressure(0.5, PAUSE, PATIENCE)
    now, ending, told, last_end = 0.0, False, 0.0, -1.0
    for step, passes, share in steps:
        now += passes
        if step == "ends" and ending:
            pressure.ended(now, b"worker")
            ending, last_end = False, now
        elif step == "look" and pressure.look(now, share):
            assert share > 0.5
            assert not ending or now >= told + PATIENCE
            assert now >= last_end + PAUSE or last_end < 0
            pressure.end(now, b"worker")
            ending, told = True, now
    assert ending or pressure.look(now + PAUSE, 1.0)
