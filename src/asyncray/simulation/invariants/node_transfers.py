"""Copies of objects between nodes: what is on its way, who is served, and that each copy will be told of its end."""

from __future__ import annotations

from collections.abc import Iterator

from asyncray.ids import owner_of
from asyncray.node.service import NodeManager
from asyncray.simulation.invariants.naming import node_id, node_name, object_name, short
from asyncray.simulation.invariants.state import ClusterState, Survivors
from asyncray.store.copies import State


def inconsistencies(node: NodeManager) -> Iterator[str]:
    yield from _pulls(node)
    yield from _trees(node)


def _pulls(node: NodeManager) -> Iterator[str]:
    where, transfers = node_name(node), node.transfers
    pulls = transfers.pulls
    if pulls.active.keys() != transfers.incoming.keys() or set(pulls.active.values()) != transfers._tasks.keys():
        yield f"{where}: the pulls that are active are not the same in all of its tables"
    if pulls._bytes != sum(pull.size for pull in pulls.active.values()):
        yield f"{where}: {pulls._bytes} bytes are counted on their way here, and they are not"
    if len(pulls.active) > 1 and pulls._bytes > pulls._budget:
        yield f"{where}: {len(pulls.active)} pulls of {pulls._bytes} bytes are active, which may have {pulls._budget}"
    for pull in pulls.queued.values():
        if not pull.waiting:
            yield f"{where}: the pull of object {object_name(pull.key)} waits, and nobody waits for it"
    if pulls.queued and not pulls.active:
        yield f"{where}: {len(pulls.queued)} pulls wait, and none is active"


def _trees(node: NodeManager) -> Iterator[str]:
    where, transfers, exchange = node_name(node), node.transfers, node.exchange
    table = node.store.table if hasattr(node.store, "table") else None
    for key, tree in transfers.copies.trees.items():
        what = f"{where}: object {object_name(key)}"
        served = tree.count(State.SERVED)
        if served > transfers.copies._served_at_once:
            yield f"{what} is served to {served} nodes at a time"
        if tree.count(State.WAITING) and served < transfers.copies._served_at_once:
            yield f"{what} is waited for by a node that could be served"
        numbers = [child.number for child in tree.children.values() if child.number]
        if len(numbers) != len(set(numbers)):
            yield f"{what} has two copies with the same number"
        if not tree.children and not tree.holds:
            yield f"{what} has a tree of nobody"
        if tree.holds and (table is None or not table.holds(key)):
            yield f"{what} is pulled and sealed, and not in the store"
        for child_id, child in tree.children.items():
            if exchange.is_dead(child_id):
                yield f"{what} has node {short(child_id)} as a child, which is dead"
            if child.state in (State.WAITING, State.SERVED) and exchange.find(child_id) is None:
                yield f"{what} is asked for by node {short(child_id)}, with which there is no link"
    for key, sealed in (table._sealed if table is not None else {}).items():
        known = transfers.copies.trees.get(key)
        if not sealed.primary and not sealed.orphan and (known is None or not known.holds):
            yield f"{where}: the copy of object {object_name(key)} is part of no tree"
    for key, early in transfers.early.items():
        if not early:
            yield f"{where}: object {object_name(key)} is asked for early by nobody"


def disagreements(state: ClusterState) -> Iterator[str]:
    """At rest, the parent of each copy would tell it when the owner needs the object no more."""
    nodes = state.nodes_by_id()
    for node in state.nodes:
        for key, tree in node.transfers.copies.trees.items():
            if tree.parent is None or not tree.holds or node.store.is_primary(key):
                continue
            what = f"{node_name(node)}: the copy of object {object_name(key)}"
            parent = nodes.get(tree.parent.node_id)
            if parent is None:
                yield f"{what} has a parent, node {short(tree.parent.node_id)}, which does not live"
                continue
            above = parent.transfers.copies.trees.get(key)
            if above is None or node_id(node) not in above.children:
                yield f"{what} is not known to its parent, {node_name(parent)}"


def leftovers(node: NodeManager, survivors: Survivors) -> Iterator[str]:
    """Nothing is under way, and there are no trees but of objects that live."""
    where, transfers = node_name(node), node.transfers
    for pull in [*transfers.pulls.active.values(), *transfers.pulls.queued.values()]:
        yield f"{where}: object {object_name(pull.key)} is being pulled"
    for key in transfers.early:
        yield f"{where}: object {object_name(key)} is asked for before it is sealed"
    for key, tree in transfers.copies.trees.items():
        what = f"{where}: object {object_name(key)} of process {short(owner_of(key))}"
        for child_id, child in tree.children.items():
            if child.state in (State.WAITING, State.SERVED):
                yield f"{what} is asked for by node {short(child_id)}"
        if owner_of(key) not in survivors.processes:
            yield f"{what} has a tree of {len(tree.children)} children"
    if transfers._requests.open:
        yield f"{where}: {len(transfers._requests.open)} questions to other nodes are open"
    for other in node.exchange._untold:
        yield f"{where}: node {short(other)} has yet to be told of the end of copies"
