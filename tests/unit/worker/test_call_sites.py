"""Where references come from, as far as that is recorded."""

from __future__ import annotations

from asyncray.worker.call_sites import RecordingOwnership

OWN = b"p" * 16


def object_id(number: int) -> bytes:
    return number.to_bytes(20, "big")


def test_the_line_of_the_users_code_is_recorded() -> None:
    ownership = RecordingOwnership(OWN)
    ownership.own(object_id(1))
    ownership.borrow(object_id(2), [b"o" * 16, b"n" * 16, "", ""])
    first, second = (ownership.call_sites[object_id(number)] for number in (1, 2))
    assert first.startswith(f"{__file__}:")
    assert first.endswith(" in test_the_line_of_the_users_code_is_recorded()")
    assert int(first.split(":")[1].split()[0]) + 1 == int(second.split(":")[1].split()[0])


def test_a_reference_that_is_known_keeps_the_line_where_it_was_met_first() -> None:
    ownership = RecordingOwnership(OWN)
    reference = ownership.own(object_id(1))
    site = ownership.call_sites[object_id(1)]
    assert ownership.borrow(object_id(1), [OWN, b"n" * 16, "", ""]) is reference
    assert ownership.call_sites[object_id(1)] == site


def test_objects_that_are_gone_are_forgotten_in_the_end() -> None:
    ownership = RecordingOwnership(OWN)
    kept = ownership.own(object_id(0))
    for number in range(1, 10_000):
        ownership.drop(ownership.own(object_id(number)))
    assert len(ownership.call_sites) < 2000
    assert kept.id in ownership.call_sites
