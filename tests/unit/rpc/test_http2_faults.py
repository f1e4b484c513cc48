"""Whatever a peer sends: only its own stream, or its own connection, ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import struct
from collections.abc import AsyncIterator

import msgpack
import psutil
import pytest
from h2.events import ConnectionTerminated, StreamReset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncray.errors import ConnectionFailed, ProtocolError
from asyncray.rpc.frame import frame_header
from asyncray.rpc.network import GrpcNetwork

from .endpoints import ROUTE, TOKEN, Recorder, Server, number_of, release
from .raw_http2 import RawClient, prefixed, raw_client

pytestmark = pytest.mark.usefixtures("leaves_nothing_behind")

MIB = 1 << 20
fuzz = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def framed(*batch: object) -> bytes:
    """Messages as a gRPC message."""
    body = msgpack.packb(batch)
    return prefixed(frame_header(len(body)) + body)


@pytest.fixture
async def raw(server: Server) -> AsyncIterator[RawClient]:
    async with raw_client(server.listener.unix_path or "") as client:
        yield client


class Bystander:
    """A stream of another connection, which must not notice anything."""

    def __init__(self, server: Server) -> None:
        self.recorder = Recorder()
        self.server = server
        self.count = 0

    async def __aenter__(self) -> Bystander:
        self.server.on_message = lambda stream, message: stream.send(message)
        self.channel = await GrpcNetwork(TOKEN).connect(self.server.unix)
        self.stream = await self.channel.open(ROUTE, self.recorder)
        self.server.on_message = None
        return self

    async def check(self) -> None:
        self.count += 1
        self.stream.send(release(self.count))
        await self.recorder.received(self.count)
        assert number_of(self.recorder.messages[-1]) == self.count

    async def __aexit__(self, *_: object) -> None:
        self.channel.close()


async def refused(raw: RawClient, server: Server, stream_id: int, reason: str = "") -> None:
    """The stream ends with an error that both sides know, and the connection serves others."""
    accepted = server.last
    trailers = await raw.trailers(stream_id)
    assert trailers["grpc-status"] == "3", trailers
    assert reason in trailers["grpc-message"]
    assert isinstance(await accepted.recorder.ended(), ProtocolError)
    await works(raw, server)


async def works(raw: RawClient, server: Server) -> None:
    stream_id = raw.request()
    await raw.response(stream_id)
    raw.send(stream_id, framed(release(77)), end=True)
    assert (await raw.trailers(stream_id))["grpc-status"] == "0"
    assert [number_of(message) for message in server.last.recorder.messages] == [77]
    assert await server.last.recorder.ended() is None


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x01\0\0\0\x01x", "compressed"),
        (b"\x07\0\0\0\x01x", "compressed"),
        (b"\0\xff\xff\xff\xff", "4294967295 bytes"),
        (b"\0" + (64 * MIB + 12).to_bytes(4, "big"), "limit"),
        (prefixed(b"\x0a\x05x"), "middle of a field"),
        (prefixed(b""), "msgpack"),
        (prefixed(b"\x0a\x01\xc1"), "msgpack"),
        (prefixed(b"\x0a\x01\x07"), "int instead of an array"),
        (framed([9999, 1]), "kind 9999"),
        (framed([18, "text"]), "kind 18"),
    ],
)
async def test_a_malformed_frame_closes_its_stream_only(
    raw: RawClient, server: Server, data: bytes, reason: str
) -> None:
    stream_id = raw.request()
    await raw.response(stream_id)
    raw.send(stream_id, data)
    await refused(raw, server, stream_id, reason)


async def test_an_end_in_the_middle_of_a_message_is_an_error(raw: RawClient, server: Server) -> None:
    stream_id = raw.request()
    await raw.response(stream_id)
    raw.send(stream_id, framed(release(1))[:-1], end=True)
    await refused(raw, server, stream_id, "middle of a message")


async def test_an_oversized_message_is_refused_before_it_is_buffered(raw: RawClient, server: Server) -> None:
    stream_id = raw.request()
    await raw.response(stream_id)
    raw.send(stream_id, b"\0\x7f\xff\xff\xff")
    await raw.wait_for(StreamReset, stream_id)
    before = psutil.Process().memory_info().rss
    for _ in range(30):  # what the client had sent before it knew
        raw.writer.write(data_frame(stream_id, bytes(MIB)))
        await raw.writer.drain()
    await works(raw, server)
    assert psutil.Process().memory_info().rss - before < 20 * MIB


def data_frame(stream_id: int, data: bytes, flags: int = 0) -> bytes:
    return struct.pack(">HBBBI", len(data) >> 8, len(data) & 0xFF, 0, flags, stream_id) + data


async def test_a_reset_ends_the_stream_with_an_error(raw: RawClient, server: Server) -> None:
    stream_id = raw.request()
    await raw.response(stream_id)
    raw.h2.reset_stream(stream_id, 8)
    raw.flush()
    error = await server.last.recorder.ended()
    assert isinstance(error, ConnectionFailed)
    assert "CANCEL" in str(error)
    await works(raw, server)


async def test_a_goaway_ends_the_connection(raw: RawClient, server: Server) -> None:
    await raw.response(raw.request())
    raw.h2.close_connection()
    raw.flush()
    assert isinstance(await server.last.recorder.ended(), ConnectionFailed)
    await raw.connection_end()


async def test_a_connection_that_just_ends_ends_its_streams_with_an_error(raw: RawClient, server: Server) -> None:
    for _ in range(3):
        await raw.response(raw.request())
    raw.writer.close()
    for accepted in server.accepted:
        error = await accepted.recorder.ended()
        assert isinstance(error, ConnectionFailed)
        assert str(os.getpid()) in str(error)


async def test_more_than_the_granted_window_ends_the_connection(socket_path: str) -> None:
    from asyncray.config import Config

    server = Server()
    server.listener = await GrpcNetwork(TOKEN, Config(http2_window=70_000)).listen(
        streams={ROUTE: server.accept}, unix_path=socket_path
    )
    async with raw_client(socket_path) as raw:
        stream_id = raw.request()
        await raw.response(stream_id)
        raw.writer.write(data_frame(stream_id, bytes(80_000)))
        assert isinstance(await server.last.recorder.ended(), ProtocolError | ConnectionFailed)
        await raw.connection_end()
    await server.listener.close()


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 9,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\x04\x08\0\0\0\0\0" + bytes(4),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\x03\x01\x04\0\0\0\x01\xff\xff\xff",
    ],
)
async def test_what_is_not_http2_ends_its_connection_with_one_log_line(
    server: Server, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with Bystander(server) as bystander:
        with caplog.at_level(logging.INFO):
            reader, writer = await asyncio.open_unix_connection(server.listener.unix_path)
            writer.write(data)
            async with asyncio.timeout(10):
                with contextlib.suppress(ConnectionError):
                    await reader.read()
            writer.close()
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "\n" not in caplog.messages[0]
        await bystander.check()


@fuzz
@given(data=st.binary(min_size=1, max_size=300), preface=st.booleans())
async def test_random_bytes_harm_no_other_connection(server: Server, data: bytes, preface: bool) -> None:
    async with Bystander(server) as bystander:
        reader, writer = await asyncio.open_unix_connection(server.listener.unix_path)
        writer.write((b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0" if preface else b"") + data)
        writer.write_eof()
        async with asyncio.timeout(10):
            with contextlib.suppress(ConnectionError):
                await reader.read()
        writer.close()
        await bystander.check()


frames = st.builds(
    lambda kind, flags, stream, data: (
        struct.pack(">HBBBI", len(data) >> 8, len(data) & 0xFF, kind, flags, stream) + data
    ),
    st.integers(0, 12),
    st.sampled_from([0, 0, 1, 4, 5, 8, 32, 255]),
    st.sampled_from([0, 1, 1, 1, 2, 3, 5, 2**31 - 1]),
    st.one_of(st.binary(max_size=20), st.just(framed(release(1))), st.just(prefixed(b"\x0a\x01\x90"))),
)


@fuzz
@given(garbage=st.lists(frames, min_size=1, max_size=8))
async def test_random_http2_frames_harm_no_other_connection(server: Server, garbage: list[bytes]) -> None:
    async with Bystander(server) as bystander, raw_client(server.listener.unix_path or "") as raw:
        await raw.response(raw.request())
        accepted = server.last
        raw.writer.write(b"".join(garbage))
        raw.writer.write_eof()
        await raw.connection_end()
        await accepted.recorder.ended()
        await bystander.check()


@fuzz
@given(
    data=st.one_of(st.binary(min_size=1, max_size=200), st.binary(max_size=100).map(prefixed)), split=st.integers(0, 9)
)
async def test_random_bytes_on_a_stream_harm_no_other_stream(
    raw: RawClient, server: Server, data: bytes, split: int
) -> None:
    stream_id = raw.request()
    await raw.response(stream_id)
    accepted = server.last
    raw.send(stream_id, data[:split])
    with contextlib.suppress(Exception):  # the stream may be closed already
        raw.send(stream_id, data[split:])
    await works(raw, server)
    if not accepted.stream.closed:
        raw.h2.reset_stream(stream_id)
        raw.flush()
    await accepted.recorder.ended()
    await works(raw, server)


@fuzz
@given(
    counts=st.lists(st.integers(1, 30), min_size=1, max_size=10),
    cuts=st.lists(st.integers(1, 200), min_size=1, max_size=20),
    paddings=st.lists(st.none() | st.integers(0, 255), min_size=1, max_size=5),
)
async def test_messages_may_be_cut_and_padded_anywhere(
    raw: RawClient, server: Server, counts: list[int], cuts: list[int], paddings: list[int | None]
) -> None:
    stream_id = raw.request()
    await raw.response(stream_id)
    accepted = server.last
    numbers = list(range(sum(counts)))
    data, rest = b"", iter(numbers)
    for count in counts:
        data += framed(*[release(next(rest)) for _ in range(count)])
    turn = 0
    while data:
        cut = cuts[turn % len(cuts)]
        raw.send(stream_id, data[:cut], padding=paddings[turn % len(paddings)])
        data = data[cut:]
        turn += 1
    raw.h2.end_stream(stream_id)
    raw.flush()
    assert (await raw.trailers(stream_id))["grpc-status"] == "0"
    assert await accepted.recorder.ended() is None
    assert [number_of(message) for message in accepted.recorder.messages] == numbers


async def test_a_connection_that_broke_http2_is_told_why(raw: RawClient, server: Server) -> None:
    stream_id = raw.request()
    await raw.response(stream_id)
    raw.writer.write(b"\0\0\x04\x08\0\0\0\0\0" + bytes(4))  # WINDOW_UPDATE by 0
    with contextlib.suppress(AssertionError):
        await raw.wait_for(ConnectionTerminated, -1)
    assert any(isinstance(event, ConnectionTerminated) for event in raw.events)
    assert isinstance(await server.last.recorder.ended(), ConnectionFailed)
