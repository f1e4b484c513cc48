"""What a scenario can command: one file for each theme, one function for each command."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from asyncray.simulation.scenario.commands import actors, disks, faults, inspection, members, references, tasks, time
from asyncray.simulation.scenario.commands.kind import Action, Kind
from asyncray.simulation.scenario.errors import ScenarioError

ALL: Final[tuple[Kind, ...]] = (
    *members.KINDS,
    *tasks.KINDS,
    *actors.KINDS,
    *references.KINDS,
    *time.KINDS,
    *faults.KINDS,
    *disks.KINDS,
    *inspection.KINDS,
)


def read_command(text: str) -> Action:
    """What the line of a scenario does. Raises ScenarioError, which names what could have been meant."""
    for kind in ALL:
        if (action := kind.read(text)) is not None:
            return action
    first = text.split()[0]
    similar = [kind.usage for kind in ALL if kind.usage.split()[0] == first]
    if similar:
        raise ScenarioError(f"{text!r} does not read as {_list(similar)}")
    raise ScenarioError(f"unknown command {first!r}; there are:{''.join(_lines())}")


def _lines() -> Iterator[str]:
    for kind in ALL:
        yield f"\n    {kind.usage}"


def _list(usages: list[str]) -> str:
    return " or ".join(map(repr, usages))
