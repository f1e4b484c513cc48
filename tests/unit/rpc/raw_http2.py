"""An HTTP/2 client that shares no code with ours: it sends what ours never would."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, ResponseReceived, StreamReset, TrailersReceived

from .endpoints import PATIENCE, ROUTE, TOKEN


class RawClient:
    """One connection. `wait_for` reads until an event of a kind has come."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.events: list[Event] = []

    def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())

    def request(self, route: str = ROUTE, token: str | None = TOKEN, **more: str) -> int:
        """Opens a stream; returns its id."""
        headers = {
            ":method": "POST",
            ":scheme": "http",
            ":path": route,
            ":authority": "localhost",
            "te": "trailers",
            "content-type": "application/grpc",
            **({"authorization": f"Bearer {token}"} if token is not None else {}),
            **more,
        }
        stream_id = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream_id, list(headers.items()))
        self.flush()
        return stream_id

    def send(self, stream_id: int, data: bytes, *, end: bool = False, padding: int | None = None) -> None:
        self.h2.send_data(stream_id, data, end_stream=end, pad_length=padding)
        self.flush()

    async def wait_for(self, kind: type[Event], stream_id: int) -> Any:
        async with asyncio.timeout(PATIENCE):
            while True:
                for event in self.events:
                    if type(event) is kind and getattr(event, "stream_id", None) == stream_id:
                        self.events.remove(event)
                        return event
                data = await self.reader.read(65536)
                assert data, f"the connection ended before a {kind.__name__}"
                for event in self.h2.receive_data(data):
                    self.events.append(event)
                    if isinstance(event, DataReceived):
                        self.h2.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
                self.flush()

    async def response(self, stream_id: int) -> dict[str, str]:
        return dict((await self.wait_for(ResponseReceived, stream_id)).headers)

    async def trailers(self, stream_id: int) -> dict[str, str]:
        return dict((await self.wait_for(TrailersReceived, stream_id)).headers)

    async def reset(self, stream_id: int) -> StreamReset:
        event: StreamReset = await self.wait_for(StreamReset, stream_id)
        return event

    async def connection_end(self) -> None:
        """Waits until the server has closed the connection."""
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(ConnectionError):
                while await self.reader.read(65536):
                    pass


@contextlib.asynccontextmanager
async def raw_client(path: str) -> AsyncIterator[RawClient]:
    reader, writer = await asyncio.open_unix_connection(path)
    client = RawClient(reader, writer)
    client.flush()
    try:
        yield client
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def prefixed(message: bytes) -> bytes:
    """A gRPC message as it travels."""
    return b"\0" + len(message).to_bytes(4, "big") + message
