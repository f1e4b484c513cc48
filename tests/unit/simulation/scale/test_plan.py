"""Sizes of clusters, and who does how much."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncray.simulation.scale.plan import Plan, shares, usual_drivers


@given(st.integers(0, 10_000), st.integers(1, 100))
def test_shares_are_all_there_is_and_nearly_equal(total: int, parts: int) -> None:
    found = shares(total, parts)
    assert (sum(found), len(found)) == (total, parts)
    assert max(found) - min(found) <= 1


def test_a_cluster_needs_a_node_and_a_driver() -> None:
    for nodes, drivers in ((0, 1), (1, 0)):
        with pytest.raises(ValueError, match="must be 1 or more"):
            Plan(nodes=nodes, actors=0, tasks=0, drivers=drivers)


def test_even_the_smallest_cluster_has_a_driver() -> None:
    assert [usual_drivers(nodes) for nodes in (1, 100, 2000)] == [1, 2, 40]
