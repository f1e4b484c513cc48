"""What is known where a step of a program is written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from asyncray.simulation.workload.program import Item
from asyncray.simulation.workload.shape import Shape, items_of

_T = TypeVar("_T")


@dataclass
class Scope:
    """What the steps of a body, or of one of its branches, know."""

    variables: dict[int, Shape] = field(default_factory=dict)
    own: list[int] = field(default_factory=list)
    """Variables that were bound here."""
    cancellable: list[int] = field(default_factory=list)
    mortal: list[int] = field(default_factory=list)
    """Variables with actors that may be killed."""
    slots: dict[tuple[int, int], Shape] = field(default_factory=dict)
    """What actors keep, by variable and slot."""
    own_slots: list[tuple[int, int]] = field(default_factory=list)

    def branch(self) -> Scope:
        return Scope(dict(self.variables), slots=dict(self.slots))

    def join(self, branch: Scope) -> None:
        for variable in branch.own:
            self.bind(variable, branch.variables[variable])
        self.cancellable += branch.cancellable
        self.mortal += branch.mortal
        for place in branch.own_slots:
            self.slots[place] = branch.slots[place]
            self.own_slots.append(place)

    def bind(self, variable: int, shape: Shape) -> None:
        self.variables[variable] = shape
        self.own.append(variable)

    def drop(self, variable: int) -> None:
        del self.variables[variable]
        for known in (self.own, self.cancellable, self.mortal):
            if variable in known:
                known.remove(variable)
        for place in [place for place in self.slots if place[0] == variable]:
            self.remove_slot(place)

    def remove_slot(self, place: tuple[int, int]) -> None:
        del self.slots[place]
        if place in self.own_slots:
            self.own_slots.remove(place)

    def items(self, kind: type[_T]) -> list[tuple[Item, _T]]:
        """Every value of that shape that can be named."""
        return [
            (item, shape)
            for variable, whole in self.variables.items()
            for item, shape in items_of(variable, whole)
            if isinstance(shape, kind)
        ]
