"""Servers that answer what ours never would."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived

from asyncray.errors import AsyncrayError, ConnectionFailed, ProtocolError
from asyncray.proto import Empty, NodeStatus, NodeStub
from asyncray.rpc.network import Channel, GrpcNetwork

from .endpoints import PATIENCE, ROUTE, TOKEN, Recorder
from .raw_http2 import prefixed

pytestmark = pytest.mark.usefixtures("leaves_nothing_behind")

Answer = Callable[[H2Connection, int], None]
GOOD = [(":status", "200"), ("content-type", "application/grpc")]


@contextlib.asynccontextmanager
async def foreign_server(answer: Answer) -> AsyncIterator[Channel]:
    """Answers every request so; a channel to it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        h2 = H2Connection(H2Configuration(client_side=False, validate_outbound_headers=False))
        h2.initiate_connection()
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                for event in h2.receive_data(data):
                    if isinstance(event, RequestReceived):
                        answer(h2, event.stream_id)
                writer.write(h2.data_to_send())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    channel = await GrpcNetwork(TOKEN).connect(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
    try:
        async with asyncio.timeout(PATIENCE):
            yield channel
    finally:
        channel.close()
        server.close()
        await server.wait_closed()


def http_error(h2: H2Connection, stream_id: int) -> None:
    h2.send_headers(stream_id, [(":status", "404")], end_stream=True)


def trailers_only(status: str) -> Answer:
    return lambda h2, stream_id: h2.send_headers(stream_id, [*GOOD, ("grpc-status", status)], end_stream=True)


def reset(code: int) -> Answer:
    return lambda h2, stream_id: h2.reset_stream(stream_id, code)


def replies(*messages: bytes, trailers: Any = (("grpc-status", "0"),)) -> Answer:
    def answer(h2: H2Connection, stream_id: int) -> None:
        h2.send_headers(stream_id, GOOD)
        for message in messages:
            h2.send_data(stream_id, message)
        if trailers:
            h2.send_headers(stream_id, list(trailers), end_stream=True)
        else:
            h2.end_stream(stream_id)

    return answer


REFUSALS = [
    (http_error, ProtocolError, "HTTP status 404"),
    (trailers_only("7"), AsyncrayError, "PERMISSION_DENIED"),
    (trailers_only("14"), ConnectionFailed, "UNAVAILABLE"),
    (trailers_only("4"), TimeoutError, "DEADLINE_EXCEEDED"),
    (trailers_only("many"), ProtocolError, "the status 'many'"),
    (reset(1), ProtocolError, "malformed"),
    (reset(7), ConnectionFailed, "REFUSED_STREAM"),
    (reset(4711), ConnectionFailed, "4711"),
]


@pytest.mark.parametrize(("answer", "kind", "text"), REFUSALS)
async def test_a_refusal_is_told_to_who_opens_a_stream_or_calls(
    answer: Answer, kind: type[Exception], text: str
) -> None:
    async with foreign_server(answer) as channel:
        recorder = Recorder()
        with pytest.raises(kind, match=text):
            await channel.open(ROUTE, recorder)
        with pytest.raises(kind, match=text):
            await channel.stub(NodeStub).status(Empty())
        assert not recorder.ends


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (replies(trailers=None), "without a status"),
        (replies(trailers=[("x", "y")]), "without a status"),
        (replies(), "without a reply"),
        (replies(prefixed(b""), prefixed(b"")), "replied twice"),
        (replies(prefixed(b"\x0a\x03\x12\x01\xff")), "not its message"),
        (replies(b"\x01\0\0\0\0"), "compressed"),
        (replies(b"\0\xff\0\0\0"), "limit"),
    ],
)
async def test_a_reply_that_is_none_fails_its_call_only(answer: Answer, text: str) -> None:
    async with foreign_server(answer) as channel:
        for _ in range(2):
            with pytest.raises(ProtocolError, match=text):
                await channel.stub(NodeStub).status(Empty())
        assert not channel.closed


async def test_a_reply_in_pieces_is_a_reply() -> None:
    reply = prefixed(bytes(NodeStatus(workers=3)))
    async with foreign_server(replies(*[bytes([octet]) for octet in reply])) as channel:
        assert (await channel.stub(NodeStub).status(Empty())).workers == 3


async def test_a_stream_that_ends_without_a_status_ends_with_an_error() -> None:
    async with foreign_server(replies(trailers=None)) as channel:
        recorder = Recorder()
        await channel.open(ROUTE, recorder)
        error = await recorder.ended()
        assert isinstance(error, ProtocolError)
        assert "without a status" in str(error)


async def test_a_stream_that_ends_with_its_first_headers_is_no_stream() -> None:
    async with foreign_server(trailers_only("0")) as channel:
        with pytest.raises(ConnectionFailed, match="at once"):
            await channel.open(ROUTE, Recorder())
