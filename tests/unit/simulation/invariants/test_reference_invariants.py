"""Reference counting, right and spoiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from asyncray.simulation.invariants import ClusterState, quiescence
from asyncray.simulation.invariants.references import ownership_inconsistencies
from asyncray.worker.object_ref import ObjectRef
from asyncray.worker.ownership import Ownership
from asyncray.worker.reference import Execution, Reference

from .invariant_parts import NODE, driver_runtime

OBJECT, OUTER, BORROWED, LENT = (bytes([number]) * 16 + bytes(4) for number in range(1, 5))
OWNER: list[Any] = [b"o" * 16, NODE, "/o", "host:1"]
WORKER: list[Any] = [b"w" * 16, NODE, "/w", "host:2"]


def ownership() -> Ownership:
    """Owns an object inside another one and one that is lent; borrows one, and waits for the word of its owner."""
    process = Ownership(b"d" * 16)
    inner, outer, lent = process.own(OBJECT), process.own(OUTER), process.own(LENT)
    process.put_contains(outer, [inner])
    process.drop(inner)
    process.on_borrow(WORKER, LENT, 1)
    process.borrow(BORROWED, OWNER, outer)
    process.hold_task(lent)
    process.hold_result(b"t" * 16, WORKER[0], [lent])
    process.take_effects()
    return process


def test_a_process_with_all_kinds_of_references_is_consistent() -> None:
    assert list(ownership_inconsistencies("me", ownership())) == []


def find(process: Ownership, object_id: bytes) -> Reference:
    return process.references[object_id]


def count_below_zero(process: Ownership) -> None:
    find(process, LENT).tasks = -1


def keep_for_nothing(process: Ownership) -> None:
    process.references[b"x" * 20] = Reference(b"x" * 20)
    process.references[b"x" * 20].local = 0


def lend_without_a_tie(process: Ownership) -> None:
    find(process, OUTER).borrowers = {WORKER[0]}


def tie_without_lending(process: Ownership) -> None:
    find(process, LENT).borrowers = None


def borrow_without_a_tie(process: Ownership) -> None:
    process.ties[OWNER[0]].borrowed.clear()


def keep_ties_with_the_lost(process: Ownership) -> None:
    process._lost[WORKER[0]] = None


def miscount_containers(process: Ownership) -> None:
    find(process, OBJECT).containers = 2


def free_a_source(process: Ownership) -> None:
    find(process, OUTER).local = 0


def let_go_of_a_result(process: Ownership) -> None:
    find(process, LENT).local = 0


def miscount_a_reply(process: Ownership) -> None:
    execution = Execution(b"c" * 16)
    sources = find(process, BORROWED).sources
    assert sources is not None
    sources.append(execution)


def misplace(process: Ownership) -> None:
    process.references[b"y" * 20] = find(process, LENT)


def keep_aside_in_vain(process: Ownership) -> None:
    process.references.shadowed[b"z" * 20, OWNER[0]] = Reference(b"z" * 20, OWNER)


OWNERSHIP = [
    (count_below_zero, "me: object 04040404.0 has a count below zero"),
    (keep_for_nothing, "me: object 78787878.2021161080 is kept, and nothing uses it"),
    (lend_without_a_tie, "me: object 02020202.0 has process 77777777 as a borrower, which is not tied to it"),
    (tie_without_lending, "me: its ties with process 77777777 have object 04040404.0 as lent, which is not lent to it"),
    (borrow_without_a_tie, "me: object 03030303.0 is borrowed, and its owner 6f6f6f6f is not tied to it"),
    (keep_ties_with_the_lost, "me: its ties with process 77777777 are kept, which is lost"),
    (miscount_containers, "me: object 01010101.0 is inside 1 objects of this process, and 2 are counted"),
    (free_a_source, "me: object 02020202.0 is held 1 times, and 0 are counted"),
    (let_go_of_a_result, "me: object 04040404.0 is held 1 times, and 0 are counted"),
    (miscount_a_reply, "me: a reply to 63636363 waits for 1 owners, and 0 are counted"),
    (misplace, "me: object 04040404.0 is listed as 79797979.2038004089"),
    (keep_aside_in_vain, "me: object 7a7a7a7a.2054847098 of process 6f6f6f6f is kept aside, and need not be"),
]


@pytest.mark.parametrize(("plant", "sentence"), OWNERSHIP, ids=[plant.__name__ for plant, _ in OWNERSHIP])
def test_what_is_wrong_with_references_is_named(plant: Callable[[Ownership], None], sentence: str) -> None:
    process = ownership()
    plant(process)
    found = list(ownership_inconsistencies("me", process))
    assert any(sentence in text for text in found), found


async def test_a_reference_that_the_user_holds_is_left() -> None:
    runtime = driver_runtime()
    runtime._joined.set_result(None)
    ref: ObjectRef | None = ObjectRef(runtime.ownership.own(OBJECT), runtime)
    state = ClusterState(None, [], [runtime])
    assert "driver 64646464: object 01010101.0 is kept: local 1, tasks 0, containers 0, lineage 0" in quiescence(state)
    ref = None
    assert "driver 64646464: 1 dropped references have not been counted" in quiescence(state)
    runtime.drain_dropped()
    assert ref is None and not any("object" in text or "dropped" in text for text in quiescence(state))
