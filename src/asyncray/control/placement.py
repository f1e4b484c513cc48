"""Which node an actor goes to: pure functions over the view of the cluster.

The policy is Ray's hybrid one: pack onto the first node (in the order of node ids) whose most used
resource is below half, so that small clusters keep whole nodes free; once all are past that, take the
least used, so that load spreads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from asyncray.ids import NodeId
from asyncray.resources import Resources, fits, in_words, to_amounts

PACK_BELOW: Final = 0.5
"""Critical utilisation up to which nodes are filled in order."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What an actor takes. Equal demands are interchangeable: when one finds no node, no other will."""

    placement: Resources
    """What a node must have in total to be given the actor: 1 CPU by default."""
    resources: Resources
    """What the actor holds while it lives: nothing by default."""
    peak: Resources = field(init=False, compare=False)
    """The larger of both, by name: what the node must have in total."""

    def __post_init__(self) -> None:
        names = self.placement.keys() | self.resources.keys()
        peak = {name: max(self.placement.get(name, 0), self.resources.get(name, 0)) for name in names}
        object.__setattr__(self, "peak", peak)

    def __hash__(self) -> int:
        return hash((frozenset(self.placement.items()), frozenset(self.resources.items())))


class Candidate(Protocol):
    """A node, as placement sees it. All amounts in units."""

    @property
    def node_id(self) -> NodeId: ...
    @property
    def total(self) -> Mapping[str, int]: ...
    @property
    def available(self) -> Mapping[str, int]:
        """As the node last reported."""

    @property
    def promised(self) -> Mapping[str, int]:
        """What actors on their way there will hold, which the node has not reported yet."""

    @property
    def pressure(self) -> Mapping[str, int]:
        """What actors on their way there take at their peak; at least `promised`."""


def choose_node(ranking: Iterable[Candidate], demand: Demand) -> NodeId | None:
    """The node for one more actor, or None while none can take it: the first of a `NodeRanking` that can."""
    for node in ranking:
        if fits(demand.peak, node.total) and _holds(node, demand.resources):
            return node.node_id
    return None


def critical_utilisation(node: Candidate) -> float:
    """The share in use of the node's most used resource, actors on their way included; above 1 when oversubscribed."""
    available, pressure = node.available, node.pressure
    return max(
        (
            (total - available.get(name, 0) + pressure.get(name, 0)) / total
            for name, total in node.total.items()
            if total
        ),
        default=0.0,
    )


def is_feasible(nodes: Iterable[Candidate], demand: Demand) -> bool:
    """Whether some node could take the actor if it were idle."""
    return any(fits(demand.peak, node.total) for node in nodes)


def describe_shortage(nodes: Iterable[Candidate], demand: Demand) -> str:
    """Why no node could ever take the actor, for people: names the missing resources."""
    totals = [node.total for node in nodes]
    if not totals:
        return "the cluster has no nodes"
    amounts = to_amounts(demand.peak)
    largest = {name: max(total.get(name, 0) for total in totals) for name in demand.peak}
    missing = [
        f"{name} (needs {amounts[name]:g}, the largest node has {most:g})"
        for name, most in to_amounts(largest).items()
        if largest[name] < demand.peak[name]
    ]
    if missing:
        return "no node has enough " + ", ".join(sorted(missing))
    return f"no single node has all of {in_words(demand.peak)}"


def _holds(node: Candidate, resources: Resources) -> bool:
    available, promised = node.available, node.promised
    return all(available.get(name, 0) - promised.get(name, 0) >= amount for name, amount in resources.items())
