"""The counts of one process, and its messages with one other."""

from __future__ import annotations

import sys
import tracemalloc
from typing import Any

from asyncray import messages
from asyncray.worker.effects import Effect, Forgotten, Free, Gone, OwnerDied, Released, ReplyReady, Send
from asyncray.worker.ownership import Ownership
from asyncray.worker.reference import Execution, Reference

OBJECT = b"object--------------"
OUTER = b"outer---------------"
TASK = b"task------------"


def address(name: str) -> list[Any]:
    return [name.encode().ljust(16, b"-"), b"node------------", f"/run/{name}", "host:1"]


ME, OWNER, OTHER, CALLER = address("me"), address("owner"), address("other"), address("caller")


def process() -> Ownership:
    return Ownership(ME[0])


def acknowledged(ownership: Ownership, id: bytes, owner: list[Any] = OWNER) -> Reference:
    """A reference that this process has borrowed, and whose owner knows it."""
    reference = ownership.borrow(id, owner)
    ownership.on_borrow_ack(owner, id, reference.sequence, True)
    ownership.take_effects()
    return reference


def put(ownership: Ownership, id: bytes, *inners: Reference) -> Reference:
    reference = ownership.own(id)
    ownership.put_contains(reference, inners)
    return reference


def released(id: bytes, owner: list[Any] = OWNER) -> Effect:
    return Send(owner, (messages.RELEASE, id))


# ---- an owner by itself


def test_an_object_is_freed_when_its_last_local_reference_goes() -> None:
    ownership = process()
    reference = ownership.own(OBJECT)
    ownership.hold(reference)
    ownership.drop(reference)
    assert ownership.take_effects() == []
    ownership.drop(reference)
    assert ownership.take_effects() == [Free(reference)]
    assert not ownership.references


def test_an_unfinished_task_keeps_its_arguments() -> None:
    ownership = process()
    reference = ownership.own(OBJECT)
    ownership.hold_task(reference)
    ownership.drop(reference)
    assert ownership.take_effects() == []
    ownership.release_task(reference)
    assert ownership.take_effects() == [Free(reference)]


def test_an_object_lives_as_long_as_one_that_contains_it() -> None:
    ownership = process()
    inner = ownership.own(OBJECT)
    outer = put(ownership, OUTER, inner, inner)
    ownership.drop(inner)
    assert ownership.take_effects() == []
    ownership.drop(outer)
    assert ownership.take_effects() == [Free(outer), Free(inner)]
    assert not ownership.references


def test_an_object_that_contains_itself_is_freed() -> None:
    ownership = process()
    outer = ownership.own(OUTER)
    ownership.result_contains(TASK, OTHER, [(outer, [[OUTER, ME]])])
    ownership.take_effects()
    ownership.drop(outer)
    assert ownership.take_effects() == [Free(outer)]


def test_a_chain_of_a_hundred_thousand_objects_is_freed_at_once() -> None:
    ownership = process()
    outermost = ownership.own(OBJECT)
    for number in range(100_000):
        inner, outermost = outermost, ownership.own(number.to_bytes(20, "big"))
        ownership.put_contains(outermost, [inner])
        ownership.drop(inner)
    ownership.drop(outermost)
    assert len(ownership.take_effects()) == 100_001
    assert not ownership.references


def test_lineage_keeps_the_record_and_not_the_value() -> None:
    ownership = process()
    reference = ownership.own(OBJECT)
    ownership.hold_lineage(reference)
    ownership.drop(reference)
    assert ownership.take_effects() == [Free(reference, forgotten=False)]
    assert ownership.owned(OBJECT) is reference
    ownership.release_lineage(reference)
    assert ownership.take_effects() == [Forgotten(reference)]
    assert not ownership.references


def test_the_end_of_lineage_does_not_end_an_object_in_use() -> None:
    ownership = process()
    reference = ownership.own(OBJECT)
    ownership.hold_lineage(reference)
    ownership.release_lineage(reference)
    assert ownership.take_effects() == []
    ownership.drop(reference)
    assert ownership.take_effects() == [Free(reference)]


def test_an_object_made_again_is_freed_again() -> None:
    ownership = process()
    reference = ownership.own(OBJECT)
    ownership.hold_lineage(reference)
    ownership.drop(reference)
    ownership.hold_task(reference)
    ownership.release_lineage(reference)
    ownership.take_effects()
    ownership.release_task(reference)
    assert ownership.take_effects() == [Free(reference)]


def test_a_task_that_runs_again_in_its_process_finds_the_records_of_the_first_time() -> None:
    ownership = process()
    first = ownership.own(OBJECT)
    assert ownership.own(OBJECT) is first
    assert first.local == 2


def test_deserialising_a_reference_of_this_process_counts_as_a_local_one() -> None:
    ownership = process()
    reference = ownership.own(OBJECT)
    assert ownership.borrow(OBJECT, list(ME)) is reference
    assert reference.local == 2
    assert ownership.take_effects() == []


def test_an_object_of_this_process_freed_before_its_reference_came_back_is_gone() -> None:
    ownership = process()
    reference = ownership.borrow(OBJECT, ME)
    assert ownership.take_effects() == [Gone(reference)]
    ownership.on_borrow(OTHER, OBJECT, 1)
    assert ownership.take_effects() == [Send(OTHER, (messages.BORROW_ACK, OBJECT, 1, False))]
    ownership.drop(reference)
    assert ownership.take_effects() == []
    assert not ownership.references


# ---- an owner and its borrowers


