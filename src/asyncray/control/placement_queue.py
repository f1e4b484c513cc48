"""Actors that wait for a node, in the order in which they came, grouped by what they need."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from asyncray.control.placement import Demand
from asyncray.ids import ActorId, NodeId


class PlacementQueue:
    """First come, first served among equal demands; a demand that fits nowhere holds up no other.

    The groups make one pass cost a choice per distinct demand and per actor placed, however many wait.
    """

    def __init__(self) -> None:
        self._groups: dict[Demand, dict[ActorId, None]] = {}
        self._demands: dict[ActorId, Demand] = {}

    def __len__(self) -> int:
        return len(self._demands)

    def __contains__(self, actor_id: ActorId) -> bool:
        return actor_id in self._demands

    def add(self, actor_id: ActorId, demand: Demand) -> None:
        self._demands[actor_id] = demand
        self._groups.setdefault(demand, {})[actor_id] = None

    def discard(self, actor_id: ActorId) -> None:
        demand = self._demands.pop(actor_id, None)
        if demand is None:
            return
        group = self._groups[demand]
        del group[actor_id]
        if not group:
            del self._groups[demand]

    def demands(self) -> list[Demand]:
        return list(self._groups)

    def waiting_for(self, demand: Demand) -> list[ActorId]:
        """The actors with that demand, first come first."""
        return list(self._groups.get(demand, ()))

    def drain(self, choose: Callable[[Demand], NodeId | None]) -> Iterator[tuple[ActorId, NodeId, Demand]]:
        """Takes out, one by one, the actors for which `choose` finds a node.

        `choose` is asked again after each: the caller accounts for what it has been given.
        """
        for demand, group in list(self._groups.items()):
            while group and (node_id := choose(demand)) is not None:
                actor_id = next(iter(group))
                self.discard(actor_id)
                yield actor_id, node_id, demand
