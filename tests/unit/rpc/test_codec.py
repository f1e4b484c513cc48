from __future__ import annotations

import contextlib
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncray import messages
from asyncray.errors import ProtocolError
from asyncray.ids import ObjectId
from asyncray.rpc import codec

FIELDS: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.integers(0, 9), inner, max_size=4),
    max_leaves=10,
)


@given(st.lists(st.lists(FIELDS, min_size=1, max_size=6), max_size=20))
def test_messages_come_back_as_they_went(batch: list[Any]) -> None:
    pack = codec.packer()
    assert codec.unpack(codec.join([pack(message) for message in batch])) == batch


@pytest.mark.parametrize("count", [0, 1, 15, 16, 65_535, 65_536])
def test_a_body_is_what_msgpack_would_make_of_the_whole_list(count: int) -> None:
    pack = codec.packer()
    assert codec.join([pack((1, 2))] * count) == msgpack.packb([(1, 2)] * count)


def test_ids_tuples_and_buffers_travel_as_bytes_and_lists() -> None:
    message = (messages.GET, ObjectId(bytes(20)), (1, 2), bytearray(b"a"), memoryview(b"b"))
    assert codec.unpack(codec.join([codec.packer()(message)])) == [[14, bytes(20), [1, 2], b"a", b"b"]]


def test_text_from_undecodable_bytes_travels() -> None:
    text = b"/tmp/\xff\xfe".decode(errors="surrogateescape")
    assert codec.unpack(codec.join([codec.packer()([1, text])])) == [[1, text]]


@pytest.mark.parametrize("field", [object(), 2**64, {1: {2: object()}}, {1, 2}])
def test_what_cannot_travel_is_refused_and_does_not_spoil_the_next(field: Any) -> None:
    pack = codec.packer()
    with pytest.raises((TypeError, ValueError, OverflowError)):
        pack([1, b"partly packed", field])
    assert codec.unpack(codec.join([pack([1])])) == [[1]]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\x91",
        b"\x90\x90",
        b"\x2a",
        b"\x80",
        b"\xa1x",
        b"\x81\x90\x01",
        b"\x91" * 5000,
        b"\xdd\xff\xff\xff\xff",
    ],
)
def test_a_body_that_is_not_one_array_is_refused(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        codec.unpack(body)


@given(st.binary(max_size=60))
def test_any_bytes_are_an_array_or_refused(body: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        assert type(codec.unpack(body)) is list


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ([messages.GET, 1, "x"], "kind 14 with the fields (int, str)"),
        ([], "message: list"),
        (7, "message: int"),
        ([True], "message: list"),
        ([messages.FREE, *[0] * 1000], "kind 53"),
    ],
)
def test_a_malformed_message_is_described_in_a_short_line(message: Any, text: str) -> None:
    described = str(codec.malformed(message))
    assert text in described
    assert len(described) < 200
