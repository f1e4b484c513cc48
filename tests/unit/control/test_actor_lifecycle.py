"""Random orders of everything that can happen to actors, on nodes that answer late, in any order, or never."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, precondition, rule

from asyncray.control.actor_lifecycle import (
    ALIVE,
    DEAD,
    PENDING,
    ActorLifecycle,
    Announce,
    Dequeue,
    Effect,
    Enqueue,
    Phase,
    Place,
    Retire,
    Stop,
)
from asyncray.ids import NodeId

ADDRESS = [b"p" * 16, b"n" * 16, "/worker", "host:1"]
NODE = NodeId(b"a" * 16)
OTHER = NodeId(b"b" * 16)
LEGAL = {PENDING: {ALIVE, DEAD}, ALIVE: {DEAD}, DEAD: set()}


def alive() -> ActorLifecycle:
    life = ActorLifecycle()
    life.start()
    life.place_on(NODE)
    life.placed(NODE, ADDRESS, 1)
    return life


def test_a_graceful_end_is_announced_when_the_process_is_gone() -> None:
    life = alive()
    assert life.end("released", graceful=True) == [Stop(NODE, True), Retire()]
    assert life.state == ALIVE and not life.reachable
    assert life.worker_died(NODE, "exited with status 0") == [Announce(DEAD)]
    assert life.cause == "released"


def test_a_kill_is_announced_at_once() -> None:
    life = alive()
    assert life.end("killed", graceful=False) == [Stop(NODE, False), Retire(), Announce(DEAD)]
    assert life.worker_died(NODE, "signal 9") == []
    assert life.cause == "killed"


def test_a_kill_overtakes_a_graceful_end() -> None:
    life = alive()
    life.end("released", graceful=True)
    assert life.end("killed", graceful=False) == [Stop(NODE, False), Announce(DEAD)]


def test_an_actor_that_waits_ends_without_a_process() -> None:
    life = ActorLifecycle()
    life.start()
    assert life.end("released", graceful=True) == [Dequeue(), Retire(), Announce(DEAD)]


def test_an_actor_whose_node_dies_before_it_lives_is_placed_again() -> None:
    life = ActorLifecycle()
    life.start()
    life.place_on(NODE)
    assert life.node_lost(NODE, "silent") == [Enqueue()]
    assert life.place_on(OTHER) == [Place(OTHER)]
    assert life.placed(NODE, ADDRESS, 1) == []
    assert life.placed(OTHER, ADDRESS, 1) == [Announce(ALIVE)]


def test_an_actor_on_its_way_has_no_calls_to_finish() -> None:
    life = ActorLifecycle()
    life.start()
    life.place_on(NODE)
    assert life.end("released", graceful=True) == [Stop(NODE, True), Retire(), Announce(DEAD)]
    assert life.placed(NODE, ADDRESS, 1) == []
    assert life.refused(NODE) == []
    assert life.node_lost(NODE, "silent") == []


def test_the_error_of_a_constructor_is_the_cause() -> None:
    life = ActorLifecycle()
    life.start()
    life.place_on(NODE)
    assert life.failed(NODE, b"error", "its constructor raised") == [Retire(), Announce(DEAD)]
    assert life.error == b"error"


def test_only_an_actor_that_waits_can_be_placed() -> None:
    with pytest.raises(RuntimeError, match="ALIVE cannot be placed"):
        alive().place_on(NODE)


@dataclass(eq=False)
class Model:
    """An actor, what its effects have done to the world, and what its subscribers have seen."""

    life: ActorLifecycle = field(default_factory=ActorLifecycle)
    queued: bool = False
    named: bool = True
    seen: list[str] = field(default_factory=lambda: [PENDING])
    outstanding: dict[NodeId, str] = field(default_factory=dict)
    """By node: its process is "starting", "running" or "stopping"."""

    def apply(self, effects: list[Effect]) -> None:
        for effect in effects:
            assert self.seen[-1] != DEAD, "nothing happens after the final announcement"
            match effect:
                case Enqueue():
                    assert not self.queued
                    self.queued = True
                case Dequeue():
                    assert self.queued
                    self.queued = False
                case Place(node_id):
                    assert not self.outstanding, "it runs in one place at a time"
                    self.outstanding[node_id] = "starting"
                case Stop(node_id, _):
                    self.outstanding[node_id] = "stopping"
                case Retire():
                    assert self.named
                    self.named = False
                case Announce(state):
                    assert state in LEGAL[self.seen[-1]], f"{state} after {self.seen}"
                    self.seen.append(state)


class ActorsOnNodes(RuleBasedStateMachine):
    """Nodes answer only what they were told; the machine under test hears of it in any order."""

    actors = Bundle("actors")

    def __init__(self) -> None:
        super().__init__()
        self.nodes = [NodeId(bytes([number]) * 16) for number in range(3)]
        self.models: list[Model] = []

    @rule(target=actors, count=st.integers(1, 3))
    def create(self, count: int) -> object:
        models = [Model() for _ in range(count)]
        for model in models:
            model.apply(model.life.start())
        self.models += models
        return multiple(*models)

    @rule(model=actors, choice=st.integers(0, 2))
    def place(self, model: Model, choice: int) -> None:
        if model.queued and self.nodes:
            model.queued = False
            model.apply(model.life.place_on(self.nodes[choice % len(self.nodes)]))

    @rule(model=actors, answer=st.sampled_from(["placed", "failed", "refused"]))
    def answer(self, model: Model, answer: str) -> None:
        """Also from a node that was told to stop it meanwhile: its answer and the order cross on the way."""
        for node_id, state in list(model.outstanding.items()):
            if state == "running" or model.life.address is not None:
                continue
            if answer == "placed":
                if state == "starting":
                    model.outstanding[node_id] = "running"
                model.apply(model.life.placed(node_id, ADDRESS, 1))
            else:
                del model.outstanding[node_id]
                if answer == "failed":
                    model.apply(model.life.failed(node_id, b"error", "its constructor raised"))
                else:
                    model.apply(model.life.refused(node_id))

    @rule(model=actors, reports=st.integers(1, 2))
    def worker_dies(self, model: Model, reports: int) -> None:
        for node_id in list(model.outstanding):
            del model.outstanding[node_id]
            for _ in range(reports):
                model.apply(model.life.worker_died(node_id, "signal 11"))

    @precondition(lambda self: len(self.nodes) > 0)
    @rule(choice=st.integers(0, 2))
    def node_dies(self, choice: int) -> None:
        node_id = self.nodes.pop(choice % len(self.nodes))
        for model in self.models:
            model.outstanding.pop(node_id, None)
            model.apply(model.life.node_lost(node_id, "silent"))
        self.nodes.append(NodeId(bytes([node_id[0] + 3 & 0xFF]) * 16))

    @rule(model=actors, graceful=st.booleans())
    def end(self, model: Model, graceful: bool) -> None:
        """Killed, released, or its owner or job has ended."""
        model.apply(model.life.end("ended", graceful=graceful))

    @rule(model=consumes(actors))
    def run_out(self, model: Model) -> None:
        """Whatever came before: when it is told to end and its process dies, it is dead."""
        model.apply(model.life.end("ended", graceful=True))
        for node_id in list(model.outstanding):
            del model.outstanding[node_id]
            model.apply(model.life.worker_died(node_id, "exited"))
        assert model.seen[-1] == DEAD and model.life.phase is Phase.DEAD

    @invariant()
    def the_world_agrees_with_each_life(self) -> None:
        for model in self.models:
            life = model.life
            assert model.queued == (life.phase is Phase.WAITING)
            assert model.seen[-1] == life.state
            assert model.seen.count(DEAD) == (life.phase is Phase.DEAD)
            assert model.named == life.reachable
            assert (life.address is not None) == (life.state == ALIVE)
            if life.phase is Phase.DEAD:
                assert life.cause
                assert set(model.outstanding.values()) <= {"stopping"}, "no placement is left to the dead"
            if life.phase in (Phase.PLACING, Phase.ALIVE, Phase.ENDING):
                assert list(model.outstanding) == [life.node_id]


TestActorsOnNodes = ActorsOnNodes.TestCase
