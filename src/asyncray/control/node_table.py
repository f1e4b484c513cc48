"""The nodes of the cluster and their resources: decisions only, no streams and no clock."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from asyncray.bounded import Remembered
from asyncray.control.node_ranking import NodeRanking
from asyncray.control.placement import Demand
from asyncray.errors import ProtocolError
from asyncray.ids import ActorId, NodeId
from asyncray.resources import Resources, give, take

DEAD_NODES_KEPT: Final = 1000


@dataclass(slots=True)
class NodeRecord:
    """One node. Amounts are in units; `available` is what it last reported. A placement `Candidate`."""

    node_id: NodeId
    address: str
    total: Resources
    available: Resources
    labels: dict[str, str] = field(default_factory=dict)
    hostname: str = ""
    pid: int = 0
    session_dir: str = ""
    head: bool = False
    alive: bool = True
    introduced: bool = False
    """All members know it: what it has free is all that can change."""
    death_cause: str = ""
    queued: list[Any] = field(default_factory=list)
    """The shapes of the leases that wait there."""
    last_heard: float = 0.0
    """Loop time."""
    promised: Resources = field(default_factory=dict)
    pressure: Resources = field(default_factory=dict)
    reserved: dict[ActorId, Demand] = field(default_factory=dict)
    """Actors on their way there, which `available` does not know of yet."""

    @property
    def view(self) -> list[Any]:
        """Its entry in a VIEW for those who do not know it."""
        return [self.node_id, self.address, self.total, self.available, self.labels, self.alive]

    @property
    def news(self) -> list[Any]:
        """Its entry in a VIEW for all."""
        return [self.node_id, self.available] if self.introduced else self.view


class NodeTable:
    """Who is a member, what each has, and what the others have not been told yet."""

    def __init__(self) -> None:
        self.ranking: NodeRanking[NodeRecord] = NodeRanking()
        """The living, as placement prefers them."""
        self._alive: dict[bytes, NodeRecord] = {}
        self._order: list[NodeId] = []
        self._dead: Remembered[bytes, NodeRecord] = Remembered(DEAD_NODES_KEPT)
        self._changed: dict[bytes, NodeRecord] = {}

    def __len__(self) -> int:
        return len(self._alive)

    def __iter__(self) -> Iterator[NodeRecord]:
        """The living, in the order of their ids."""
        return (self._alive[node_id] for node_id in self._order)

    def get(self, node_id: bytes) -> NodeRecord | None:
        """A living node."""
        return self._alive.get(node_id)

    def death_cause(self, node_id: bytes) -> str | None:
        """None for a node that is not known to be dead."""
        record = self._dead.get(node_id)
        return record.death_cause if record is not None else None

    def all(self) -> list[NodeRecord]:
        """The living, then those dead that are still remembered."""
        return [*self, *self._dead.values()]

    def join(self, record: NodeRecord) -> None:
        """Raises ProtocolError for a node that is a member already, or was one: a node id lives once."""
        if record.node_id in self._alive:
            raise ProtocolError(f"node {record.node_id} is a member of the cluster already")
        dead = self._dead.get(record.node_id)
        if dead is not None:
            raise ProtocolError(f"node {record.node_id} was declared dead ({dead.death_cause}): start a new one")
        self._alive[record.node_id] = record
        insort(self._order, record.node_id)
        self.ranking.changed(record)
        self._changed[record.node_id] = record

    def leave(self, node_id: bytes, cause: str) -> NodeRecord | None:
        """The record of the node that is dead from now on, or None if it was no member."""
        record = self._alive.pop(node_id, None)
        if record is None:
            return None
        self._order.remove(record.node_id)
        self.ranking.remove(record)
        record.alive = False
        record.death_cause = cause
        record.available = {}
        record.reserved.clear()
        self._dead[node_id] = record
        self._changed[node_id] = record
        return record

    def report(self, record: NodeRecord, available: Resources, queued: list[Any]) -> bool:
        """Takes in what a node has free; whether that was anything new."""
        record.queued = queued
        if not available:  # a sign of life
            return False
        changed = any(record.available.get(name) != amount for name, amount in available.items())
        news = changed or bool(record.reserved)
        record.available.update(available)
        # The node knows of most actors on their way to it, now or in its next report. To count one twice for
        # long would leave resources idle; to miss one for a moment makes the node refuse it, and it is retried.
        record.reserved.clear()
        record.promised.clear()
        record.pressure.clear()
        if changed:
            self._changed[record.node_id] = record
        if news:
            self.ranking.changed(record)
        return news

    def reserve(self, node_id: bytes, actor_id: ActorId, demand: Demand) -> None:
        """Accounts for an actor that is sent to the node, until the node's own report does."""
        record = self._alive[node_id]
        record.reserved[actor_id] = demand
        give(record.promised, demand.resources)
        give(record.pressure, demand.peak)
        self.ranking.changed(record)

    def arrived(self, node_id: bytes, actor_id: ActorId) -> None:
        """The actor runs: what it took only in order to be placed is free again."""
        record = self._alive.get(node_id)
        demand = self.unreserve(node_id, actor_id)
        if record is not None and demand is not None and demand.resources:
            self.reserve(node_id, actor_id, Demand(demand.resources, demand.resources))

    def unreserve(self, node_id: bytes, actor_id: ActorId) -> Demand | None:
        record = self._alive.get(node_id)
        demand = record.reserved.pop(actor_id, None) if record is not None else None
        if record is not None and demand is not None:
            take(record.promised, demand.resources)
            take(record.pressure, demand.peak)
            self.ranking.changed(record)
        return demand

    def take_changes(self) -> list[NodeRecord]:
        """What changed since the last call: who has joined, has other resources, or is dead."""
        changes = list(self._changed.values())
        self._changed.clear()
        return changes

    def full_view(self) -> list[list[Any]]:
        return [record.view for record in self]

    def silent_since(self, time: float) -> list[NodeId]:
        """The nodes that have said nothing after `time`."""
        return [record.node_id for record in self if record.last_heard <= time]

    def longest_silent(self) -> float | None:
        """When the node that has been silent for longest was last heard; None without nodes."""
        return min((record.last_heard for record in self), default=None)

    def forgive(self, now: float) -> None:
        """The silence was our own: while we do not run, we hear nobody."""
        for record in self:
            record.last_heard = now
