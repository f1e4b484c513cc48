"""How growth is fitted, and from which runs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncray.simulation.scale.growth import exponent, growths, plans_of_growth
from asyncray.simulation.scale.measure import Figures
from asyncray.simulation.scale.plan import Plan

FIGURES = Figures(
    nodes=1,
    actors=1,
    tasks=1,
    drivers=1,
    actor_calls=1,
    processes=1,
    joined_after=1.0,
    makespan=1.0,
    messages_per_task=1.0,
    bytes_per_task=1.0,
    control_messages_in=1.0,
    control_messages_out=1.0,
    control_bytes_in=1.0,
    control_bytes_out=1.0,
    control_share=0.5,
    callbacks=1,
    real_seconds=1.0,
    peak_memory=1,
)


@given(st.floats(-2, 3), st.floats(0.01, 1e6))
def test_the_exponent_of_a_power_is_found(power: float, factor: float) -> None:
    sizes = [1, 2, 4, 8]
    assert exponent(sizes, [factor * size**power for size in sizes]) == pytest.approx(power, abs=1e-6)


def test_what_is_zero_everywhere_does_not_grow() -> None:
    assert exponent([1, 2, 4], [0, 0, 0]) == 0


def test_what_grows_faster_than_linearly_is_marked() -> None:
    runs = [replace(FIGURES, nodes=size, control_bytes_out=size**2, callbacks=size) for size in (1, 2, 4, 8)]
    marked = [growth.quantity.name for growth in growths(runs) if growth.too_fast]
    assert marked == ["control plane: bytes out/s"]


def test_what_a_task_costs_should_not_grow_at_all() -> None:
    runs = [replace(FIGURES, nodes=size, messages_per_task=size**0.5) for size in (1, 2, 4, 8)]
    assert [growth.quantity.name for growth in growths(runs) if growth.too_fast] == ["messages per task or call"]


def test_smaller_clusters_have_as_much_work_for_each_node() -> None:
    plans = plans_of_growth(Plan(nodes=80, actors=800, tasks=8000, drivers=8))
    assert [(plan.nodes, plan.actors, plan.tasks, plan.drivers) for plan in plans] == [
        (10, 100, 1000, 1),
        (20, 200, 2000, 2),
        (40, 400, 4000, 4),
        (80, 800, 8000, 8),
    ]


def test_growth_needs_at_least_eight_nodes() -> None:
    with pytest.raises(ValueError, match="7 nodes are too few"):
        plans_of_growth(Plan(nodes=7, actors=0, tasks=1, drivers=1))
