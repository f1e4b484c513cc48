"""Where a lease request goes: policies as pure functions over the view of the cluster."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from asyncray.resources import Resources, fits

PACK_BELOW = 0.5
"""Critical utilisation up to which the hybrid policy packs."""


@dataclass(slots=True)
class NodeView:
    """What a node knows of another one (eventually consistent)."""

    node_id: bytes
    address: str
    total: Resources
    available: Resources
    labels: dict[str, str] = field(default_factory=dict)


def utilisation_with(node: NodeView, demand: Resources) -> float:
    """The critical utilisation if the demand ran there: the highest share of any resource in use, 0 to 1 and above."""
    return max(
        (
            (total - node.available.get(name, 0) + demand.get(name, 0)) / total
            for name, total in node.total.items()
            if total > 0
        ),
        default=0.0,
    )


def hybrid(local_id: bytes, nodes: Iterable[NodeView], demand: Resources) -> NodeView | None:
    """Packs on the local node, then on the others in the order of their ids, up to half of the critical
    utilisation; above it takes the least utilised node. Falls back to a node that is merely feasible
    (local first) when none is free now. None when no node could ever run it.

    Source: the default policy of Ray 2 (`ScheduleByResources` / hybrid).
    """
    alive = [node for node in nodes if fits(demand, node.total)]
    alive.sort(key=lambda node: (node.node_id != local_id, node.node_id))
    free = [node for node in alive if fits(demand, node.available)]
    for node in free:
        if utilisation_with(node, demand) <= PACK_BELOW:
            return node
    if free:
        return min(free, key=lambda node: utilisation_with(node, demand))
    return alive[0] if alive else None
