"""Amounts of resources in fixed point."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncray.resources import UNITS, Resources, fits, give, take, to_amounts, to_units


def test_a_tenth_taken_ten_times_is_exactly_one() -> None:
    supply = to_units({"CPU": 1})
    for _ in range(10):
        take(supply, to_units({"CPU": 0.1}))
    assert supply == {"CPU": 0}


def test_the_smallest_share_is_a_ten_thousandth() -> None:
    assert to_units({"CPU": 0.0001}) == {"CPU": 1}
    with pytest.raises(ValueError, match=r"'CPU' is counted in steps of 0\.0001, got 5e-05"):
        to_units({"CPU": 0.00005})


@pytest.mark.parametrize("amount", [0.3, 0.7, 1.1, 2.0003, 1e6 + 0.1, 1 / 4])
def test_amounts_that_floats_only_approximate_are_taken_as_meant(amount: float) -> None:
    assert to_amounts(to_units({"CPU": amount}))["CPU"] == pytest.approx(amount, abs=1e-9)


def test_bytes_of_memory_are_exact() -> None:
    assert to_units({"memory": 2**45 + 1})["memory"] == (2**45 + 1) * UNITS


def test_negative_amounts_are_refused() -> None:
    with pytest.raises(ValueError, match="'GPU' cannot be negative, got -1"):
        to_units({"GPU": -1})


@pytest.mark.parametrize("amount", [float("nan"), float("inf")])
def test_amounts_that_are_no_numbers_are_refused(amount: float) -> None:
    with pytest.raises((ValueError, OverflowError)):
        to_units({"GPU": amount})


def test_zeros_are_dropped() -> None:
    assert to_units({"CPU": 0, "GPU": 1}) == {"GPU": UNITS}


def test_a_demand_fits_when_every_resource_does() -> None:
    supply = to_units({"CPU": 2, "GPU": 1})
    assert fits(to_units({"CPU": 2, "GPU": 1}), supply)
    assert fits({}, supply)
    assert not fits(to_units({"CPU": 2.0001}), supply)
    assert not fits(to_units({"CPU": 1, "disk": 1}), supply)


def test_a_demand_of_zero_fits_where_there_is_none() -> None:
    assert fits({"disk": 0}, {})


def test_taking_may_overdraw() -> None:
    supply: Resources = {}
    take(supply, {"CPU": 3})
    assert supply == {"CPU": -3}


amounts = st.dictionaries(st.sampled_from(["CPU", "GPU", "memory"]), st.integers(0, 10**9))


@given(amounts, amounts)
def test_what_is_given_back_is_what_was_taken(supply: Resources, demand: Resources) -> None:
    before = dict(supply)
    fitted = fits(demand, supply)
    take(supply, demand)
    assert fitted == all(amount >= 0 for name, amount in supply.items() if name in demand)
    give(supply, demand)
    assert {name: amount for name, amount in supply.items() if amount or name in before} == before
