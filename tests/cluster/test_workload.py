"""Random programs on real processes: what runs them and what models them agree, without the simulator."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from asyncray.simulation.workload.check import check
from asyncray.simulation.workload.program import Program
from asyncray.simulation.workload.run import run_program

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("shared_cluster")]

OPERATIONS = 40
PATIENCE = 20.0
"""Seconds in which a program must end: a hundred times what it takes."""


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
