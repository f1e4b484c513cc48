"""No gap between one holder and the next: arguments, values, results; and what the death of a process does."""

from __future__ import annotations

from typing import Any

from asyncray import messages
from asyncray.worker.effects import Effect, Free, Gone, OwnerDied, Released, ReplyReady, Send
from asyncray.worker.ownership import Ownership
from asyncray.worker.reference import Execution, Reference

INNER = b"inner---------------"
OUTER = b"outer---------------"
TASK = b"task------------"
CONFIRM = (messages.CONFIRM, TASK)


def address(name: str) -> list[Any]:
    return [name.encode().ljust(16, b"-"), b"node------------", f"/run/{name}", "host:1"]


ME, OWNER, OTHER, CALLER, WORKER = (address(name) for name in ("me", "owner", "other", "caller", "worker"))


def process() -> Ownership:
    return Ownership(ME[0])


def acknowledge(ownership: Ownership, reference: Reference, alive: bool = True) -> list[Effect]:
    ownership.take_effects()
    assert reference.owner is not None
    ownership.on_borrow_ack(reference.owner, reference.id, reference.sequence, alive)
    return ownership.take_effects()


# ---- a task's arguments


def test_a_reply_waits_until_the_owner_knows_of_what_the_task_kept() -> None:
    ownership, execution = process(), Execution(CALLER[0])
    reference = ownership.borrow(INNER, OWNER, execution)
    assert not ownership.reply_ready(execution)
    assert acknowledge(ownership, reference) == [ReplyReady(execution)]


def test_a_reply_does_not_wait_for_what_the_task_has_dropped() -> None:
    ownership, execution = process(), Execution(CALLER[0])
    reference = ownership.borrow(INNER, OWNER, execution)
    ownership.drop(reference)
    ownership.take_effects()
    assert ownership.reply_ready(execution)


def test_a_drop_after_the_task_has_ended_sets_the_reply_free() -> None:
    ownership, execution = process(), Execution(CALLER[0])
    reference = ownership.borrow(INNER, OWNER, execution)
    assert not ownership.reply_ready(execution)
    ownership.take_effects()
    ownership.drop(reference)
    assert ReplyReady(execution) in ownership.take_effects()


def test_a_reply_to_the_owner_only_has_to_follow_the_borrow() -> None:
    ownership, execution = process(), Execution(CALLER[0])
    ownership.borrow(INNER, CALLER, execution)
    assert not ownership.reply_ready(execution)
    assert ownership.take_effects() == [Send(CALLER, (messages.BORROW, INNER, 1)), ReplyReady(execution)]
    assert ownership.reply_ready(execution)


def test_a_reply_that_takes_another_way_waits_for_every_owner() -> None:
    ownership, execution = process(), Execution(b"")
    reference = ownership.borrow(INNER, CALLER, execution)
    ownership.take_effects()
    assert not ownership.reply_ready(execution)
    assert acknowledge(ownership, reference) == [ReplyReady(execution)]


def test_a_second_task_waits_for_the_borrow_of_the_first() -> None:
    ownership, first, second = process(), Execution(CALLER[0]), Execution(OTHER[0])
    reference = ownership.borrow(INNER, OWNER, first)
    ownership.borrow(INNER, OWNER, second)
    assert not ownership.reply_ready(second)
    ownership.process_lost(CALLER[0])
    assert acknowledge(ownership, reference) == [ReplyReady(second)]


def test_nothing_waits_for_a_borrow_that_is_acknowledged_already() -> None:
    ownership, execution = process(), Execution(CALLER[0])
    acknowledge(ownership, ownership.borrow(INNER, OWNER))
    ownership.borrow(INNER, OWNER, execution)
    assert ownership.reply_ready(execution)


# ---- what is inside a value


def test_the_outer_object_is_kept_until_the_inner_one_is_acknowledged() -> None:
    ownership = process()
    outer = ownership.borrow(OUTER, OTHER)
    acknowledge(ownership, outer)
    inner = ownership.borrow(INNER, OWNER, outer)
    ownership.drop(outer)
    assert Released(outer) not in ownership.take_effects()
    assert acknowledge(ownership, inner) == [Send(OTHER, (messages.RELEASE, OUTER)), Released(outer)]


def test_an_acknowledged_outer_object_with_the_same_owner_need_not_be_kept() -> None:
    ownership = process()
    outer = ownership.borrow(OUTER, OWNER)
    acknowledge(ownership, outer)
    ownership.borrow(INNER, OWNER, outer)
    ownership.drop(outer)
    assert ownership.take_effects() == [
        Send(OWNER, (messages.BORROW, INNER, 2)),
        Send(OWNER, (messages.RELEASE, OUTER)),
        Released(outer),
    ]


