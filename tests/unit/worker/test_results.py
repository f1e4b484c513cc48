"""What of the results of a call travels in its message, and what goes to the store."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from asyncray.config import Config
from asyncray.worker.results import to_be_stored

CONFIG = Config(inline_limit=10_000, frame_target=100_000, frame_limit=1_000_000)


def test_large_values_are_stored_and_small_ones_travel() -> None:
    assert to_be_stored([10, 10_001, 10_000], CONFIG) == {1}


def test_when_small_values_are_too_many_the_largest_are_stored() -> None:
    assert to_be_stored([9_000, 5_000] * 8, CONFIG) == {0, 2}


def test_tiny_values_travel_however_many_they_are() -> None:
    assert to_be_stored([40] * 3_000, CONFIG) == set()
    assert to_be_stored([4_000] * 100 + [9_000] * 3, CONFIG) == {100, 101, 102}


def test_only_the_limit_of_a_frame_makes_tiny_values_stay_behind() -> None:
    assert len(to_be_stored([4_000] * 200, CONFIG)) == 75


@given(st.lists(st.integers(1, 20_000)))
def test_what_travels_fits_a_frame(sizes: list[int]) -> None:
    stored = to_be_stored(sizes, CONFIG)
    travel = [size for index, size in enumerate(sizes) if index not in stored]
    assert sum(travel) <= CONFIG.frame_limit // 2
    assert all(size <= CONFIG.inline_limit for size in travel)
    assert not travel or not stored or max(travel) <= max(sizes[index] for index in stored)
