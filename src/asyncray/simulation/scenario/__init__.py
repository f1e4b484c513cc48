"""Scenarios: short stories of a simulated cluster as text files, with what is expected to happen after each command.

`file.py` is the format, `commands/` what can be commanded, `run.py` runs a file and gives back its text with what
really happened. Files of the project: `tests/sim/scenarios/`.
"""

from asyncray.simulation.scenario.errors import ScenarioError
from asyncray.simulation.scenario.file import Block, Scenario, read_scenario
from asyncray.simulation.scenario.run import replay

__all__ = ["Block", "Scenario", "ScenarioError", "read_scenario", "replay"]
