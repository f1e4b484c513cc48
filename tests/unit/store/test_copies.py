"""The trees of copies: by themselves, and many nodes with one object between them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from asyncray.store.copies import Copies, Dropped, Effect, Granted, Node, Redirected, Refused, State

KEY = b"k" * 36


def node(number: int) -> Node:
    return Node(bytes([number]) * 16, f"10.0.0.{number}:1")


def root(served_at_once: int = 2, redirections: int = 16) -> Copies:
    return Copies(served_at_once, redirections, lambda key: True)


def granted(effects: list[Effect]) -> list[tuple[Node, int]]:
    return [(effect.child, effect.number) for effect in effects if isinstance(effect, Granted)]


def sent_on(effects: list[Effect]) -> list[tuple[Node, Node]]:
    return [(effect.child, effect.target) for effect in effects if isinstance(effect, Redirected)]


def test_a_few_are_served_at_a_time_and_the_first_two_are_backups() -> None:
    copies = root()
    assert granted(copies.asked(node(1), 1, KEY, 0)) == [(node(1), 1)]
    assert granted(copies.asked(node(2), 2, KEY, 0)) == [(node(2), 2)]
    assert copies.asked(node(3), 3, KEY, 0) == []
    assert granted(copies.done(node(1).node_id, 1, KEY, complete=True)) == [(node(3), 0)]


def test_the_number_of_a_backup_that_did_not_come_about_is_given_again() -> None:
    copies = root()
    copies.asked(node(1), 1, KEY, 0)
    copies.done(node(1).node_id, 1, KEY, complete=False)
    assert granted(copies.asked(node(2), 2, KEY, 0)) == [(node(2), 1)]
    copies.done(node(2).node_id, 2, KEY, complete=True)
    copies.child_evicted(node(2).node_id, KEY)
    assert granted(copies.asked(node(3), 3, KEY, 0)) == [(node(3), 1)]


def test_a_copy_gives_no_numbers() -> None:
    copies = Copies(2, 16, lambda key: False)
    copies.pulled(KEY, node(9), 1)
    assert granted(copies.asked(node(1), 1, KEY, 0)) == [(node(1), 0)]


def test_those_that_wait_are_spread_over_the_nodes_that_have_it() -> None:
    copies = root(served_at_once=1)
    for number in range(1, 8):
        copies.asked(node(number), number, KEY, 0)
    effects = copies.done(node(1).node_id, 1, KEY, complete=True)
    assert granted(effects) == [(node(2), 2)]
    assert [child for child, target in sent_on(effects) if target == node(1)] == [node(6), node(7)]
    effects = copies.asked(node(8), 8, KEY, 0)
    assert sent_on(effects) == [(node(8), node(1))]


def test_who_was_sent_on_too_often_waits() -> None:
    copies = root(served_at_once=1, redirections=3)
    copies.asked(node(1), 1, KEY, 0)
    copies.done(node(1).node_id, 1, KEY, complete=True)
    copies.asked(node(2), 2, KEY, 0)
    assert sent_on(copies.asked(node(3), 3, KEY, 2)) == [(node(3), node(1))]
    assert copies.asked(node(4), 4, KEY, 3) == []
    assert granted(copies.done(node(2).node_id, 2, KEY, complete=False)) == [(node(4), 2)]


def test_the_end_is_told_to_all_that_may_have_a_copy() -> None:
    copies = root()
    for number in range(1, 5):
        copies.asked(node(number), number, KEY, 0)
    copies.done(node(1).node_id, 1, KEY, complete=True)
    copies.child_evicted(node(1).node_id, KEY)
    copies.lost_touch(node(2).node_id)
    effects = copies.freed(KEY)
    assert {effect.child for effect in effects if isinstance(effect, Dropped)} == {node(n) for n in range(1, 5)}
    assert all(effect.freed for effect in effects if isinstance(effect, Dropped))
    assert copies.trees == {}


def test_a_copy_is_an_orphan_when_its_parent_dies_unless_it_is_a_backup() -> None:
    for number, orphans in ((0, [KEY]), (1, [])):
        copies = Copies(2, 16, lambda key: False)
        copies.pulled(KEY, node(9), number)
        copies.asked(node(1), 1, KEY, 0)
        copies.done(node(1).node_id, 1, KEY, complete=True)
        found, effects = copies.node_died(node(9).node_id)
        assert found == orphans
        assert effects == [Dropped(node(1), KEY, freed=False) for _ in orphans]


def test_children_of_a_backup_are_orphans_when_it_goes_after_its_parent() -> None:
    copies = Copies(2, 16, lambda key: False)
    copies.pulled(KEY, node(9), 1)
    copies.asked(node(1), 1, KEY, 0)
    copies.done(node(1).node_id, 1, KEY, complete=True)
    assert copies.node_died(node(9).node_id) == ([], [])
    assert copies.evicted(KEY) == (None, [Dropped(node(1), KEY, freed=False)])
    assert copies.trees == {}


# ---- many nodes


@dataclass
class Machine:
    """A node, and as much of its managers as the trees need."""

    node: Node
    primary: bool = False
    holds: bool = False
    orphan: bool = False
    backup: bool = False
    reading: int = 0
    asking: Node | None = None
    request: int = 0
    grant: int | None = None
    redirections: int = 0
    alive: bool = True
    copies: Copies = field(init=False)

    def __post_init__(self) -> None:
        self.copies = Copies(2, 6, lambda key: self.primary)


class Cluster:
    """Nodes and the links between them: first in, first out."""

    def __init__(self, count: int) -> None:
        self.machines = {node(number).node_id: Machine(node(number)) for number in range(1, count + 1)}
        self.root = next(iter(self.machines.values()))
        self.root.primary = self.root.holds = True
        self.links: dict[tuple[bytes, bytes], deque[tuple]] = {}
        self.requests = 0
        self.freed = False

    def send(self, source: Machine, target: Node, *message: object) -> None:
        if self.machines[target.node_id].alive:
            self.links.setdefault((source.node.node_id, target.node_id), deque()).append(message)

    def ask(self, machine: Machine, target: Node) -> None:
        self.requests += 1
        machine.asking, machine.request, machine.grant = target, self.requests, None
        self.send(machine, target, "pull", machine.request, machine.redirections)

    def carry_out(self, machine: Machine, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Granted(child, request, _, number, _):
                    self.send(machine, child, "granted", request, number)
                case Redirected(child, request, target):
                    self.send(machine, child, "redirected", request, target)
                case Refused(child, request):
                    self.send(machine, child, "failed", request)
                case Dropped(child, _, freed):
                    self.send(machine, child, "drop", freed)

    def deliver(self, link: tuple[bytes, bytes]) -> None:
        waiting = self.links[link]
        message = waiting.popleft()
        if not waiting:
            del self.links[link]
        source, machine = self.machines[link[0]], self.machines[link[1]]
        match message:
            case ("pull", int(request), int(redirections)):
                if machine.holds:
                    self.carry_out(machine, machine.copies.asked(source.node, request, KEY, redirections))
                else:
                    self.send(machine, source.node, "failed", request)
            case ("granted", int(request), int(number)) if request == machine.request:
                machine.grant = number
            case ("redirected", int(request), Node() as target) if request == machine.request:
                machine.redirections += 1
                self.ask(machine, target) if self.machines[target.node_id].alive else self.give_up(machine)
            case ("failed", int(request)) if request == machine.request:
                machine.asking = None
            case ("done", int(request), bool(complete)):
                self.carry_out(machine, machine.copies.done(source.node.node_id, request, KEY, complete=complete))
            case ("evicted",):
                machine.copies.child_evicted(source.node.node_id, KEY)
            case ("drop", bool(freed)):
                if freed and machine.asking == source.node:
                    self.give_up(machine)
                if machine.copies.parent(KEY) == source.node.node_id and not machine.primary:
                    self.free(machine) if freed else self.orphaned(machine)

    def give_up(self, machine: Machine) -> None:
        if machine.asking is not None:
            self.send(machine, machine.asking, "done", machine.request, False)
        machine.asking = machine.grant = None
        machine.request = 0

    def complete(self, machine: Machine) -> None:
        assert machine.asking is not None and machine.grant is not None
        source = self.machines[machine.asking.node_id]
        self.send(machine, source.node, "done", machine.request, True)
        machine.holds, machine.backup, machine.orphan = True, machine.grant > 0, False
        machine.copies.pulled(KEY, source.node, machine.grant)
        machine.asking, machine.grant, machine.request = None, None, 0

    def evict(self, machine: Machine) -> None:
        machine.holds = machine.orphan = machine.backup = False
        parent, effects = machine.copies.evicted(KEY)
        self.carry_out(machine, effects)
        if parent is not None:
            self.send(machine, parent, "evicted")

    def free(self, machine: Machine) -> None:
        machine.holds = machine.primary = machine.orphan = machine.backup = False
        self.carry_out(machine, machine.copies.freed(KEY))

    def orphaned(self, machine: Machine) -> None:
        self.carry_out(machine, machine.copies.orphaned(KEY))
        machine.orphan = machine.holds

    def cut(self, one: Machine, other: Machine) -> None:
        """What is under way is lost, but for drops, which are sent again."""
        for source, target in ((one, other), (other, one)):
            waiting = self.links.pop((source.node.node_id, target.node.node_id), deque())
            drops = deque(message for message in waiting if message[0] == "drop")
            if drops:
                self.links[source.node.node_id, target.node.node_id] = drops
        for machine, peer in ((one, other), (other, one)):
            if machine.asking == peer.node and machine.grant is None:  # bytes have a connection of their own
                machine.asking, machine.request = None, 0
            self.carry_out(machine, machine.copies.lost_touch(peer.node.node_id))

    def kill(self, machine: Machine) -> None:
        machine.alive = machine.holds = machine.primary = False
        for link in [link for link in self.links if machine.node.node_id in link]:
            del self.links[link]
        for other in self.machines.values():
            if not other.alive:
                continue
            if other.asking == machine.node:
                other.asking, other.grant, other.request = None, None, 0
            orphans, effects = other.copies.node_died(machine.node.node_id)
            self.carry_out(other, effects)
            if orphans:
                other.orphan = True

    def settle(self) -> None:
        """Everything arrives, and every pull that is granted completes."""
        for _ in range(10_000):
            if self.links:
                self.deliver(next(iter(self.links)))
                continue
            pulling = [m for m in self.machines.values() if m.alive and m.grant is not None]
            if not pulling:
                return
            self.complete(pulling[0])
        raise AssertionError("it does not settle")


@settings(deadline=None)
@given(st.data())
def test_whatever_happens_nothing_is_left_when_the_object_is_freed(data: st.DataObject) -> None:
    cluster = Cluster(data.draw(st.integers(3, 7)))
    for _ in range(data.draw(st.integers(0, 60))):
        alive = [machine for machine in cluster.machines.values() if machine.alive]
        machine = data.draw(st.sampled_from(alive))
        action = data.draw(
            st.sampled_from(["ask", "deliver", "deliver", "complete", "evict", "cut", "kill", "give up"])
        )
        if action == "ask" and not machine.holds and machine.asking is None:
            targets = [other for other in alive if other is not machine]
            machine.redirections = 0
            if targets:
                cluster.ask(machine, data.draw(st.sampled_from(targets)).node)
        elif action == "deliver" and cluster.links:
            cluster.deliver(data.draw(st.sampled_from(sorted(cluster.links))))
        elif action == "complete" and machine.grant is not None and not machine.holds:
            cluster.complete(machine)
        elif action == "evict" and machine.holds and not machine.primary:
            cluster.evict(machine)
        elif action == "cut" and len(alive) > 1:
            cluster.cut(machine, data.draw(st.sampled_from([other for other in alive if other is not machine])))
        elif action == "give up" and machine.asking is not None:
            cluster.give_up(machine)
        elif action == "kill" and machine is not cluster.root and data.draw(st.booleans()):
            cluster.kill(machine)
        for one in alive:
            for tree in one.copies.trees.values():
                assert tree.count(State.SERVED) <= 2
                numbers = [child.number for child in tree.children.values() if child.number]
                assert len(numbers) == len(set(numbers))
    cluster.settle()
    for machine in cluster.machines.values():
        if machine.alive:
            assert machine.asking is None, "nobody waits for ever"
    cluster.free(cluster.root)
    cluster.settle()
    for machine in cluster.machines.values():
        if machine.alive and machine.orphan:
            cluster.evict(machine)
    cluster.settle()
    for machine in cluster.machines.values():
        if machine.alive:
            assert not machine.holds, "everybody is told"
            assert machine.copies.trees == {}


@given(st.integers(1, 80))
def test_a_broadcast_takes_few_rounds(count: int) -> None:
    cluster = Cluster(count + 1)
    for machine in list(cluster.machines.values())[1:]:
        cluster.ask(machine, cluster.root.node)
    rounds = 0
    while not all(machine.holds for machine in cluster.machines.values()):
        while cluster.links:
            cluster.deliver(next(iter(cluster.links)))
        for machine in [m for m in cluster.machines.values() if m.grant is not None]:
            cluster.complete(machine)
        rounds += 1
    assert rounds <= 2 + 2 * count.bit_length()
