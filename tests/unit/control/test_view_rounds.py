"""Who is told of which changes, when."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from asyncray.control.node_table import NodeRecord
from asyncray.control.view_rounds import PORTION, ViewRounds
from asyncray.ids import NodeId


def records(count: int) -> list[NodeRecord]:
    return [NodeRecord(NodeId(index.to_bytes(16, "big")), "", {}, {}) for index in range(count)]


def test_few_changes_go_to_everybody_at_once() -> None:
    rounds, changed = ViewRounds(), records(PORTION)
    rounds.add(changed)
    assert rounds.next_turn() == [changed]
    assert not rounds.goes_on()
    assert rounds.next_turn() == []


@given(st.integers(0, 5 * PORTION), st.integers(1, 20))
def test_everybody_is_told_of_everything_in_the_end_and_of_a_portion_at_a_time(count: int, members: int) -> None:
    rounds, changed = ViewRounds(), records(count)
    rounds.add(changed)
    told: list[list[NodeRecord]] = [[] for _ in range(members)]
    while rounds.goes_on():
        portions = rounds.next_turn()
        for number, heard in enumerate(told):
            portion = portions[number % len(portions)]
            assert len(portion) <= PORTION
            heard += portion
    for heard in told:
        assert sorted(record.node_id for record in heard) == [record.node_id for record in changed]


def test_in_each_turn_all_portions_are_told_to_somebody() -> None:
    rounds, changed = ViewRounds(), records(3 * PORTION)
    rounds.add(changed)
    for _ in range(3):
        portions = rounds.next_turn()
        assert sorted(record.node_id for portion in portions for record in portion) == [
            record.node_id for record in changed
        ]


def test_what_changes_again_during_a_round_is_told_again_in_the_next() -> None:
    rounds, changed = ViewRounds(), records(2 * PORTION)
    rounds.add(changed)
    rounds.next_turn()
    rounds.add(changed[:1])
    rounds.next_turn()
    assert rounds.goes_on()
    assert rounds.next_turn() == [changed[:1]]


def test_a_node_is_introduced_once_everybody_has_heard_of_it() -> None:
    rounds, changed = ViewRounds(), records(2 * PORTION)
    rounds.add(changed)
    for _ in range(2):
        rounds.next_turn()
        assert not any(record.introduced for record in changed)
        assert changed[0].news == changed[0].view
    rounds.add(changed[:1])
    rounds.next_turn()
    assert all(record.introduced for record in changed)
    assert changed[0].news == [changed[0].node_id, changed[0].available]
