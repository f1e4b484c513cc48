"""Runs programs on a cluster, through the public API only."""

from __future__ import annotations

from asyncray.simulation.workload.interpreter import Interpreter
from asyncray.simulation.workload.observation import Observations
from asyncray.simulation.workload.program import Program
from asyncray.simulation.workload.remotes import ClusterRemotes
from asyncray.simulation.workload.surroundings import Awaiting


async def run_program(program: Program, driver_number: int = 0) -> Observations:
    """Runs one of the drivers of a program in this process, which has called `init`.

    Waits for all that the program still refers to in the end, then lets go of it. No error of the cluster is raised:
    each is an observation.
    """
    entries = await Interpreter(Awaiting(), ClusterRemotes()).run_driver(program.drivers[driver_number])
    return Observations(driver_number, tuple(entries))
