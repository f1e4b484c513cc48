from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asyncray.errors import ProtocolError
from asyncray.proto import Frame
from asyncray.rpc.frame import HEADER_LIMIT, frame_body, frame_header


def encode(body: bytes) -> bytes:
    return frame_header(len(body)) + body


def decode(frame: bytes) -> bytes:
    return bytes(frame_body(memoryview(frame)))


@given(st.binary(min_size=1, max_size=300))
def test_a_frame_is_encoded_as_betterproto_does(body: bytes) -> None:
    assert encode(body) == bytes(Frame(body=body))


@pytest.mark.parametrize("size", [1, 127, 128, 16383, 16384, 2**21 - 1, 2**21])
def test_lengths_of_every_width_are_encoded_as_betterproto_does(size: int) -> None:
    body = bytes(size)
    assert encode(body) == bytes(Frame(body=body))
    assert decode(encode(body)) == body


@given(st.integers(0, 2**64 - 1))
def test_a_header_stays_within_its_limit(size: int) -> None:
    assert len(frame_header(size)) <= HEADER_LIMIT


@given(st.binary(max_size=300))
def test_what_betterproto_encodes_is_decoded(body: bytes) -> None:
    assert decode(bytes(Frame(body=body))) == body


@pytest.mark.parametrize(
    "field",
    [
        b"\x10\x96\x01",  # 2: varint
        b"\x19" + bytes(8),  # 3: fixed64
        b"\x22\x03abc",  # 4: length-delimited
        b"\x2d" + bytes(4),  # 5: fixed32
        b"\x08\x07",  # 1, but of another type
        b"\xfa\xff\xff\xff\x0f\x01x",  # the largest field number
    ],
)
def test_unknown_fields_are_skipped(field: bytes) -> None:
    body = encode(b"body")
    assert decode(field + body) == decode(body + field) == b"body"
    assert decode(field) == b""


def test_of_several_bodies_the_last_one_counts() -> None:
    assert decode(encode(b"first") + encode(b"last")) == b"last"


@pytest.mark.parametrize(
    "frame",
    [
        b"\x0a",
        b"\x0a\x05abcd",
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x",
        b"\x0a" + b"\xff" * 10 + b"x",
        b"\x0d\x00\x00",
        b"\x0b",
        b"\x0f",
        b"\x00\x00",
        b"\x02\x00",
    ],
)
def test_what_is_not_protobuf_is_refused(frame: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(frame)


@pytest.fixture(scope="module")
def google_frame() -> Any:
    """`Frame` as Google's own implementation sees it."""
    descriptors = pytest.importorskip("google.protobuf.descriptor_pb2")
    pool = pytest.importorskip("google.protobuf.descriptor_pool").DescriptorPool()
    factory = pytest.importorskip("google.protobuf.message_factory")
    file = descriptors.FileDescriptorProto(name="frame.proto", package="test", syntax="proto3")
    field = file.message_type.add(name="Frame").field.add(name="body", number=1, label=1, type=12)
    assert field.type == descriptors.FieldDescriptorProto.TYPE_BYTES
    pool.Add(file)
    return factory.GetMessageClass(pool.FindMessageTypeByName("test.Frame"))


@given(
    st.one_of(
        st.binary(max_size=40),
        st.lists(
            st.one_of(st.binary(max_size=3), st.binary(max_size=9).map(encode), st.just(b"\x10\x01")), max_size=6
        ).map(b"".join),
    )
)
@example(b"\x0a\x00")
@example(b"\x8a\x80\x00\x01x")
def test_any_bytes_mean_what_they_mean_to_google_or_are_refused(google_frame: Any, frame: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        body = decode(frame)
        try:
            assert google_frame.FromString(frame).body == body
        except Exception as error:
            # Google refuses tags of more than 32 bits; skipping them harms nothing.
            assert type(error).__name__ == "DecodeError"
            assert b"\xff" in frame or max(frame) >= 0x80
