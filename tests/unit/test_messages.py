"""The messages of the streams."""

from __future__ import annotations

import re
from inspect import getsource
from itertools import pairwise

import msgpack
import pytest

from asyncray import messages
from asyncray.messages import SHAPES

_DECLARATIONS = getsource(messages).split("# ---- states of a value")[0]
KINDS: dict[str, int] = {
    name: getattr(messages, name) for name in re.findall(r"^([A-Z_]+): Final = ", _DECLARATIONS, re.MULTILINE)
}
"""By name: all constants in the part of the module that declares messages."""

EXAMPLES = {int: 7, str: "text", bytes: b"bytes", bool: True, list: [b"x", 1], dict: {"CPU": 1}, type(None): None}


def test_no_two_kinds_of_messages_have_the_same_number() -> None:
    assert len(set(KINDS.values())) == len(KINDS)


def test_every_kind_that_is_declared_has_a_shape() -> None:
    assert "LEASE_REQUEST" in KINDS
    assert set(KINDS.values()) == set(SHAPES)


@pytest.mark.parametrize("kind", sorted(SHAPES))
def test_every_shape_begins_with_its_kind_and_has_a_fixed_length(kind: int) -> None:
    shapes = SHAPES[kind]
    assert shapes
    assert {shape[0] for shape in shapes} == {int}
    assert len({len(shape) for shape in shapes}) == 1


@pytest.mark.parametrize("kind", sorted(SHAPES))
def test_every_shape_survives_the_wire_with_its_types(kind: int) -> None:
    for shape in SHAPES[kind]:
        message = [kind, *(EXAMPLES[field] for field in shape[1:])]
        received = msgpack.unpackb(msgpack.packb(message), strict_map_key=False)
        assert tuple(map(type, received)) == shape


def test_a_message_that_lacks_a_field_has_no_shape() -> None:
    for kind, shapes in SHAPES.items():
        for shape in shapes:
            assert shape[:-1] not in shapes, kind


def test_true_is_no_number_and_a_subclass_is_no_bytes() -> None:
    class Marked(bytes):
        pass

    assert tuple(map(type, [messages.LEASE_RECLAIM, b"lease", 1])) not in SHAPES[messages.LEASE_RECLAIM]
    assert tuple(map(type, [messages.GET, Marked()])) not in SHAPES[messages.GET]


def test_states_of_values_and_statuses_are_told_apart() -> None:
    states = [messages.INLINE, messages.STORED, messages.ERROR, messages.GONE]
    assert all(earlier < later for earlier, later in pairwise(states))
    assert messages.OK != messages.FAILED
