"""Whose worker is ended when the machine's memory runs short, and when: decisions without I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Candidate:
    """A worker that runs something."""

    process_id: bytes
    name: str
    """Of its task, or its actor's class."""
    since: float
    """When that began."""
    retriable: bool
    """It is run again."""
    is_actor: bool = False


def choose(candidates: Iterable[Candidate]) -> Candidate | None:
    """The one whose end costs least: the newest has done the least work, and more comes of the older ones.

    Tasks go first, for an actor's state is lost; and of either kind those that are run again. A task that waits for
    others is older than these.
    """
    return min(candidates, key=lambda one: (one.is_actor, not one.retriable, -one.since), default=None)


class MemoryPressure:
    """One worker is ended at a time, and memory is looked at anew before the next: what it had is free again then."""

    def __init__(self, threshold: float, pause: float, patience: float) -> None:
        """`threshold` is a share of the memory. `pause`: seconds from a worker's end until memory is believed again;
        `patience`: how long a worker may take to end before it counts no more."""
        self.threshold = threshold
        self._pause = pause
        self._patience = patience
        self._ending: bytes | None = None
        self._not_before = float("-inf")

    def look(self, now: float, share: float) -> bool:
        """Whether a worker is to be ended now. `share` of the memory is in use."""
        return share > self.threshold and now >= self._not_before

    def end(self, now: float, process_id: bytes) -> None:
        """The worker has been told to end, which takes a while."""
        self._ending = process_id
        self._not_before = now + self._patience

    def ended(self, now: float, process_id: bytes) -> None:
        """A worker has ended, for whatever reason."""
        if process_id == self._ending:
            self._ending = None
            self._not_before = now + self._pause
