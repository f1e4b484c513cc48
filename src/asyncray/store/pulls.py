"""Which objects a node fetches from others, and in which order: a state machine without I/O.

There is one pull of an object, whoever waits for it. Pulls begin in the order of their priorities, then of their age,
as long as those that are active fit a part of the node's memory; what is behind one that does not fit waits, too, so
that none waits for ever. One may always be active, whatever its size.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterable
from heapq import heapify, heappop, heappush
from typing import Final

from asyncray.store.sources import Sources

_STALE_KEPT: Final = 100


class Pull:
    """One object on its way to this node."""

    __slots__ = ("_order", "key", "size", "sources", "waiting")

    def __init__(self, key: bytes, size: int, sources: Sources, order: int) -> None:
        self.key = key
        self.size = size
        self.sources = sources
        self.waiting: dict[Hashable, int] = {}
        """Who waits for it, with their priorities: the smallest number comes first."""
        self._order = order

    def rank(self) -> tuple[int, int]:
        return min(self.waiting.values()), self._order


class Pulls:
    """The pulls of one node. The caller starts what `take` gives it, and says when that has ended, however it did."""

    def __init__(self, budget: int, own: bytes) -> None:
        """`budget`: bytes that active pulls may have together. `own`: the id of this node."""
        self.active: dict[bytes, Pull] = {}
        self.queued: dict[bytes, Pull] = {}
        self._budget = budget
        self._own = own
        self._bytes = 0
        self._heap: list[tuple[tuple[int, int], bytes]] = []
        """Keys of queued pulls by rank; entries of an earlier rank, and of pulls that wait no more, are stale."""
        self._orders = itertools.count()

    def add(self, request: Hashable, key: bytes, size: int, sources: Iterable[object], priority: int) -> Pull:
        """Somebody waits for an object that is not here, and knows of `[node_id, address]` that may have it."""
        pull = self.active.get(key)
        if pull is None or not pull.waiting:  # with nobody waiting it is being given up
            pull = self.queued.get(key)
            if pull is None:
                pull = self.queued[key] = Pull(key, size, Sources((), self._own), next(self._orders))
        pull.sources.add(sources)
        pull.waiting[request] = priority
        if self.queued.get(key) is pull:
            self._push(pull)
        return pull

    def withdraw(self, request: Hashable, pull: Pull) -> bool:
        """The request is not to be answered. Whether the pull is active, and nobody waits for it: it is to be ended."""
        if pull.waiting.pop(request, None) is None:
            return False
        if self.queued.get(pull.key) is pull:
            if pull.waiting:
                self._push(pull)
            else:
                del self.queued[pull.key]
            return False
        return self.active.get(pull.key) is pull and not pull.waiting

    def take(self) -> Pull | None:
        """The next one to start, if there is one and it may."""
        while self._heap:
            rank, key = self._heap[0]
            pull = self.queued.get(key)
            if pull is None or pull.rank() != rank:
                heappop(self._heap)
                continue
            if key in self.active:  # that one is being given up: it goes on when it has ended
                return None
            if self.active and self._bytes + pull.size > self._budget:
                return None
            heappop(self._heap)
            del self.queued[key]
            self.active[key] = pull
            self._bytes += pull.size
            return pull
        return None

    def ended(self, pull: Pull) -> None:
        """An active pull has come to its end, and its memory is sealed or given back."""
        if self.active.get(pull.key) is pull:
            del self.active[pull.key]
            self._bytes -= pull.size

    def _push(self, pull: Pull) -> None:
        if len(self._heap) > _STALE_KEPT + 2 * len(self.queued):  # most are stale: while one does not fit, none goes
            self._heap = [(queued.rank(), key) for key, queued in self.queued.items()]
            heapify(self._heap)
        else:
            heappush(self._heap, (pull.rank(), pull.key))
