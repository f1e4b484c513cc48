"""Random programs on real processes: what runs them and what models them agree, without the simulator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from random import Random

import pytest
import pytest_asyncio

import asyncray
from asyncray.simulation.workload.check import check
from asyncray.simulation.workload.program import CPUS, SEATS, TOKENS, Program
from asyncray.simulation.workload.run import run_program

from ..conftest import Surroundings, check_nothing_left
from .conftest import comes_to_rest

pytestmark = pytest.mark.asyncio(loop_scope="module")

OPERATIONS = 40
PATIENCE = 20.0
"""Seconds in which a program must end: a hundred times what it takes."""


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def shared_cluster(module_surroundings: Surroundings) -> AsyncIterator[None]:
    """Has all that programs ask for."""
    async with asyncray.init(num_cpus=CPUS, resources=dict((TOKENS, SEATS))):
        yield
        await comes_to_rest()
    await check_nothing_left(module_surroundings)


async def wrong_of(program: Program) -> list[str]:
    """What its drivers, all in this process, have observed that the model has not expected."""
    async with asyncio.timeout(PATIENCE):
        drivers = range(len(program.drivers))
        observed = await asyncio.gather(*(run_program(program, number) for number in drivers))
    return [sentence for one in observed for sentence in check(program, one, faults=False)]


@pytest.mark.parametrize("seed", range(12))
async def test_a_program_observes_what_its_model_expects(seed: int) -> None:
    program = Program.random(Random(seed), OPERATIONS, large_values=seed % 2 == 1)
    assert await wrong_of(program) == [], f"seed {seed}:\n{program!r}"


@pytest.mark.parametrize("seed", range(12, 15))
async def test_programs_that_run_at_the_same_time_do_not_disturb_each_other(seed: int) -> None:
    program = Program.random(Random(seed), OPERATIONS, drivers=3)
    assert await wrong_of(program) == [], f"seed {seed}:\n{program!r}"
