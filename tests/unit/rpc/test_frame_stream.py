"""The part of a stream that is the same over gRPC and in the simulator."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import msgpack
import pytest

from asyncray import messages
from asyncray.config import Config
from asyncray.errors import ProtocolError
from asyncray.rpc import codec
from asyncray.rpc.stream import FrameStream

from .endpoints import Recorder, number_of, release


class MemoryTransport:
    """Keeps what is written."""

    local_address = "here"
    remote = "there"
    unsent = 0

    def __init__(self) -> None:
        self.frames: list[list[Any]] = []
        self.sizes: list[int] = []
        self.ends: list[Exception | None] = []

    def write_frame(self, body: bytes) -> None:
        assert not self.ends
        self.frames.append(msgpack.unpackb(body))
        self.sizes.append(len(body))

    async def drained(self) -> None:
        pass

    def end(self, error: Exception | None) -> None:
        self.ends.append(error)

    def watch(self) -> None:
        pass


@pytest.fixture
def transport() -> MemoryTransport:
    return MemoryTransport()


@pytest.fixture
async def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
async def stream(transport: MemoryTransport, recorder: Recorder) -> FrameStream:
    return FrameStream(transport, recorder, Config(inline_limit=1000, frame_target=10_000, frame_limit=50_000))


def body(*batch: Any) -> bytes:
    packed: bytes = msgpack.packb(batch)
    return packed


def numbers(frame: list[Any]) -> list[int]:
    return [number_of(message) for message in frame]


async def test_everything_sent_in_one_turn_leaves_in_one_frame(stream: FrameStream, transport: MemoryTransport) -> None:
    for number in range(10):
        stream.send(release(number))
    assert not transport.frames
    await asyncio.sleep(0)
    stream.send(release(10))
    await asyncio.sleep(0)
    assert [numbers(frame) for frame in transport.frames] == [list(range(10)), [10]]


async def test_what_was_packed_for_many_streams_takes_its_turn(stream: FrameStream, transport: MemoryTransport) -> None:
    pack = codec.packer()
    stream.send(release(0))
    stream.send_packed(pack(release(1)))
    stream.send(release(2))
    await asyncio.sleep(0)
    stream.send_packed(pack(release(3)))
    await asyncio.sleep(0)
    assert [numbers(frame) for frame in transport.frames] == [[0, 1, 2], [3]]
    stream.close()
    stream.send_packed(pack(release(4)))
    assert stream.unsent == 0


async def test_a_large_turn_is_split_at_the_frame_target(stream: FrameStream, transport: MemoryTransport) -> None:
    for number in range(3000):
        stream.send(release(number))
    await asyncio.sleep(0)
    assert [number for frame in transport.frames for number in numbers(frame)] == list(range(3000))
    assert max(transport.sizes) <= 10_000 + 5
    assert min(transport.sizes[:-1]) > 9_900


async def test_a_message_above_the_target_has_a_frame_of_its_own(
    stream: FrameStream, transport: MemoryTransport
) -> None:
    for size in (10, 30_000, 10):
        stream.send((messages.RELEASE, bytes(size)))
    await asyncio.sleep(0)
    assert [len(frame) for frame in transport.frames] == [1, 1, 1]


async def test_a_message_that_fits_no_frame_is_refused_and_the_stream_goes_on(
    stream: FrameStream, transport: MemoryTransport
) -> None:
    stream.send(release(1))
    with pytest.raises(ProtocolError, match="does not fit a frame"):
        stream.send((messages.RELEASE, bytes(50_000)))
    stream.send(release(2))
    await asyncio.sleep(0)
    assert numbers(transport.frames[0]) == [1, 2]


async def test_what_msgpack_cannot_encode_is_refused_where_it_is_sent(
    stream: FrameStream, transport: MemoryTransport
) -> None:
    with pytest.raises(TypeError):
        stream.send((messages.RELEASE, object()))
    stream.send(release(1))
    await asyncio.sleep(0)
    assert numbers(transport.frames[0]) == [1]


async def test_changing_a_message_after_sending_it_changes_nothing(
    stream: FrameStream, transport: MemoryTransport
) -> None:
    message = list(release(1))
    stream.send(message)
    message[1] = b""
    await asyncio.sleep(0)
    assert numbers(transport.frames[0]) == [1]


async def test_messages_are_handed_over_in_order(stream: FrameStream, recorder: Recorder) -> None:
    stream.frame_received(body(release(1), release(2)))
    stream.frame_received(memoryview(body(release(3))))
    assert numbers(recorder.messages) == [1, 2, 3]


async def test_replies_to_a_frame_leave_at_once_in_one_frame(stream: FrameStream, transport: MemoryTransport) -> None:
    stream.receiver = Recorder(lambda stream, message: stream.send(message))
    stream.frame_received(body(release(1), release(2)))
    assert [numbers(frame) for frame in transport.frames] == [[1, 2]]


async def test_the_receiver_may_be_exchanged_between_two_messages_of_a_frame(
    stream: FrameStream, transport: MemoryTransport
) -> None:
    second = Recorder()

    def exchange(stream: FrameStream, message: list[Any]) -> None:
        stream.receiver = second

    first = stream.receiver = Recorder(exchange)
    stream.frame_received(body(release(1), release(2)))
    stream.close()
    assert numbers(first.messages) == [1]
    assert numbers(second.messages) == [2]
    assert await second.ended() is None
    assert not first.ends


async def test_closing_flushes_first_and_tells_the_receiver_once(
    stream: FrameStream, transport: MemoryTransport, recorder: Recorder
) -> None:
    stream.send(release(1))
    stream.close()
    stream.close(ProtocolError("too late"))
    stream.ended(ProtocolError("too late"))
    assert stream.closed
    assert not recorder.ends, "on_close must not be called while its caller is still at work"
    assert await recorder.ended() is None
    assert numbers(transport.frames[0]) == [1]
    assert transport.ends == [None]


async def test_a_closed_stream_neither_sends_nor_receives(
    stream: FrameStream, transport: MemoryTransport, recorder: Recorder
) -> None:
    stream.close()
    stream.send(release(1))
    stream.frame_received(body(release(2)))
    await stream.drained()
    await asyncio.sleep(0)
    assert not transport.frames
    assert not recorder.messages


async def test_closing_inside_a_frame_ends_its_delivery(stream: FrameStream) -> None:
    recorder = stream.receiver = Recorder(lambda stream, message: stream.close())
    stream.frame_received(body(release(1), release(2)))
    assert numbers(recorder.messages) == [1]
    assert await recorder.ended() is None


MALFORMED = [
    b"\xc1",
    msgpack.packb(7),
    msgpack.packb([7]),
    msgpack.packb([[]]),
    msgpack.packb(["GET"]),
    msgpack.packb([{1: 2}]),
    msgpack.packb([[messages.GET]]),
    msgpack.packb([[messages.GET, "text"]]),
    msgpack.packb([[messages.GET, b"", b""]]),
    msgpack.packb([[9999, b""]]),
    msgpack.packb([[float(messages.GET), b""]]),
    msgpack.packb([[True, [], ""]]),
    msgpack.packb([[[], b""]]),
    msgpack.packb([[None, b""]]),
]


@pytest.mark.parametrize("frame", MALFORMED)
async def test_a_malformed_frame_closes_the_stream_with_one_log_line(
    stream: FrameStream,
    transport: MemoryTransport,
    recorder: Recorder,
    caplog: pytest.LogCaptureFixture,
    frame: bytes,
) -> None:
    with caplog.at_level(logging.INFO):
        stream.frame_received(frame)
    assert isinstance(await recorder.ended(), ProtocolError)
    assert isinstance(transport.ends[0], ProtocolError)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "there" in caplog.messages[0]
    assert "\n" not in caplog.messages[0]


async def test_what_comes_before_a_malformed_message_is_delivered(stream: FrameStream, recorder: Recorder) -> None:
    stream.frame_received(body(release(1), [9999], release(2)))
    assert numbers(recorder.messages) == [1]
    assert isinstance(await recorder.ended(), ProtocolError)


async def test_a_protocol_error_of_the_receiver_closes_the_stream(
    stream: FrameStream, transport: MemoryTransport
) -> None:
    def refuse(stream: FrameStream, message: list[Any]) -> None:
        raise ProtocolError("not on this stream")

    recorder = stream.receiver = Recorder(refuse)
    stream.frame_received(body(release(1), release(2)))
    assert str(await recorder.ended()) == "not on this stream"
    assert len(recorder.messages) == 1
    assert len(transport.ends) == 1


async def test_a_receiver_that_fails_closes_its_stream_and_is_logged_with_its_traceback(
    stream: FrameStream, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(stream: FrameStream, message: list[Any]) -> None:
        raise KeyError("bug")

    recorder = stream.receiver = Recorder(fail)
    stream.frame_received(body(release(1)))
    assert isinstance(await recorder.ended(), KeyError)
    assert "Traceback" in caplog.text


async def test_an_acceptor_that_fails_refuses_the_stream(
    transport: MemoryTransport, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(stream: FrameStream) -> Recorder:
        raise KeyError("bug")

    stream = FrameStream(transport, None)
    stream.accept(fail)
    stream.frame_received(body(release(1)))
    await asyncio.sleep(0)
    assert stream.closed
    assert isinstance(transport.ends[0], KeyError)
    assert "Traceback" in caplog.text