def test_an_outer_object_of_the_same_owner_is_kept_while_its_own_borrow_is_on_the_way() -> None:
    ownership, execution = process(), Execution(CALLER[0])
    outer = ownership.borrow(OUTER, OWNER, execution)
    inner = ownership.borrow(INNER, OWNER, outer)
    ownership.drop(outer)
    ownership.take_effects()
    assert not ownership.reply_ready(execution)
    assert acknowledge(ownership, outer) == [ReplyReady(execution)]
    assert Released(outer) in acknowledge(ownership, inner)


def test_giving_up_an_inner_object_lets_the_outer_one_go() -> None:
    ownership = process()
    outer = ownership.borrow(OUTER, OTHER)
    acknowledge(ownership, outer)
    inner = ownership.borrow(INNER, OWNER, outer)
    ownership.drop(outer)
    ownership.drop(inner)
    assert Released(outer) in ownership.take_effects()
    assert not ownership.references and not ownership.ties


def test_a_put_object_keeps_what_it_borrows() -> None:
    ownership = process()
    inner, outer = ownership.borrow(INNER, OWNER), ownership.own(OUTER)
    ownership.put_contains(outer, [inner])
    ownership.drop(inner)
    ownership.take_effects()
    ownership.drop(outer)
    assert ownership.take_effects() == [Free(outer), Send(OWNER, (messages.RELEASE, INNER)), Released(inner)]


# ---- results


def test_a_worker_keeps_what_it_returned_until_the_caller_confirms() -> None:
    ownership = process()
    inner = ownership.own(INNER)
    ownership.hold_result(TASK, CALLER[0], [inner])
    ownership.drop(inner)
    ownership.on_confirm(OTHER, TASK)
    assert ownership.take_effects() == []
    ownership.on_confirm(CALLER, TASK)
    assert ownership.take_effects() == [Free(inner)]
    ownership.on_confirm(CALLER, TASK)
    assert not ownership.ties


def test_a_task_that_ran_twice_is_confirmed_twice() -> None:
    ownership = process()
    inner = ownership.own(INNER)
    ownership.hold_result(TASK, CALLER[0], [inner])
    ownership.hold_result(TASK, CALLER[0], [inner])
    ownership.drop(inner)
    ownership.on_confirm(CALLER, TASK)
    assert ownership.take_effects() == []
    ownership.on_confirm(CALLER, TASK)
    assert ownership.take_effects() == [Free(inner)]


def test_a_worker_keeps_nothing_for_a_dead_caller() -> None:
    ownership = process()
    first, second = ownership.own(INNER), ownership.own(OUTER)
    ownership.hold_result(TASK, CALLER[0], [first])
    ownership.drop(first)
    ownership.process_lost(CALLER[0])
    assert ownership.take_effects() == [Free(first)]
    ownership.hold_result(TASK, CALLER[0], [second])
    ownership.drop(second)
    assert ownership.take_effects() == [Free(second)]
    assert not ownership.ties


def test_a_caller_confirms_when_third_owners_know_of_it() -> None:
    ownership = process()
    outer = ownership.own(OUTER)
    ownership.result_contains(TASK, WORKER, [(outer, [[INNER, OWNER]])])
    assert ownership.take_effects() == [Send(OWNER, (messages.BORROW, INNER, 1))]
    ownership.on_borrow_ack(OWNER, INNER, 1, True)
    assert ownership.take_effects() == [Send(WORKER, CONFIRM)]


def test_a_caller_confirms_at_once_what_the_worker_owns() -> None:
    ownership = process()
    outer = ownership.own(OUTER)
    ownership.result_contains(TASK, WORKER, [(outer, [[INNER, WORKER]])])
    assert ownership.take_effects() == [Send(WORKER, (messages.BORROW, INNER, 1)), Send(WORKER, CONFIRM)]


def test_a_caller_confirms_at_once_what_it_owns_itself() -> None:
    ownership = process()
    outer, inner = ownership.own(OUTER), ownership.own(INNER)
    ownership.result_contains(TASK, WORKER, [(outer, [[INNER, ME]])])
    assert ownership.take_effects() == [Send(WORKER, CONFIRM)]
    ownership.drop(inner)
    ownership.drop(outer)
    assert ownership.take_effects() == [Free(outer), Free(inner)]


def test_one_confirmation_answers_all_returns_of_a_task() -> None:
    ownership = process()
    outers = [ownership.own(bytes([number]) * 20) for number in range(3)]
    contained = [[[INNER, OWNER]], None, [[OUTER, OTHER], [INNER, OWNER]]]
    ownership.result_contains(TASK, WORKER, zip(outers, contained, strict=True))
    ownership.take_effects()
    ownership.on_borrow_ack(OWNER, INNER, 1, True)
    assert ownership.take_effects() == []
    ownership.on_borrow_ack(OTHER, OUTER, 2, True)
    assert ownership.take_effects() == [Send(WORKER, CONFIRM)]


