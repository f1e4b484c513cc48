"""Which node a lease request is sent on to, from a view of the cluster that is always a little old."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from asyncray.node.scheduling import NodeView, hybrid
from asyncray.resources import Resources, fits, take


class Spillback:
    """Remembers for a while what it has sent where: until the view shows it, a node must not look free to all."""

    def __init__(self, local_id: bytes, memory: float) -> None:
        """`memory`: seconds after which the view shows what was sent, if anything came of it."""
        self.view: dict[bytes, NodeView] = {}
        """The other nodes, as the control plane last told."""
        self._local_id = local_id
        self._memory = memory
        self._sent: deque[tuple[float, bytes, Resources]] = deque()

    def place(self, local: NodeView, demand: Resources, now: float) -> NodeView | None:
        """Where a new request goes: `local`, another node, or None, when no node could ever run it."""
        return hybrid(self._local_id, [local, *self._others(now)], demand)

    def place_elsewhere(self, demand: Resources, now: float, *, must_be_free: bool) -> NodeView | None:
        """Another node for a request that waits here; with `must_be_free`, one where it would not wait."""
        others = [node for node in self._others(now) if not must_be_free or fits(demand, node.available)]
        return hybrid(self._local_id, others, demand)

    def sent(self, node: NodeView, demand: Resources, now: float) -> None:
        self._sent.append((now + self._memory, node.node_id, demand))

    def next_expiry(self) -> float | None:
        """When the view may look different without having changed."""
        return self._sent[0][0] if self._sent else None

    def _others(self, now: float) -> list[NodeView]:
        while self._sent and self._sent[0][0] <= now:
            self._sent.popleft()
        if not self._sent:
            return list(self.view.values())
        others = {node_id: replace(node, available=dict(node.available)) for node_id, node in self.view.items()}
        for _, node_id, demand in self._sent:
            if node_id in others:
                take(others[node_id].available, demand)
        return list(others.values())
