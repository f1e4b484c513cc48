"""Copies between nodes, right and spoiled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

import asyncray
from asyncray.messages import FOR_GET
from asyncray.node.service import NodeManager
from asyncray.simulation.invariants import ClusterState
from asyncray.simulation.invariants.node_transfers import disagreements, inconsistencies, leftovers
from asyncray.simulation.invariants.state import Survivors
from asyncray.store.copies import Node, State, Tree
from asyncray.testing import SimCluster

STRANGER = Node(b"s" * 16, "10.9.9.9:1")


class Reader:
    def read(self, value: bytes) -> int:
        return len(value)


def found_after(spoil: Callable[[NodeManager, NodeManager], None]) -> list[str]:
    """A copy has been pulled from the first node to the second. What is wrong once that is spoiled."""

    async def program(cluster: SimCluster) -> list[str]:
        await cluster.add_node(num_cpus=0)
        await cluster.add_node(num_cpus=1)
        async with asyncray.init():
            reader = asyncray.remote(Reader).remote()
            value = await asyncray.put(bytes(1_000_000))
            await reader.read.remote(value)
            await asyncio.sleep(1)
            first, second = nodes = [node.manager for node in cluster.nodes]
            state = ClusterState(cluster.control, nodes, [])
            assert list(everything(state)) == []
            spoil(first, second)
            found = list(everything(state))
            found += [text for node in nodes for text in leftovers(node, Survivors.of(state))]
        return found

    return SimCluster(seed=1).run(program)


def everything(state: ClusterState) -> Iterator[str]:
    for node in state.nodes:
        yield from inconsistencies(node)
    yield from disagreements(state)


def tree(node: NodeManager) -> Tree:
    return next(iter(node.transfers.copies.trees.values()))


def forget_the_child(first: NodeManager, second: NodeManager) -> None:
    first.transfers.copies.trees.clear()


def forget_the_parent(first: NodeManager, second: NodeManager) -> None:
    second.transfers.copies.trees.clear()


def have_a_dead_parent(first: NodeManager, second: NodeManager) -> None:
    tree(second).parent = STRANGER


def lose_the_copy(first: NodeManager, second: NodeManager) -> None:
    second.store.table.free(list(second.transfers.copies.trees))


def serve_too_many(first: NodeManager, second: NodeManager) -> None:
    (child,) = tree(first).children.values()
    child.state = State.SERVED
    tree(first).children |= {b"a": child, b"b": child}


def let_one_wait(first: NodeManager, second: NodeManager) -> None:
    next(iter(tree(first).children.values())).state = State.WAITING


def number_twice(first: NodeManager, second: NodeManager) -> None:
    (child,) = tree(first).children.values()
    tree(first).children[b"a"] = child


def keep_a_dead_child(first: NodeManager, second: NodeManager) -> None:
    first.exchange._dead[next(iter(tree(first).children))] = None


def keep_an_empty_tree(first: NodeManager, second: NodeManager) -> None:
    first.transfers.copies.trees[b"k" * 36] = Tree()


def queue_without_reason(first: NodeManager, second: NodeManager) -> None:
    first.transfers.pulls.add(1, b"k" * 36, 100, [], FOR_GET)


def queue_for_nobody(first: NodeManager, second: NodeManager) -> None:
    first.transfers.pulls.add(1, b"k" * 36, 100, [], FOR_GET).waiting.clear()


def forget_a_transfer(first: NodeManager, second: NodeManager) -> None:
    first.transfers.pulls.add(1, b"k" * 36, 100, [], FOR_GET)
    first.transfers.pulls.take()


def miscount(first: NodeManager, second: NodeManager) -> None:
    first.transfers.pulls._bytes = 7


def ask_early(first: NodeManager, second: NodeManager) -> None:
    first.transfers.early[b"k" * 36] = {}


PLANTED = [
    (forget_the_child, "is not known to its parent, node"),
    (forget_the_parent, "is part of no tree"),
    (have_a_dead_parent, "has a parent, node 73737373, which does not live"),
    (lose_the_copy, "is pulled and sealed, and not in the store"),
    (serve_too_many, "is served to 3 nodes at a time"),
    (let_one_wait, "is waited for by a node that could be served"),
    (number_twice, "has two copies with the same number"),
    (keep_a_dead_child, "as a child, which is dead"),
    (keep_an_empty_tree, "has a tree of nobody"),
    (queue_without_reason, "1 pulls wait, and none is active"),
    (queue_for_nobody, "waits, and nobody waits for it"),
    (forget_a_transfer, "the pulls that are active are not the same in all of its tables"),
    (miscount, "7 bytes are counted on their way here, and they are not"),
    (ask_early, "is asked for early by nobody"),
]


@pytest.mark.parametrize(("plant", "sentence"), PLANTED, ids=[plant.__name__ for plant, _ in PLANTED])
def test_what_is_wrong_with_copies_is_named(plant: Callable[[NodeManager, NodeManager], None], sentence: str) -> None:
    found = found_after(plant)
    assert any(sentence in text for text in found), found


def test_what_is_left_of_copies_is_named() -> None:
    found = found_after(lambda first, second: None)
    assert len(found) == 2
    assert all("has a tree of" in text for text in found)