def test_a_result_that_nobody_wants_is_confirmed_without_borrowing() -> None:
    ownership = process()
    outer = ownership.own(OUTER)
    ownership.drop(outer)
    ownership.take_effects()
    ownership.result_contains(TASK, WORKER, [(outer, [[INNER, OWNER]]), (None, [[INNER, OWNER]])])
    assert ownership.take_effects() == [Send(WORKER, CONFIRM)]
    assert not ownership.references


def test_a_result_without_references_is_not_confirmed() -> None:
    ownership = process()
    ownership.result_contains(TASK, WORKER, [(ownership.own(OUTER), None)])
    assert ownership.take_effects() == []


def test_dropping_an_unconfirmed_result_confirms_it() -> None:
    ownership = process()
    outer = ownership.own(OUTER)
    ownership.result_contains(TASK, WORKER, [(outer, [[INNER, OWNER]])])
    ownership.take_effects()
    ownership.drop(outer)
    assert Send(WORKER, CONFIRM) in ownership.take_effects()
    assert not ownership.references and not ownership.ties


# ---- deaths


def test_the_end_of_a_borrower_releases_all_that_it_held() -> None:
    ownership = process()
    references = [ownership.own(id) for id in (INNER, OUTER)]
    for reference in references:
        ownership.on_borrow(OTHER, reference.id, 1)
        ownership.drop(reference)
    ownership.take_effects()
    ownership.process_lost(OTHER[0])
    assert {effect.reference for effect in ownership.take_effects() if isinstance(effect, Free)} == set(references)
    assert not ownership.ties


def test_what_a_dead_borrower_sent_before_its_end_is_ignored() -> None:
    ownership = process()
    ownership.own(INNER)
    ownership.process_lost(OTHER[0])
    ownership.on_borrow(OTHER, INNER, 1)
    assert ownership.take_effects() == []
    assert not ownership.ties


def test_a_process_that_connects_again_is_heeded_again() -> None:
    ownership = process()
    lost = ownership.borrow(INNER, OWNER)
    ownership.process_lost(OWNER[0])
    ownership.process_connected(OWNER[0])
    ownership.take_effects()
    found = ownership.borrow(INNER, OWNER)
    assert found is not lost
    assert ownership.take_effects() == [Send(OWNER, (messages.BORROW, INNER, 2))]
    ownership.drop(lost)
    assert ownership.references == {INNER: found}


def test_borrowers_hear_once_that_the_owner_died() -> None:
    ownership = process()
    reference = ownership.borrow(INNER, OWNER)
    ownership.take_effects()
    ownership.process_lost(OWNER[0])
    ownership.process_lost(OWNER[0])
    assert ownership.take_effects() == [OwnerDied(reference)]
    ownership.drop(reference)
    assert ownership.take_effects() == [Released(reference)]


def test_a_reference_to_an_object_of_a_dead_owner_is_dead_from_the_start() -> None:
    ownership, execution = process(), Execution(CALLER[0])
    ownership.process_lost(OWNER[0])
    reference = ownership.borrow(INNER, OWNER, execution)
    assert ownership.take_effects() == [OwnerDied(reference)]
    assert ownership.reply_ready(execution)
    assert not ownership.references


def test_nothing_waits_for_the_word_of_a_dead_owner() -> None:
    ownership, execution = process(), Execution(CALLER[0])
    outer, result = ownership.borrow(OUTER, OTHER), ownership.own(bytes(20))
    acknowledge(ownership, outer)
    ownership.borrow(INNER, OWNER, execution)
    ownership.borrow(INNER, OWNER, outer)
    ownership.drop(outer)
    ownership.result_contains(TASK, WORKER, [(result, [[INNER, OWNER]])])
    ownership.reply_ready(execution)
    ownership.take_effects()
    ownership.process_lost(OWNER[0])
    effects = ownership.take_effects()
    assert ReplyReady(execution) in effects
    assert Released(outer) in effects
    assert Send(WORKER, CONFIRM) in effects


def test_an_object_freed_before_its_owner_heard_of_the_borrower_is_gone() -> None:
    ownership, execution = process(), Execution(CALLER[0])
    reference = ownership.borrow(INNER, OWNER, execution)
    ownership.reply_ready(execution)
    assert set(map(type, acknowledge(ownership, reference, alive=False))) == {Gone, ReplyReady}
    ownership.drop(reference)
    assert ownership.take_effects() == [Released(reference)]
    assert not ownership.references and not ownership.ties


def test_a_confirmation_is_not_sent_to_a_dead_worker() -> None:
    ownership = process()
    outer = ownership.own(OUTER)
    ownership.result_contains(TASK, WORKER, [(outer, [[INNER, OWNER]])])
    ownership.take_effects()
    ownership.process_lost(WORKER[0])
    ownership.on_borrow_ack(OWNER, INNER, 1, True)
    assert ownership.take_effects() == []
