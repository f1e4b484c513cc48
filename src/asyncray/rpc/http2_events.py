"""What h2 reports of a connection, sent where it belongs: to `Http2Stream`s, or to grpclib's unary calls."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from grpclib.config import Configuration
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.protocol import Connection, EventsProcessor, Stream
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RemoteSettingsChanged,
    RequestReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    UnknownFrameReceived,
    WindowUpdated,
)

from asyncray.rpc.http2_stream import Headers

if TYPE_CHECKING:
    from asyncray.rpc.http2_connection import Http2Connection, Http2Handler


class Http2Events(EventsProcessor):
    """The events of one connection."""

    def __init__(self, handler: Http2Handler, connection: Connection, owner: Http2Connection) -> None:
        super().__init__(handler, connection)
        self.processors[UnknownFrameReceived] = self._ignore
        self._owner = owner

    def _ignore(self, event: Event) -> None:
        """HTTP/2 asks for it: frames of an unknown type mean nothing."""

    def process_request_received(self, event: RequestReceived) -> None:
        if not self._owner.handler.take(self._owner, event.stream_id, cast(Headers, event.headers)):
            super().process_request_received(event)

    def process_response_received(self, event: ResponseReceived) -> None:
        if stream := self._owner.streams.get(event.stream_id):
            stream.on_response(cast(Headers, event.headers))

    def process_trailers_received(self, event: TrailersReceived) -> None:
        if stream := self._owner.streams.get(event.stream_id):
            stream.on_trailers(cast(Headers, event.headers))

    def process_data_received(self, event: DataReceived) -> None:
        if stream := self._owner.streams.get(event.stream_id):
            self._owner.acknowledge(event.stream_id, event.flow_controlled_length)
            stream.on_data(memoryview(event.data))
        else:
            super().process_data_received(event)

    def process_stream_ended(self, event: StreamEnded) -> None:
        self._owner.stream_freed()
        if stream := self._owner.streams.get(event.stream_id):
            stream.on_end()
        else:
            super().process_stream_ended(event)

    def process_stream_reset(self, event: StreamReset) -> None:
        self._owner.stream_freed()
        if stream := self._owner.streams.get(event.stream_id):
            stream.on_reset(event.error_code)
        else:
            super().process_stream_reset(event)

    def process_window_updated(self, event: WindowUpdated) -> None:
        super().process_window_updated(event)
        if not event.stream_id:
            self._owner.write_unsent()
        elif stream := self._owner.streams.get(event.stream_id):
            stream.write_unsent()

    def process_remote_settings_changed(self, event: RemoteSettingsChanged) -> None:
        super().process_remote_settings_changed(event)
        self._owner.write_unsent()

    def process_connection_terminated(self, event: ConnectionTerminated) -> None:
        self._owner.peer_gave_up(event.error_code)


class _BoundedStream(Stream):
    """A unary call of grpclib's that refuses a message before it is buffered, if it is too large."""

    async def recv_data(self, size: int) -> bytes:
        limit = cast(GrpclibConnection, self.connection).message_limit
        if size > limit:
            raise GRPCError(Status.RESOURCE_EXHAUSTED, f"a message of {size} bytes is too large (limit {limit})")
        return await super().recv_data(size)


class GrpclibConnection(Connection):
    """What grpclib's handlers of unary calls see of a connection."""

    def __init__(
        self, h2: H2Connection, transport: asyncio.Transport, config: Configuration, message_limit: int
    ) -> None:
        super().__init__(h2, transport, config=config)
        self.message_limit = message_limit

    def create_stream(self, *, stream_id: int | None = None, wrapper: Any = None) -> Stream:
        return _BoundedStream(self, self._connection, self._transport, stream_id=stream_id, wrapper=wrapper)
