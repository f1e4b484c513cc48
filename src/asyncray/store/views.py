"""A pinned block, for as long as something in this process reads it."""

from __future__ import annotations

import threading
import weakref


class Hold:
    """Keeps a block in use while it is referenced: the `keepalive` of `serialization.deserialize`."""

    __slots__ = ("__weakref__", "buffer")

    def __init__(self, buffer: memoryview) -> None:
        self.buffer = buffer


class Retired(Exception):
    """The pin of a view was given back."""


class PinnedView:
    """A block of the arena that the node manager keeps in place for this process.

    Usage: `hold = view.acquire()`, `deserialize(hold.buffer, keepalive=hold)`. While a hold is referenced, by an array
    read from the block for one, `in_use` is true, and the pin must not be given back. Holds may die in any thread.
    """

    __slots__ = ("_block", "_hold", "_lock", "_retired")

    def __init__(self, block: memoryview) -> None:
        self._block = block
        self._hold: weakref.ref[Hold] | None = None
        self._lock = threading.Lock()
        self._retired = False

    @property
    def size(self) -> int:
        """Bytes of the block."""
        return self._block.nbytes

    def acquire(self) -> Hold:
        """The hold that all readers share, so that its death says that all of them are gone. Raises Retired."""
        with self._lock:
            if self._retired:
                raise Retired
            hold = self._hold() if self._hold is not None else None
            if hold is None:
                hold = Hold(self._block)
                self._hold = weakref.ref(hold)
            return hold

    def retire(self) -> bool:
        """No hold will be given any more, so that the pin can be given back; False if there is one."""
        with self._lock:
            self._retired = self._retired or not self.in_use
            return self._retired

    @property
    def in_use(self) -> bool:
        return self._hold is not None and self._hold() is not None
