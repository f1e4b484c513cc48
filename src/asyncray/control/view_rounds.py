"""In which order nodes are told of each other's changes, when there are too many to tell everybody at once."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Final

from asyncray.control.node_table import NodeRecord

PORTION: Final = 32
"""Changes that a node is told of at a time. To tell 2,000 nodes of 2,000 changes every 100 ms would be 40 million
entries a second; in portions it is a fixed number for each node, however large the cluster is."""


class ViewRounds:
    """Deals changed nodes out in portions, of which everybody gets another one in each turn, until all have had all.

    What changes during a round waits for the next one.
    """

    def __init__(self) -> None:
        self._waiting: dict[bytes, NodeRecord] = {}
        self._portions: list[list[NodeRecord]] = []
        self._turn = 0

    def add(self, records: Iterable[NodeRecord]) -> None:
        self._waiting.update((record.node_id, record) for record in records)

    def goes_on(self) -> bool:
        """Whether another turn has something to tell."""
        return bool(self._waiting) or self._turn + 1 < len(self._portions)

    def next_turn(self) -> list[list[NodeRecord]]:
        """The portions of the next turn: the node with number n gets that at `n % len(portions)`. Empty when there is
        nothing to tell.
        """
        self._turn += 1
        if self._turn >= len(self._portions):
            for record in chain.from_iterable(self._portions):
                record.introduced = True  # who has joined since was told of all others at once
            records = list(self._waiting.values())
            self._waiting.clear()
            self._portions = [records[start : start + PORTION] for start in range(0, len(records), PORTION)]
            self._turn = 0
        return self._portions[self._turn :] + self._portions[: self._turn]
