"""The owner's choice among the copies of a stored object whose primary cannot be had.

A state machine without I/O: `next` says which node to ask (for the copy there to become the primary), `answered` takes
its answer, `copied` and `died` what is learned meanwhile. In the end one of three is true: a copy is `found`; the
object `is_lost`, for every node that could have it has said no, or is dead; or neither, as one was out of reach.
"""

from __future__ import annotations

from collections.abc import Iterable

from asyncray.worker.location import Location, Place


class Search:
    """Asks the primary's node first, unless that is known to be gone, then the copies, then the owner's own node."""

    def __init__(self, location: Location, own: Place, dead: Iterable[bytes] = ()) -> None:
        """`own` is the owner's node: it may have a copy that some process there has fetched."""
        self.asked: Place | None = None
        """Whose answer is awaited."""
        self.found: Place | None = None
        self.silent: list[Place] = []
        """Out of reach: they may have it."""
        self._dead: set[bytes] = set(dead)
        self._without: set[bytes] = set()
        """Nodes that live and have no copy."""
        self._waiting: list[Place] = []
        if not location.gone:
            self._waiting.append(location.primary())
        for place in (*location.copies, own):
            self.copied(place)

    @property
    def is_over(self) -> bool:
        return self.found is not None or (self.asked is None and not self._waiting)

    @property
    def is_lost(self) -> bool:
        return self.is_over and self.found is None and not self.silent

    def next(self) -> Place | None:
        """The node to ask now; None when the search is over."""
        assert self.asked is None
        if self.is_over:
            return None
        self.asked = self._waiting.pop(0)
        return self.asked

    def answered(self, has: bool | None) -> None:
        """What the node that was asked has said; None when it could not be reached."""
        place, self.asked = self.asked, None
        assert place is not None
        if place[0] in self._dead:
            return
        if has:
            self.found = place
        elif has is None:
            self.silent.append(place)
        else:
            self._without.add(place[0])

    def copied(self, place: Place) -> None:
        """One more node has a copy, or has one again."""
        known = [*self._waiting, *self.silent, *([self.asked] if self.asked else [])]
        if place[0] not in self._dead and all(place[0] != other[0] for other in known):
            self._without.discard(place[0])
            self._waiting.append(place)

    def died(self, node_id: bytes) -> None:
        """Whatever it says or had is gone."""
        self._dead.add(node_id)
        self._waiting = [place for place in self._waiting if place[0] != node_id]
        self.silent = [place for place in self.silent if place[0] != node_id]

    def conclude(self, location: Location) -> None:
        """Writes down what was found. The search is over."""
        location.copies = self._remaining(location.copies)
        primary = location.primary()
        may_live = not location.gone and bool(self._remaining([primary]))
        if self.found is None:
            location.gone = not may_live
            return
        if self.found[0] != primary[0]:
            if may_live:
                location.former.append(primary)
            location.moved_to(self.found)
        location.gone = False

    def _remaining(self, places: list[Place]) -> list[Place]:
        return [place for place in places if place[0] not in self._dead and place[0] not in self._without]
