"""Which node a lease request is sent on to, from a view of the cluster that is always a little old."""

from __future__ import annotations

from bisect import bisect
from collections import deque
from collections.abc import Iterator
from itertools import chain
from typing import Final

from asyncray.node.scheduling import PACK_BELOW, NodeView, hybrid, utilisation_with
from asyncray.resources import Resources, fits, give, take

_SAMPLE: Final = 64
"""Other nodes that are considered at a time. Few good choices are nearly as good as all (Mitzenmacher, "The power of
two choices in randomized load balancing", 2001), and a look at all of 2,000 nodes takes 3 ms for each request."""


class Spillback:
    """Remembers for a while what it has sent where: until the view shows it, a node must not look free to all.

    Each node prefers those whose ids follow its own, so that not all send to the same ones; in a large cluster it goes
    on to the next ones when it has found none of them free.
    """

    def __init__(self, local_id: bytes, memory: float) -> None:
        """`memory`: seconds after which the view shows what was sent, if anything came of it."""
        self.view: dict[bytes, NodeView] = {}
        """The other nodes, as the control plane last told."""
        self._local_id = local_id
        self._memory = memory
        self._sent: deque[tuple[float, bytes, Resources]] = deque()
        self._sent_to: dict[bytes, Resources] = {}
        """The same by node, summed up."""
        self._less_sent: dict[bytes, tuple[NodeView, NodeView]] = {}
        """Nodes to which something was sent: as they were told, and with that taken from what they have."""
        self._ids: list[bytes] = []
        """Of the view: those that follow the own one, then those before it."""
        self._first = 0
        """Where in `_ids` the sample for new requests starts."""
        self._first_for_waiting = 0
        """The same for those that wait here: else new ones could keep them at the same nodes for ever."""
        self._hopeless: tuple[float, list[Resources]] = (-1.0, [])
        """What no node of the sample had free, and when that was."""

    def place(self, local: NodeView, demand: Resources, now: float, *, chosen: bool = False) -> NodeView | None:
        """Where a new request goes: `local`, another node, or None, when no node could ever run it.

        `chosen`: it came here from elsewhere, because its arguments are here. So it stays, if it need not wait.
        """
        if fits(demand, local.available) and (chosen or utilisation_with(local, demand) <= PACK_BELOW):
            return local
        best = hybrid(chain((local,), self._sample(self._first, now)), demand)
        if best is not None and fits(demand, best.available):
            return best
        self._first = self._next(self._first)
        if fits(demand, local.total):
            return local
        return self._place_anywhere(demand, now)

    def place_elsewhere(self, demand: Resources, now: float, *, must_be_free: bool) -> NodeView | None:
        """Another node for a request that waits here; with `must_be_free`, one where it would not wait."""
        if not must_be_free:
            return self._place_anywhere(demand, now)
        if self._hopeless[0] != now:
            if self._hopeless[1]:  # together: else each of several could come to look at the same nodes for ever
                self._first_for_waiting = self._next(self._first_for_waiting)
            self._hopeless = (now, [])
        if demand in self._hopeless[1]:
            return None
        chosen = hybrid(self._sample(self._first_for_waiting, now), demand)
        if chosen is not None and fits(demand, chosen.available):
            return chosen
        self._hopeless[1].append(demand)
        return None

    def sent(self, node: NodeView, demand: Resources, now: float) -> None:
        self._sent.append((now + self._memory, node.node_id, demand))
        give(self._sent_to.setdefault(node.node_id, {}), demand)
        self._less_sent.pop(node.node_id, None)

    def next_expiry(self) -> float | None:
        """When the view may look different without having changed."""
        return self._sent[0][0] if self._sent else None

    def _place_anywhere(self, demand: Resources, now: float) -> NodeView | None:
        self._expire(now)
        self._index()
        return hybrid(self._nodes(self._ids), demand)

    def _next(self, first: int) -> int:
        """Where the sample starts that follows one."""
        return first + _SAMPLE if first + _SAMPLE < len(self._ids) else 0

    def _sample(self, first: int, now: float) -> Iterator[NodeView]:
        self._expire(now)
        if len(self._ids) != len(self.view):
            self._index()
        return self._nodes(self._ids[first : first + _SAMPLE])

    def _index(self) -> None:
        ids = sorted(self.view)
        following = bisect(ids, self._local_id)
        self._ids = ids[following:] + ids[:following]
        if max(self._first, self._first_for_waiting) >= len(ids):
            self._first = self._first_for_waiting = 0

    def _nodes(self, ids: list[bytes]) -> Iterator[NodeView]:
        """They are made one by one, for mostly one of the first is chosen."""
        view, sent_to = self.view, self._sent_to
        for node_id in ids:
            node = view.get(node_id)
            if node is None:  # as many have left as have joined
                self._ids = []
            else:
                yield self._without_sent(node, sent_to[node_id]) if node_id in sent_to else node

    def _without_sent(self, node: NodeView, sent: Resources) -> NodeView:
        known = self._less_sent.get(node.node_id)
        if known is not None and known[0] is node:
            return known[1]
        available = dict(node.available)
        take(available, sent)
        less = NodeView(node.node_id, node.address, node.total, available, node.labels)
        self._less_sent[node.node_id] = (node, less)
        return less

    def _expire(self, now: float) -> None:
        while self._sent and self._sent[0][0] <= now:
            _, node_id, demand = self._sent.popleft()
            total = self._sent_to.get(node_id)
            if total is None:  # what is left asked for nothing
                continue
            take(total, demand)
            self._less_sent.pop(node_id, None)
            if not any(total.values()):
                del self._sent_to[node_id]
