"""Logical resources in fixed-point units, so that sums of fractions are exact."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Final

UNITS: Final = 10_000
"""Units per 1.0 of a resource: the smallest share is 0.0001."""

LARGEST: Final = 1e14
"""The largest amount: its units still fit the 64 bits that messages have for a number."""

Resources = dict[str, int]
"""Amounts by name, in units of 0.0001; a name that is absent stands for zero."""


def to_units(amounts: Mapping[str, float]) -> Resources:
    """Converts user amounts, dropping zeros.

    Raises ValueError for what is not a number, a negative amount, or one finer than 0.0001.
    """
    units: Resources = {}
    for name, amount in amounts.items():
        if not isinstance(amount, Real) or not abs(amount) <= LARGEST:
            raise ValueError(f"resource {name!r} must be a number up to {LARGEST:g}, got {amount!r}")
        exact = amount * UNITS
        rounded = round(exact)
        if amount < 0:
            raise ValueError(f"resource {name!r} cannot be negative, got {amount}")
        if abs(exact - rounded) > 1e-6 * max(1.0, abs(exact)):
            raise ValueError(f"resource {name!r} is counted in steps of {1 / UNITS}, got {amount}")
        if rounded:
            units[name] = rounded
    return units


def to_amounts(units: Mapping[str, int]) -> dict[str, float]:
    """The inverse of `to_units`, for people."""
    return {name: amount / UNITS for name, amount in units.items()}


def in_words(units: Mapping[str, int]) -> str:
    """`1 CPU, 0.5 gadget`: all that is not zero, in the order of the names."""
    return ", ".join(f"{amount / UNITS:g} {name}" for name, amount in sorted(units.items()) if amount) or "nothing"


def fits(demand: Mapping[str, int], supply: Mapping[str, int]) -> bool:
    """Whether `supply` covers every resource of `demand`."""
    for name, amount in demand.items():  # noqa: SIM110 - a plain loop: half the time of `all`, and this is asked for each node
        if supply.get(name, 0) < amount:
            return False
    return True


def take(supply: Resources, demand: Mapping[str, int]) -> None:
    """Subtracts `demand` in place. May go below zero: a worker that resumes takes its CPU back at once."""
    for name, amount in demand.items():
        supply[name] = supply.get(name, 0) - amount


def give(supply: Resources, demand: Mapping[str, int]) -> None:
    """Adds `demand` in place."""
    for name, amount in demand.items():
        supply[name] = supply.get(name, 0) + amount
