"""Whatever bytes come: a receiver gets messages of known shapes only, and all else ends the stream, with one error."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asyncray import messages
from asyncray.errors import ProtocolError
from asyncray.messages import SHAPES
from asyncray.rpc import codec
from asyncray.rpc.frame import frame_body, frame_header
from asyncray.rpc.stream import FrameStream

from .endpoints import Recorder


class Transport:
    """Takes what is sent, and knows how it ended."""

    local_address = remote = "fuzz"
    unsent = 0

    def __init__(self) -> None:
        self.ends: list[Exception | None] = []

    def write_frame(self, body: bytes) -> None:
        raise AssertionError("nobody sends here")

    async def drained(self) -> None:
        return None

    def end(self, error: Exception | None) -> None:
        self.ends.append(error)

    def watch(self) -> None:
        return None


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    logging.getLogger("asyncray").setLevel(logging.CRITICAL)  # each refusal is logged
    with asyncio.Runner() as runner:
        yield runner
    logging.getLogger("asyncray").setLevel(logging.NOTSET)


def receive(runner: asyncio.Runner, *bodies: bytes | memoryview) -> tuple[list[list[Any]], Exception | None]:
    """What a receiver gets of frames with these bodies, and the error that the stream has ended with."""

    async def handed_over() -> tuple[list[list[Any]], Exception | None]:
        transport, recorder = Transport(), Recorder()
        stream = FrameStream(transport, recorder)
        for body in bodies:
            stream.frame_received(body)
        if not stream.closed:
            assert (transport.ends, recorder.ends) == ([], [])
            return recorder.messages, None
        error = await recorder.ended()
        assert transport.ends == [error]
        assert isinstance(error, ProtocolError)
        assert 0 < len(str(error)) < 300
        return recorder.messages, error

    return runner.run(handed_over())


def is_known(message: Any) -> bool:
    """The rule of `messages.SHAPES`, told in another way."""
    if type(message) is not list or not message or type(message[0]) is not int or message[0] not in SHAPES:
        return False
    return any(
        len(shape) == len(message) and all(type(field) is kind for field, kind in zip(message, shape, strict=True))
        for shape in SHAPES[message[0]]
    )


FIELDS: dict[type, st.SearchStrategy[Any]] = {
    int: st.integers(-(2**63), 2**64 - 1),
    str: st.text(max_size=5),
    bytes: st.binary(max_size=24),
    bool: st.booleans(),
    float: st.floats(allow_nan=False),
    list: st.lists(st.integers(0, 9) | st.binary(max_size=3) | st.none(), max_size=3),
    dict: st.dictionaries(st.text(max_size=3) | st.integers(0, 3), st.integers(0, 80), max_size=3),
    type(None): st.none(),
}
ANYTHING = st.one_of(*FIELDS.values())
KNOWN = (
    st.sampled_from([(kind, shape) for kind in sorted(SHAPES) for shape in sorted(SHAPES[kind], key=str)])
    .flatmap(lambda found: st.tuples(st.just(found[0]), *(FIELDS[field] for field in found[1][1:])))
    .map(list)
)


@st.composite
def spoiled(draw: st.DrawFn) -> Any:
    """A message in which something may be wrong."""
    message = list(draw(KNOWN))
    for _ in range(draw(st.integers(1, 2))):
        place = draw(st.integers(0, len(message)))
        match draw(st.sampled_from(["replace", "remove", "insert", "end", "nest"])):
            case "replace" if place < len(message):
                message[place] = draw(ANYTHING)
            case "remove" if place < len(message):
                del message[place]
            case "insert":
                message.insert(place, draw(ANYTHING))
            case "end":
                message = message[:place]
            case "nest":
                message = [message]
    return message


@given(batch=st.lists(KNOWN | spoiled() | ANYTHING, max_size=6))
@example(batch=[[True]])
@example(batch=[[messages.BLOCKED], [messages.BLOCKED, 1], [messages.BLOCKED]])
@example(batch=[[[messages.BLOCKED]]])
@example(batch=[{}])
@example(batch=[bytes((messages.LEASE_CANCEL, 0))])
@example(batch=[{0: messages.LEASE_CANCEL, 1: 0}])
def test_messages_up_to_the_first_unknown_one_are_handed_over(runner: asyncio.Runner, batch: list[Any]) -> None:
    received, error = receive(runner, msgpack.packb(batch))
    known = [is_known(message) for message in batch]
    expected = batch if all(known) else batch[: known.index(False)]
    assert received == expected
    assert (error is None) == all(known)


def test_every_shape_is_handed_over(runner: asyncio.Runner) -> None:
    fillings = {int: 1, str: "", bytes: b"", bool: True, list: [], dict: {}, type(None): None, float: 0.5}
    for kind, shapes in SHAPES.items():
        for shape in shapes:
            message = [kind, *(fillings[field] for field in shape[1:])]
            assert receive(runner, msgpack.packb([message])) == ([message], None)


@given(batch=st.lists(KNOWN, min_size=1, max_size=5), data=st.data())
def test_damaged_bodies_end_the_stream_or_hold_messages(
    runner: asyncio.Runner, batch: list[Any], data: st.DataObject
) -> None:
    pack = codec.packer()
    body = bytearray(codec.join([pack(message) for message in batch]))
    for _ in range(data.draw(st.integers(0, 3))):
        bit = data.draw(st.integers(0, 8 * len(body) - 1))
        body[bit // 8] ^= 1 << bit % 8
    cut = data.draw(st.none() | st.integers(0, len(body)))
    received, _ = receive(runner, bytes(body[:cut]))
    assert all(map(is_known, received))


@given(batch=st.lists(KNOWN, min_size=1, max_size=5), data=st.data())
def test_damaged_frames_end_the_stream_or_hold_messages(
    runner: asyncio.Runner, batch: list[Any], data: st.DataObject
) -> None:
    body = msgpack.packb(batch)
    frame = bytearray(frame_header(len(body)) + body)
    for _ in range(data.draw(st.integers(1, 3))):
        bit = data.draw(st.integers(0, 8 * min(len(frame), 12) - 1))
        frame[bit // 8] ^= 1 << bit % 8
    try:
        found = frame_body(memoryview(frame))
    except ProtocolError as error:
        assert len(str(error)) < 300
        return
    assert len(found) <= len(frame)
    received, _ = receive(runner, found)
    assert all(map(is_known, received))


@given(body=st.binary(max_size=80), others=st.lists(KNOWN, max_size=3))
@example(body=b"\x91" * 80, others=[])
@example(body=b"\xdd\xff\xff\xff\xff", others=[])
@example(body=b"\x91\x92\x0e\xc6\xff\xff\xff\xff", others=[])
def test_random_bytes_end_the_stream_and_nothing_after_them_is_read(
    runner: asyncio.Runner, body: bytes, others: list[Any]
) -> None:
    received, error = receive(runner, body, msgpack.packb(others))
    if error is None:
        received = received[len(msgpack.unpackb(body, strict_map_key=False, unicode_errors="surrogateescape")) :]
        assert received == others
    assert all(map(is_known, received))
