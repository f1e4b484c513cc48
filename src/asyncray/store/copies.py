"""The tree of an object's copies, as one node sees it: a state machine without I/O.

The node with the primary copy is the root, and a node that pulls an object becomes the child of the one that serves it.
A node serves a few of its children at a time; the others wait, or are sent on to a child that has its copy by then. So
a broadcast takes rounds whose number grows with the logarithm of the number of nodes, and the owner of the object has
no part in it.

What the owner frees is dropped down the tree: by every node at once, to all that have asked it for the object, whether
they have a copy, had one (and may have children of their own), or are in the middle of pulling it. A copy whose parent
is dead would not be reached: it is an orphan, unless it is one of the two backups, which the owner knows by itself.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

_BACKUPS: Final = 2
"""So many copies have a number, by which their owners know them. They are given by the node with the primary copy."""
_ALTERNATIVES: Final = 2
"""So many other nodes with a copy a child is told of, in case that this one dies."""


@dataclass(frozen=True, slots=True)
class Node:
    """Another node."""

    node_id: bytes
    address: str


@dataclass(frozen=True, slots=True)
class Granted:
    """The child may pull now."""

    child: Node
    request_id: int
    key: bytes
    number: int
    """1 or 2 for a backup, otherwise 0."""
    alternatives: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Redirected:
    """The child is to ask another node."""

    child: Node
    request_id: int
    target: Node


@dataclass(frozen=True, slots=True)
class Refused:
    """The child will not get the object here."""

    child: Node
    request_id: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """The child is to be told that the owner needs the object no more (`freed`), or that it will not hear of it."""

    child: Node
    key: bytes
    freed: bool


Effect = Granted | Redirected | Refused | Dropped


class State(enum.Enum):
    WAITING = "waits until it is served"
    SERVED = "pulls"
    COMPLETE = "has a copy"
    FORMER = "may have had a copy, and may have children"


@dataclass(slots=True, eq=False)
class Child:
    node: Node
    state: State
    request_id: int
    redirections: int = 0
    """How often the child was sent on before it came here."""
    number: int = 0
    sent_on: int = 0
    """How many others were told to ask it."""
    former: bool = False
    """It had a copy before the one that it asks for."""


@dataclass(slots=True, eq=False)
class Tree:
    """One object's, with this node in the middle."""

    parent: Node | None = None
    """The node from which this one has, or had, its copy. None at the root, of orphans, and of backups without one."""
    number: int = 0
    """Of the own copy."""
    holds: bool = False
    """Whether there is a pulled copy here."""
    orphan: bool = False
    """Nothing will be heard of the object from above."""
    children: dict[bytes, Child] = field(default_factory=dict)

    def count(self, state: State) -> int:
        return sum(child.state is state for child in self.children.values())

    def complete(self) -> list[Child]:
        return [child for child in self.children.values() if child.state is State.COMPLETE]


