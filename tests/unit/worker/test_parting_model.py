"""Two processes send, need each other or do not, look whether they can part, and their packets arrive in any order."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from .two_processes import World

sides = st.integers(0, 1)
picks = st.integers(0, 7)


class Processes(RuleBasedStateMachine):
    """In any order of events, unless a connection breaks: each message arrives once, in order, and nobody is lost."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.broken = False

    @rule(side=sides, wants_answer=st.booleans())
    def send(self, side: int, wants_answer: bool) -> None:
        self.world.sides[side].send(wants_answer=wants_answer)

    @rule(side=sides, needed=st.booleans())
    def need(self, side: int, needed: bool) -> None:
        self.world.sides[side].set_needed(needed=needed)

    @rule(side=sides, times=st.integers(1, 3))
    def look(self, side: int, times: int) -> None:
        for _ in range(times):
            self.world.sides[side].look()

    @precondition(lambda self: self.world.can_deliver())
    @rule(pick=picks, count=st.integers(1, 4))
    def deliver(self, pick: int, count: int) -> None:
        streams = self.world.can_deliver()
        stream = streams[pick % len(streams)]
        while stream.sent and count:
            stream.deliver()
            count -= 1

    @precondition(lambda self: self.world.can_resume())
    @rule(pick=picks)
    def resume(self, pick: int) -> None:
        dials = self.world.can_resume()
        side, stream = dials[pick % len(dials)]
        side.resume(stream)

    @precondition(lambda self: self.world.ended)
    @rule()
    def turn(self) -> None:
        self.world.tell_ended()

    @rule()
    def settle(self) -> None:
        self.world.settle()

    @invariant()
    def in_order_and_not_twice(self) -> None:
        for side in self.world.sides:
            assert side.received == sorted(set(side.received))
            if not self.broken:
                assert side.lost == 0
                assert side.received == side.other.sent[: len(side.received)]

    def teardown(self) -> None:
        self.world.rest()
        self.in_order_and_not_twice()
        assert self.world.is_at_rest()
        if not self.broken:
            assert all(side.received == side.other.sent for side in self.world.sides)


class ProcessesWhoseConnectionsBreak(Processes):
    """A break is a death, to one or to both. What goes on afterwards is a link like any other."""

    @precondition(lambda self: self.world.streams)
    @rule(pick=picks)
    def cut(self, pick: int) -> None:
        streams = self.world.streams
        self.world.cut(streams[pick % len(streams)])
        self.broken = True


TestProcesses = Processes.TestCase
TestProcesses.settings = settings(max_examples=120, stateful_step_count=60, deadline=None)
TestBreaks = ProcessesWhoseConnectionsBreak.TestCase
TestBreaks.settings = settings(max_examples=80, stateful_step_count=60, deadline=None)


@pytest.mark.parametrize("asking", [(0,), (1,), (0, 1)])
def test_an_idle_link_ends_whoever_asks(asking: tuple[int, ...]) -> None:
    world = World()
    world.sides[0].send(wants_answer=True)
    world.settle()
    for side in asking:
        for _ in range(4):
            world.sides[side].look()
    world.settle()
    assert world.is_at_rest() and not any(side.lost for side in world.sides)
    assert [side.received for side in world.sides] == [[0], [0]]


def test_a_link_that_the_other_side_needs_stays_and_what_was_kept_back_goes_out_on_it() -> None:
    world = World()
    one, two = world.sides
    one.send()
    world.settle()
    two.set_needed(needed=True)
    for _ in range(4):
        one.look()
    one.send()
    world.settle()
    assert two.received == [0, 1] and len(world.streams) == 2 and not world.is_at_rest()


def test_what_was_kept_back_goes_out_on_the_next_link_if_the_other_side_agrees() -> None:
    world = World()
    one, two = world.sides
    one.send()
    world.settle()
    for _ in range(4):
        one.look()
    one.send()
    world.settle()
    assert two.received == [0, 1] and len(world.streams) == 4
    assert [stream.closed for stream in world.streams] == [True, True, False, False]
