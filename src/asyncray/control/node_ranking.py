"""The nodes in the order in which placement prefers them, kept up to date at a cost that follows the changes."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Generic, TypeVar

from asyncray.control.placement import PACK_BELOW, Candidate, critical_utilisation
from asyncray.ids import NodeId

_N = TypeVar("_N", bound=Candidate)


class NodeRanking(Generic[_N]):
    """Iterates over the nodes that are below half in the order of their ids, then over the others, least used first.

    Placement takes the first that has room, which is nearly always among the first: to look at all nodes for each
    actor would be actors times nodes. Whoever changes a node's resources says so by `changed`.
    """

    def __init__(self) -> None:
        self._nodes: dict[bytes, _N] = {}
        self._used: dict[bytes, float] = {}
        """Critical utilisation, as the lists below have it."""
        self._packed: list[NodeId] = []
        self._spread: list[tuple[float, NodeId]] = []
        self._stale: dict[bytes, _N] = {}
        """What has changed since somebody asked: most changes of a node come while no actor waits."""

    def changed(self, node: _N) -> None:
        """It is new, or is used otherwise than before."""
        self._stale[node.node_id] = node

    def remove(self, node: _N) -> None:
        self._stale.pop(node.node_id, None)
        self._unlist(node.node_id)
        self._nodes.pop(node.node_id, None)

    def __iter__(self) -> Iterator[_N]:
        """Nothing may change meanwhile."""
        for node in self._stale.values():
            self._unlist(node.node_id)
            self._list(node)
        self._stale.clear()
        nodes = self._nodes
        for node_id in self._packed:
            yield nodes[node_id]
        for _, node_id in self._spread:
            yield nodes[node_id]

    def _list(self, node: _N) -> None:
        used = critical_utilisation(node)
        self._nodes[node.node_id] = node
        self._used[node.node_id] = used
        if used < PACK_BELOW:
            insort(self._packed, node.node_id)
        else:
            insort(self._spread, (used, node.node_id))

    def _unlist(self, node_id: NodeId) -> None:
        used = self._used.pop(node_id, None)
        if used is None:
            return
        if used < PACK_BELOW:
            del self._packed[bisect_left(self._packed, node_id)]
        else:
            del self._spread[bisect_left(self._spread, (used, node_id))]
