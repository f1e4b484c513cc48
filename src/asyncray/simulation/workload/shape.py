"""The shapes of values, as far as they can be told from a program's text: where lists, references and handles are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from asyncray.simulation.workload.program import Form, Item

DEEPEST: Final = 3
"""How far into lists expressions reach."""


@dataclass(frozen=True, slots=True)
class Plain:
    """No lists that expressions may reach into, no references."""

    size: int = 1


@dataclass(frozen=True, slots=True)
class Reference:
    value: Shape

    @property
    def size(self) -> int:
        return 1 + self.value.size


@dataclass(frozen=True, slots=True)
class Handle:
    form: Form
    mortal: bool
    """It may be killed."""
    initial: Shape
    """Of what its constructor was given to keep."""
    start: Shape
    size: int = 1


@dataclass(frozen=True, slots=True)
class Row:
    items: tuple[Shape, ...]

    @property
    def size(self) -> int:
        """How many things there are, those behind references included: how long it would be in a journal."""
        return 1 + sum(item.size for item in self.items)


Shape = Plain | Reference | Handle | Row


def items_of(variable: int, shape: Shape, path: tuple[int, ...] = ()) -> Iterator[tuple[Item, Shape]]:
    """Every value that an expression can name inside a variable, the whole first."""
    yield Item(variable, path), shape
    if isinstance(shape, Row) and len(path) < DEEPEST:
        for index, item in enumerate(shape.items):
            yield from items_of(variable, item, (*path, index))


def is_closed(shape: Shape) -> bool:
    """Whether it leads to nothing else: no reference and no actor."""
    if isinstance(shape, Row):
        return all(is_closed(item) for item in shape.items)
    return isinstance(shape, Plain)


def reaches_actor(shape: Shape) -> bool:
    """Whether there is a handle in it, or behind the references in it."""
    match shape:
        case Row(items):
            return any(reaches_actor(item) for item in items)
        case Reference(value):
            return reaches_actor(value)
        case _:
            return isinstance(shape, Handle)
