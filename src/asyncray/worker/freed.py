"""What was freed at other nodes not long ago: a state machine without I/O.

The news of it may be lost, with its connection or with the node. The connection breaking is noticed later than it
happens, and so is the node's death; nodes that have copies below the lost one would then keep them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from asyncray.worker.location import Place

_KEPT_FOR: Final = 60.0
"""Seconds: longer than a kernel or a control plane takes to find out that nobody answers."""
_KEPT: Final = 10_000


@dataclass(slots=True, eq=False)
class _Entry:
    time: float
    place: Place
    copies: list[Place]


class RecentlyFreed:
    """Usage: `told` for each FREE to another node; whatever the other methods return is to be freed (again)."""

    def __init__(self) -> None:
        self._entries: dict[bytes, list[_Entry]] = {}
        """By key; that which was told last stands last."""

    def told(self, now: float, place: Place, key: bytes, copies: list[Place]) -> None:
        """The node at `place` was told that the object is freed, and is to pass that on to `copies`."""
        while self._entries:
            oldest = next(iter(self._entries))
            if len(self._entries) < _KEPT and self._entries[oldest][-1].time >= now - _KEPT_FOR:
                break
            del self._entries[oldest]
        entries = self._entries.pop(key, [])
        entries.append(_Entry(now, place, copies))
        self._entries[key] = entries

    def stored(self, key: bytes) -> None:
        """The object was made again: what was told before is over."""
        self._entries.pop(key, None)

    def link_lost(self, now: float, node_id: bytes, address: str) -> list[bytes]:
        """What the node is to be told once more. Its id may not be known, and empty."""
        return list(
            dict.fromkeys(
                key
                for key, entry in self._recent(now)
                if entry.place[0] == node_id or (entry.place[1] == address and not node_id)
            )
        )

    def node_died(self, now: float, node_id: bytes) -> list[tuple[Place, bytes]]:
        """It may have died before it has passed on what it was told."""
        return [(copy, key) for key, entry in self._recent(now) if entry.place[0] == node_id for copy in entry.copies]

    def _recent(self, now: float) -> Iterator[tuple[bytes, _Entry]]:
        for key, entries in self._entries.items():
            for entry in entries:
                if entry.time >= now - _KEPT_FOR:
                    yield key, entry