def test_a_borrower_keeps_an_object_until_it_releases_it() -> None:
    ownership = process()
    reference = ownership.own(OBJECT)
    ownership.on_borrow(OTHER, OBJECT, 7)
    assert ownership.take_effects() == [Send(OTHER, (messages.BORROW_ACK, OBJECT, 7, True))]
    ownership.drop(reference)
    assert ownership.take_effects() == []
    ownership.on_release(OTHER, OBJECT)
    assert ownership.take_effects() == [Free(reference)]
    assert not ownership.ties


def test_each_of_two_borrowers_keeps_an_object() -> None:
    ownership = process()
    reference = ownership.own(OBJECT)
    ownership.on_borrow(OTHER, OBJECT, 1)
    ownership.on_borrow(CALLER, OBJECT, 1)
    ownership.drop(reference)
    ownership.on_release(OTHER, OBJECT)
    assert ownership.owned(OBJECT) is reference
    ownership.on_release(CALLER, OBJECT)
    assert not ownership.references


def test_messages_that_lag_behind_are_harmless() -> None:
    ownership = process()
    ownership.on_release(OTHER, OBJECT)
    ownership.on_confirm(OTHER, TASK)
    ownership.on_borrow_ack(OTHER, OBJECT, 1, True)
    reference = ownership.own(OBJECT)
    ownership.on_borrow_ack(OTHER, OBJECT, 0, False)
    ownership.on_release(OTHER, OBJECT)
    assert ownership.take_effects() == []
    ownership.on_borrow(OTHER, OBJECT, 1)
    ownership.on_borrow(OTHER, OBJECT, 1)
    ownership.on_release(OTHER, OBJECT)
    ownership.on_release(OTHER, OBJECT)
    assert (reference.local, reference.borrowers) == (1, set())


# ---- a borrower


def test_a_borrower_tells_the_owner_once_and_releases_at_the_last_drop() -> None:
    ownership = process()
    reference = ownership.borrow(OBJECT, OWNER)
    assert ownership.borrow(OBJECT, list(OWNER)) is reference
    assert ownership.take_effects() == [Send(OWNER, (messages.BORROW, OBJECT, 1))]
    ownership.on_borrow_ack(OWNER, OBJECT, 1, True)
    ownership.drop(reference)
    assert ownership.take_effects() == []
    ownership.drop(reference)
    assert ownership.take_effects() == [released(OBJECT), Released(reference)]
    assert not ownership.references and not ownership.ties


def test_an_acknowledgement_of_an_earlier_borrow_is_ignored() -> None:
    ownership = process()
    ownership.drop(ownership.borrow(OBJECT, OWNER))
    execution = Execution(CALLER[0])
    reference = ownership.borrow(OBJECT, OWNER, execution)
    ownership.take_effects()
    ownership.on_borrow_ack(OWNER, OBJECT, 1, True)
    assert not ownership.reply_ready(execution)
    ownership.on_borrow_ack(OWNER, OBJECT, 2, True)
    assert ownership.take_effects() == [ReplyReady(execution)]
    assert reference.sequence == 2


def test_references_with_one_owner_share_its_address() -> None:
    ownership = process()
    first, second = ownership.borrow(OBJECT, list(OWNER)), ownership.borrow(OUTER, list(OWNER))
    assert first.owner is second.owner


def test_a_borrow_kept_by_lineage_alone_is_released_and_made_again_for_the_task() -> None:
    ownership = process()
    reference = acknowledged(ownership, OBJECT)
    ownership.hold_lineage(reference)
    ownership.drop(reference)
    assert ownership.take_effects() == [released(OBJECT), Released(reference, forgotten=False)]
    ownership.hold_task(reference)
    assert ownership.take_effects() == [Send(OWNER, (messages.BORROW, OBJECT, 2))]
    ownership.release_task(reference)
    ownership.release_lineage(reference)
    assert ownership.take_effects()[-1] == Forgotten(reference)
    assert not ownership.references and not ownership.ties


def test_the_same_id_of_two_owners_is_two_objects() -> None:
    ownership = process()
    first, second, own = ownership.borrow(OBJECT, OWNER), ownership.borrow(OBJECT, OTHER), ownership.own(OBJECT)
    assert len({first, second, own}) == 3
    assert ownership.owned(OBJECT) is own
    ownership.on_borrow_ack(OTHER, OBJECT, second.sequence, True)
    assert (first.sources, second.sources) == ([], None)
    ownership.take_effects()
    ownership.drop(first)
    assert ownership.own(OBJECT) is own
    ownership.drop(own)
    ownership.drop(own)
    ownership.drop(second)
    assert ownership.take_effects() == [
        *(released(OBJECT), Released(first)),
        Free(own),
        *(released(OBJECT, OTHER), Released(second)),
    ]
    assert not ownership.references and not ownership.references.shadowed


def test_losing_an_unknown_process_changes_nothing() -> None:
    ownership = process()
    ownership.own(OBJECT)
    ownership.process_lost(OTHER[0])
    assert ownership.take_effects() == []


def test_the_dead_are_not_remembered_for_ever() -> None:
    ownership = process()
    for number in range(10_100):
        ownership.process_lost(number.to_bytes(16, "big"))
    reference = ownership.borrow(OBJECT, [bytes(16), *OWNER[1:]])
    assert OwnerDied(reference) not in ownership.take_effects()


def test_a_record_takes_less_than_200_bytes() -> None:
    ids = [number.to_bytes(20, "big") for number in range(10_000)]
    ownership = process()
    assert sys.getsizeof(ownership.own(OBJECT)) <= 136
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for id in ids:
            ownership.own(id)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    table = sys.getsizeof(ownership.references)
    assert (after - before - table) / len(ids) < 200 - sys.getsizeof(ids[0])