class Copies:
    """All trees of which a node is a part. Methods return what is to be told to other nodes."""

    def __init__(self, served_at_once: int, redirections: int, is_primary: Callable[[bytes], bool]) -> None:
        """`served_at_once`: children of one object that pull at the same time. `redirections`: who has been sent on so
        often is not sent on again. `is_primary(key)`: whether the primary copy is here."""
        self.trees: dict[bytes, Tree] = {}
        self._is_primary = is_primary
        self._served_at_once = served_at_once
        self._redirections = redirections

    # ---------------------------------------------------------------- children

    def asked(self, node: Node, request_id: int, key: bytes, redirections: int) -> list[Effect]:
        """A node asks for an object that is here."""
        tree = self.trees.setdefault(key, Tree())
        if self._is_primary(key):  # it may have been made here, once more, where a copy had been
            tree.parent, tree.number, tree.holds, tree.orphan = None, 0, False, False
        previous = tree.children.pop(node.node_id, None)  # it would not ask if it had the object
        former = previous is not None and (previous.former or previous.state in (State.COMPLETE, State.FORMER))
        complete = tree.complete()
        if complete and redirections < self._redirections and tree.count(State.SERVED) >= self._served_at_once:
            if former:
                tree.children[node.node_id] = Child(node, State.FORMER, 0)
            return [_send_on(complete, node, request_id)]
        tree.children[node.node_id] = Child(node, State.WAITING, request_id, redirections, former=former)
        return self._serve(key, tree)

    def done(self, node_id: bytes, request_id: int, key: bytes, *, complete: bool) -> list[Effect]:
        """A child has its copy, or gives up."""
        tree = self.trees.get(key)
        child = tree.children.get(node_id) if tree is not None else None
        if tree is None or child is None or child.request_id != request_id:
            return []
        if complete and child.state is State.SERVED:
            child.state = State.COMPLETE
        else:
            self._give_up(tree, child)
        effects: list[Effect] = []
        if tree.orphan and complete:
            del tree.children[node_id]
            effects.append(Dropped(child.node, key, freed=False))
        effects += self._serve(key, tree)
        effects += self._spread(tree)
        self._tidy(key, tree)
        return effects

    def lost_touch(self, node_id: bytes) -> list[Effect]:
        """The link with a node has ended: it will ask again for what it was pulling, unless it has it by now."""
        effects: list[Effect] = []
        for key, tree in self._with_child(node_id):
            child = tree.children[node_id]
            if child.state is State.SERVED:
                child.former = True
            if child.state in (State.SERVED, State.WAITING):
                self._give_up(tree, child)
                effects += self._serve(key, tree)
            self._tidy(key, tree)
        return effects

    def child_evicted(self, node_id: bytes, key: bytes) -> None:
        """A child has let go of its copy. It still has to be told when the owner frees the object."""
        tree = self.trees.get(key)
        child = tree.children.get(node_id) if tree is not None else None
        if child is not None and child.state is State.COMPLETE:
            child.state, child.number = State.FORMER, 0

    # --------------------------------------------------------------- own copies

    def pulled(self, key: bytes, parent: Node, number: int) -> None:
        """This node has got its copy."""
        tree = self.trees.setdefault(key, Tree())
        tree.parent, tree.number, tree.holds, tree.orphan = parent, number, True, False

    def parent(self, key: bytes) -> bytes | None:
        """The node that will say when the owner needs the object no more."""
        tree = self.trees.get(key)
        return tree.parent.node_id if tree is not None and tree.parent is not None else None

    def evicted(self, key: bytes) -> tuple[Node | None, list[Effect]]:
        """The copy here is gone. Returns the parent, who should know that, and what the children have to."""
        tree = self.trees.get(key)
        if tree is None:
            return None, []
        parent, tree.holds, tree.number = tree.parent, False, 0
        effects: list[Effect] = []
        for child in list(tree.children.values()):
            if child.state is State.WAITING:
                effects.append(Refused(child.node, child.request_id))
                self._give_up(tree, child)
        if parent is None:  # it was an orphan, or a backup whose parent is dead
            effects += self.orphaned(key)
        self._tidy(key, tree)
        return parent, effects

    def freed(self, key: bytes) -> list[Effect]:
        """The owner needs the object no more."""
        tree = self.trees.pop(key, None)
        if tree is None:
            return []
        effects: list[Effect] = []
        for child in tree.children.values():
            if child.state is State.WAITING:
                effects.append(Refused(child.node, child.request_id))
            effects.append(Dropped(child.node, key, freed=True))
        return effects

    def orphaned(self, key: bytes) -> list[Effect]:
        """Nothing will be heard of the object any more, from above: neither here nor further down."""
        tree = self.trees.get(key)
        if tree is None:
            return []
        tree.parent, tree.orphan = None, True
        effects: list[Effect] = []
        for node_id, child in list(tree.children.items()):
            if child.former or child.state in (State.COMPLETE, State.FORMER):
                effects.append(Dropped(child.node, key, freed=False))
                child.former = False
                if child.state in (State.COMPLETE, State.FORMER):
                    del tree.children[node_id]
        self._tidy(key, tree)
        return effects

    def node_died(self, node_id: bytes) -> tuple[list[bytes], list[Effect]]:
        """Returns the objects whose copies here are orphans now, and what the others have to be told."""
        effects: list[Effect] = []
        for key, tree in self._with_child(node_id):
            del tree.children[node_id]
            effects += self._serve(key, tree)
            self._tidy(key, tree)
        orphans = []
        for key, tree in list(self.trees.items()):
            if tree.parent is None or tree.parent.node_id != node_id:
                continue
            tree.parent = None
            if tree.number == 0:
                if tree.holds:
                    orphans.append(key)
                effects += self.orphaned(key)
        return orphans, effects

    def is_serving(self, node_id: bytes) -> bool:
        """Whether the node waits for something from here."""
        return any(
            tree.children[node_id].state in (State.WAITING, State.SERVED) for _, tree in self._with_child(node_id)
        )

    # ---------------------------------------------------------------- internals

    def _with_child(self, node_id: bytes) -> Iterator[tuple[bytes, Tree]]:
        for key, tree in list(self.trees.items()):
            if node_id in tree.children:
                yield key, tree

    def _serve(self, key: bytes, tree: Tree) -> list[Effect]:
        """Those that wait longest, as many as may be served."""
        effects: list[Effect] = []
        room = self._served_at_once - tree.count(State.SERVED)
        waiting = [child for child in tree.children.values() if child.state is State.WAITING]
        for child in waiting[: max(0, room)]:
            child.state = State.SERVED
            if self._is_primary(key):
                taken = {other.number for other in tree.children.values()}
                child.number = next((number for number in range(1, _BACKUPS + 1) if number not in taken), 0)
            others = sorted(tree.complete(), key=lambda other: other.sent_on)[:_ALTERNATIVES]
            alternatives = tuple(other.node for other in others)
            effects.append(Granted(child.node, child.request_id, key, child.number, alternatives))
        return effects

    def _spread(self, tree: Tree) -> list[Effect]:
        """Of those that wait, this node keeps the first, its even share; the others go to children with a copy."""
        complete = tree.complete()
        waiting = [
            child
            for child in tree.children.values()
            if child.state is State.WAITING and child.redirections < self._redirections
        ]
        kept = -(-len(waiting) // (1 + len(complete)))
        effects: list[Effect] = []
        for child in waiting[kept:] if complete else ():
            self._give_up(tree, child)
            effects.append(_send_on(complete, child.node, child.request_id))
        return effects

    def _give_up(self, tree: Tree, child: Child) -> None:
        """The child does not pull from here (any more)."""
        if child.former:
            child.state, child.number, child.request_id = State.FORMER, 0, 0
        else:
            del tree.children[child.node.node_id]

    def _tidy(self, key: bytes, tree: Tree) -> None:
        if not tree.children and not tree.holds and self.trees.get(key) is tree:
            del self.trees[key]


def _send_on(complete: list[Child], node: Node, request_id: int) -> Redirected:
    target = min(complete, key=lambda child: child.sent_on)
    target.sent_on += 1
    return Redirected(node, request_id, target.node)
