"""Who waits for a value, and how far it has to have come."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from asyncray.worker.reference import Reference, Waiter

if TYPE_CHECKING:
    from asyncray.worker.objects import Objects


class Observer:
    """Waits for a value to exist, wherever it is; a plain callable waits for it to be here, as `get` does."""

    __slots__ = ("callback", "priority")

    def __init__(self, callback: Waiter, priority: int | None = None) -> None:
        self.callback = callback
        self.priority = priority
        """With that of a PIN, it waits for the value to be here."""


class Countdown:
    """Calls back, once, when `count` of the references have a value. Stop it: values that never come would keep it."""

    __slots__ = ("_callback", "_objects", "_priority", "_references", "_remaining")

    def __init__(
        self,
        objects: Objects,
        references: Sequence[Reference],
        count: int,
        callback: Callable[[], object],
        priority: int | None,
    ) -> None:
        """`priority` is that of the fetch of stored values; None to fetch nothing."""
        self._objects = objects
        self._references = references
        self._remaining = count
        self._callback = callback
        self._priority = priority

    def start(self) -> None:
        """Loop thread only."""
        for reference in self._references:
            self._objects.wait(reference, self._one, self._priority)

    def stop(self) -> None:
        """Loop thread only."""
        for reference in self._references:
            self._objects.unwatch(reference, self._one)

    def _one(self, _: Reference) -> None:
        self._remaining -= 1
        if not self._remaining:
            self._callback()
