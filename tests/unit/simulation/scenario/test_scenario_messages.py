"""Messages as a transcript shows them."""

from __future__ import annotations

import pytest

from asyncray import messages
from asyncray.ids import ObjectId, put_id, return_id
from asyncray.simulation.cluster import SimCluster
from asyncray.simulation.scenario.message_text import KINDS, amounts, size, text_of
from asyncray.simulation.scenario.names import Names

TASK = b"t" * 16
SAMPLES = {int: 0, bytes: b"x" * 20, str: "text", bool: True, list: [], dict: {}, type(None): None}


@pytest.fixture
def names() -> Names:
    return Names(SimCluster())


def test_every_kind_of_message_has_its_name() -> None:
    assert set(KINDS.values()) == set(messages.SHAPES)
    assert KINDS["HELLO"] == messages.HELLO
    assert "INLINE" not in KINDS  # which is the same number


@pytest.mark.parametrize("kind", KINDS)
def test_every_message_that_a_decoder_accepts_can_be_shown(kind: str, names: Names) -> None:
    for shape in sorted(messages.SHAPES[KINDS[kind]], key=str):
        fields = [ADDRESS if kind == "LEASE_GRANTED" and type is list else SAMPLES[type] for type in shape[1:]]
        if kind in ("ACTOR_STATE", "ACTOR_PLACED"):
            fields = [ADDRESS if field == [] else field for field in fields]
        if kind in ("VALUE", "RELOCATED"):
            fields[1] = messages.INLINE
        assert text_of(names, [KINDS[kind], *fields]).split()[0] == kind


ADDRESS = [b"p" * 16, b"n" * 16, "/run/p", "10.0.0.1:1"]


def test_ids_are_told_by_the_names_of_the_scenario(names: Names) -> None:
    names.give(TASK, "a")
    names.give(return_id(TASK, 0), "a")
    assert text_of(names, [messages.TASK, TASK, 0, b"", None]) == "TASK a"
    assert text_of(names, [messages.GET, return_id(TASK, 1)]) == "GET a[1]"
    assert text_of(names, [messages.GET, put_id(TASK, 3)]) == "GET a.put3"


def test_what_has_no_name_is_numbered_in_the_order_of_appearance(names: Names) -> None:
    first, second = b"1" * 8, b"2" * 8
    shown = [text_of(names, [messages.LEASE_RETURN, lease]) for lease in (second, first, second)]
    assert shown == ["LEASE_RETURN lease 1", "LEASE_RETURN lease 2", "LEASE_RETURN lease 1"]


def test_a_suggested_name_is_numbered_by_its_kind(names: Names) -> None:
    for task in (b"a", b"b", b"a"):
        names.suggest(task * 16, "double")
    assert [names.task(b"a" * 16), names.task(b"b" * 16)] == ["double 1", "double 2"]


def test_ids_in_texts_are_replaced_in_full_or_by_their_first_digits(names: Names) -> None:
    names.give(TASK, "job 7")
    assert names.in_text(f"job {TASK.hex()} ended, {TASK.hex()[:8]}!") == "job 7 ended, job 7!"
    assert names.in_text("job 12345678 ended") == "job 12345678 ended"
    names.give(put_id(TASK, 2), "x")
    assert names.in_text(f"object {TASK.hex()[:8]}.put2 and {TASK.hex()[:8]}.1") == "object x and job 7[1]"


def test_a_result_tells_what_is_stored_and_what_is_inside(names: Names) -> None:
    names.give(TASK, "a")
    inner = ObjectId(put_id(TASK, 0))
    returns = [[messages.STORED, [b"n" * 16, "", 1], None], [messages.INLINE, b"", [[inner, ADDRESS]]], b"plain"]
    text = text_of(names, [messages.RESULT, TASK, messages.OK, returns, 1])
    assert text == "RESULT a a stored a[1] with a.put0"
    assert text_of(names, [messages.RESULT, TASK, messages.FAILED, [b""], 1]) == "RESULT a failed"


def test_amounts_are_in_the_order_of_their_names_and_without_the_store() -> None:
    assert amounts({"GPU": 5000, "CPU": 20000, "object_store_memory": 10**9}) == "CPU=2 GPU=0.5"
    assert amounts({}) == "nothing"


@pytest.mark.parametrize(
    ("count", "text"), [(12, "12 bytes"), (2048, "2 KiB"), (1 << 20, "1 MiB"), (2_000_000, "1.91 MiB")]
)
def test_sizes_are_short(count: int, text: str) -> None:
    assert size(count) == text
