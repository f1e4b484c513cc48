"""What ends with a process: the borrows and results between it and this one."""

from __future__ import annotations

from dataclasses import dataclass, field

from asyncray.messages import Address
from asyncray.worker.reference import Reference


@dataclass(slots=True)
class UnconfirmedResults:
    """What the results of one task contain. When it runs again, the confirmations may come in any order."""

    outstanding: int = 0
    inners: list[Reference] = field(default_factory=list)


@dataclass(slots=True)
class Ties:
    """What this process and another one hold of each other."""

    address: Address | None = None
    borrowed: dict[Reference, None] = field(default_factory=dict)
    """Owned by it, borrowed here. No sets: what is done for each of them is done in an order that a seed decides."""
    lent: dict[Reference, None] = field(default_factory=dict)
    """Owned here, borrowed by it."""
    results: dict[bytes, UnconfirmedResults] = field(default_factory=dict)
    """By task id: what the results sent to it contain."""
