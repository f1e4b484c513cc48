"""A node's account of what is free."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncray.node.lease_queue import Allocation, NodeResources
from asyncray.resources import UNITS, Resources, to_units


def node(**amounts: float) -> NodeResources:
    return NodeResources(to_units(amounts))


def allocate(resources: NodeResources, **amounts: float) -> Allocation:
    allocation = resources.allocate(to_units(amounts))
    assert allocation is not None
    return allocation


def test_fractions_add_up_exactly() -> None:
    resources = node(CPU=1)
    for _ in range(10):
        allocate(resources, CPU=0.1)
    assert resources.available["CPU"] == 0
    assert resources.allocate(to_units({"CPU": 0.0001})) is None


def test_what_does_not_fit_takes_nothing() -> None:
    resources = node(CPU=2, memory=10)
    assert resources.allocate(to_units({"CPU": 1, "memory": 11})) is None
    assert resources.available == to_units({"CPU": 2, "memory": 10})


def test_what_the_node_has_not_does_not_fit() -> None:
    assert node(CPU=1).allocate(to_units({"accelerator": 1})) is None


def test_released_resources_can_be_taken_again() -> None:
    resources = node(CPU=1, GPU=1)
    resources.release(allocate(resources, CPU=1, GPU=1))
    assert allocate(resources, CPU=1, GPU=1).instances == {"GPU": [0]}


def test_whole_gpus_are_different_ones() -> None:
    resources = node(GPU=4)
    first = allocate(resources, GPU=2).instances["GPU"]
    second = allocate(resources, GPU=2).instances["GPU"]
    assert sorted(first + second) == [0, 1, 2, 3]


def test_shares_of_a_gpu_are_packed_so_that_whole_ones_stay_free() -> None:
    resources = node(GPU=2)
    shares = [allocate(resources, GPU=0.25).instances["GPU"] for _ in range(4)]
    assert shares == [[0]] * 4
    assert allocate(resources, GPU=1).instances["GPU"] == [1]


def test_a_share_goes_where_it_leaves_the_least() -> None:
    resources = node(GPU=2)
    allocate(resources, GPU=0.5)
    allocate(resources, GPU=0.7)
    assert allocate(resources, GPU=0.3).instances["GPU"] == [1]


def test_free_shares_of_different_gpus_are_not_one_gpu() -> None:
    resources = node(GPU=2)
    allocate(resources, GPU=0.6)
    allocate(resources, GPU=0.6)
    assert resources.available["GPU"] == to_units({"GPU": 0.8})["GPU"]
    assert resources.allocate(to_units({"GPU": 0.5})) is None
    assert resources.lacks(to_units({"GPU": 0.5})) == {"GPU"}


def test_a_node_may_offer_a_part_of_its_last_gpu() -> None:
    resources = node(GPU=1.5)
    assert allocate(resources, GPU=1).instances["GPU"] == [0]
    assert allocate(resources, GPU=0.5).instances["GPU"] == [1]


def test_a_blocked_worker_gives_its_cpu_to_others_and_nothing_else() -> None:
    resources = node(CPU=1, GPU=1)
    allocation = allocate(resources, CPU=1, GPU=1)
    resources.block(allocation)
    assert resources.available == {"CPU": UNITS, "GPU": 0}
    assert (allocation.holds("CPU"), allocation.holds("GPU")) == (0, UNITS)


def test_a_worker_that_resumes_takes_its_cpu_back_at_once() -> None:
    resources = node(CPU=1)
    parent = allocate(resources, CPU=1)
    resources.block(parent)
    child = allocate(resources, CPU=1)
    resources.unblock(parent)
    assert resources.available["CPU"] == -UNITS
    resources.release(child)
    resources.release(parent)
    assert resources.available["CPU"] == UNITS


def test_blocking_twice_frees_the_cpu_once() -> None:
    resources = node(CPU=1)
    allocation = allocate(resources, CPU=1)
    for _ in range(2):
        resources.block(allocation)
    assert resources.available["CPU"] == UNITS
    for _ in range(2):
        resources.unblock(allocation)
    assert resources.available["CPU"] == 0


def test_a_blocked_worker_that_dies_gives_its_cpu_back_once() -> None:
    resources = node(CPU=1, memory=1)
    allocation = allocate(resources, CPU=1, memory=1)
    resources.block(allocation)
    resources.release(allocation)
    assert resources.available == resources.total


@pytest.mark.parametrize(
    ("demand", "lacking"),
    [({"CPU": 1}, set()), ({"CPU": 3}, {"CPU"}), ({"CPU": 3, "memory": 9, "GPU": 1}, {"CPU", "memory"})],
)
def test_it_says_what_a_demand_waits_for(demand: dict[str, float], lacking: set[str]) -> None:
    assert node(CPU=2, memory=4, GPU=1).lacks(to_units(demand)) == lacking


demands = st.fixed_dictionaries(
    {}, optional={"CPU": st.sampled_from([0.5, 1, 2]), "GPU": st.sampled_from([0.25, 0.5, 0.7, 1, 2])}
)


@given(st.lists(st.tuples(demands, st.integers(0, 10), st.sampled_from(["release", "block", "unblock"]))))
def test_any_sequence_keeps_every_gpu_within_its_bounds_and_gives_all_back(
    steps: list[tuple[dict[str, float], int, str]],
) -> None:
    resources = node(CPU=4, GPU=3)
    live: list[Allocation] = []
    for amounts, which, action in steps:
        demand: Resources = to_units(amounts)
        allocation = resources.allocate(demand)
        if allocation is not None:
            live.append(allocation)
        if live:
            chosen = live[which % len(live)]
            getattr(resources, action)(chosen)
            if action == "release":
                live.remove(chosen)
        used = [0] * 3
        for allocation in live:
            for index in allocation.instances.get("GPU", []):
                used[index] += min(allocation.demand["GPU"], UNITS)
        assert all(share <= UNITS for share in used)
        assert resources.available["GPU"] == 3 * UNITS - sum(used)
    for allocation in live:
        resources.release(allocation)
    assert resources.available == resources.total
