"""Identifiers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncray.ids import ActorId, FunctionId, Id, JobId, LeaseId, NodeId, ObjectId, ProcessId, TaskId, put_id, return_id

KINDS = [ProcessId, NodeId, JobId, LeaseId, FunctionId, TaskId, ActorId, ObjectId]


@pytest.mark.parametrize("kind", KINDS)
def test_an_id_is_its_bytes(kind: type[Id]) -> None:
    raw = bytes(range(kind.LENGTH))
    made = kind(raw)
    assert made == raw
    assert {raw: "found"}[made] == "found"
    assert {made: "found"}[raw] == "found"


@pytest.mark.parametrize("kind", KINDS)
def test_an_id_of_another_length_is_refused(kind: type[Id]) -> None:
    for length in (0, kind.LENGTH - 1, kind.LENGTH + 1):
        with pytest.raises(ValueError, match=f"{kind.__name__} takes {kind.LENGTH} bytes, got {length}"):
            kind(bytes(length))


@pytest.mark.parametrize("kind", KINDS)
def test_random_ids_differ_and_survive_their_text(kind: type[Id]) -> None:
    first, second = kind.random(), kind.random()
    assert first != second
    assert kind.from_hex(str(first)) == first
    assert repr(first) == f"{kind.__name__}({first.hex()})"


def test_the_same_function_has_the_same_id() -> None:
    assert FunctionId.of(b"pickled") == FunctionId.of(b"pickled")
    assert FunctionId.of(b"pickled") != FunctionId.of(b"other")


def test_running_a_task_again_gives_its_children_the_same_ids() -> None:
    parent = TaskId.random()
    assert [parent.child(number) for number in range(3)] == [parent.child(number) for number in range(3)]


def test_children_of_different_parents_or_numbers_have_different_ids() -> None:
    parents = [TaskId.random() for _ in range(5)]
    children = {parent.child(number) for parent in parents for number in range(50)}
    assert len(children) == 250


@given(st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1))
def test_results_and_puts_of_one_task_never_share_an_id(index: int, counter: int) -> None:
    task_id = bytes(16)
    result, put = ObjectId(return_id(task_id, index)), ObjectId(put_id(task_id, counter))
    assert result != put
    assert result[:16] == put[:16] == task_id


def test_objects_of_a_task_are_in_the_order_of_their_indices() -> None:
    ids = [return_id(bytes(16), index) for index in (0, 1, 255, 256, 70000)]
    assert ids == sorted(ids)
