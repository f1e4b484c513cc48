"""Where a lease request goes: policies as pure functions over the view of the cluster."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf

from asyncray.resources import Resources, fits

PACK_BELOW = 0.5
"""Critical utilisation up to which the hybrid policy packs."""


@dataclass(slots=True)
class NodeView:
    """What a node knows of another one (eventually consistent). News makes a new one."""

    node_id: bytes
    address: str
    total: Resources
    available: Resources
    labels: dict[str, str] = field(default_factory=dict)
    _utilisation: float | None = field(default=None, repr=False, compare=False)

    @property
    def utilisation(self) -> float:
        """The highest share of any resource in use, 0 to 1 and above. Worked out once: each request asks for it."""
        highest = self._utilisation
        if highest is None:
            free = self.available.get
            shares = ((total - free(name, 0)) / total for name, total in self.total.items() if total > 0)
            highest = self._utilisation = max(0.0, max(shares, default=0.0))
        return highest


def utilisation_with(node: NodeView, demand: Resources) -> float:
    """The critical utilisation if the demand ran there: the highest share of any resource in use, 0 to 1 and above."""
    highest = node.utilisation
    for name, amount in demand.items():  # of what it does not ask for, no more is in use than before
        total = node.total.get(name, 0)
        if total > 0:
            used = (total - node.available.get(name, 0) + amount) / total
            if used > highest:
                highest = used
    return highest


def hybrid(nodes: Iterable[NodeView], demand: Resources) -> NodeView | None:
    """Packs on the first of the nodes, then on the next ones, up to half of the critical utilisation; above it takes
    the least utilised node. Falls back to the first that is merely feasible when none is free now. None when no node
    could ever run it.

    `nodes` are in the order of preference, the local one first. Source: the default policy of Ray 2
    (`ScheduleByResources` / hybrid).
    """
    free = feasible = None
    least = inf
    for node in nodes:  # mostly one of the first: the others are not looked at
        if fits(demand, node.available):
            if fits(demand, node.total):
                used = utilisation_with(node, demand)
                if used <= PACK_BELOW:
                    return node
                if used < least:
                    free, least = node, used
        elif feasible is None and fits(demand, node.total):
            feasible = node
    return free or feasible
