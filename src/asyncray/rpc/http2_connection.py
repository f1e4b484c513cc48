"""HTTP/2 connections: grpclib's protocol, with a direct way for the data of `Http2Stream`s.

h2 takes 6 us to send a small DATA frame and 10 us to receive one (it formats log records that nobody reads); here they
take 0.4 and 0.8 us. So h2 handles everything but plain DATA frames, those without padding and END_STREAM, of the
streams that are registered here.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections import deque
from typing import Any, Final, cast

from grpclib.config import Configuration
from grpclib.protocol import AbstractHandler, H2Protocol, Stream
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import H2Error, TooManyStreamsError
from h2.settings import SettingCodes, Settings

from asyncray.config import Config
from asyncray.errors import ConnectionFailed
from asyncray.rpc.http2_events import GrpclibConnection, Http2Events
from asyncray.rpc.http2_stream import Headers, Http2Stream
from asyncray.rpc.sockets import describe_local, describe_peer, prepare

_log = logging.getLogger(__name__)
# At DEBUG it writes every header to the log, the token among them.
logging.getLogger("hpack").setLevel(logging.INFO)

_FRAME_HEADER: Final = struct.Struct(">HBBBI")  # length (24 bits, in two parts), type, flags, stream
_FRAME_HEADER_SIZE: Final = 9
_DATA: Final = 0
_PREFACE_SIZE: Final = 24
_LARGEST_FRAME: Final = 4 << 20
"""HTTP/2 frames may be this large: a frame of messages should not be cut into 64 pieces."""
_CONCURRENT_STREAMS: Final = 1000
"""Calls and streams that a peer may have open on a connection; more wait at the caller."""
_HEADERS_LIMIT: Final = 64 << 10
_WRITE_BUFFER: Final = 1 << 20
"""Bytes that may wait in a transport before writing pauses."""
_JOIN_UP_TO: Final = 16 << 10
"""A frame up to this size is written in one piece with what goes before it: a copy is cheaper than a second write."""


class Http2Handler(AbstractHandler):
    """What the owner of connections decides. Requests that it does not take go to grpclib's handlers by `accept`."""

    def connected(self, connection: Http2Connection) -> None:
        """The connection is there."""

    def disconnected(self, connection: Http2Connection) -> None:
        """The connection is gone, its socket closed."""

    def take(self, connection: Http2Connection, stream_id: int, headers: Headers) -> bool:
        """Serves or refuses a request; False leaves it to `accept`."""
        return False

    def accept(self, stream: Stream, headers: Any, release_stream: Any) -> None:
        raise NotImplementedError

    def cancel(self, stream: Stream) -> None:
        """The peer gave up a request that `accept` got."""

    def close(self) -> None:
        """Nothing will come of the requests that `accept` got."""


class Http2Connection(H2Protocol):
    """One HTTP/2 connection, of either side. Its streams end with it."""

    def __init__(self, handler: Http2Handler, config: Config, *, client: bool, target: str = "", tls: bool = False):
        super().__init__(
            handler,
            Configuration(),
            H2Configuration(
                client_side=client,
                header_encoding="ascii",
                validate_inbound_headers=False,
                validate_outbound_headers=False,
                normalize_inbound_headers=False,
                normalize_outbound_headers=False,
            ),
        )
        self.handler: Http2Handler = handler
        self.h2 = _h2_connection(self.h2_config, config.http2_window)
        self.streams: dict[int, Http2Stream] = {}
        self.writable = False
        self.closed = False
        self.acknowledge_after = config.http2_window // _CONCURRENT_STREAMS
        """Received bytes that a stream saves up: all streams together keep less than the connection's window."""
        self.tls = tls
        self.local_address = ""
        self.remote = target
        self._limits = config
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle | None = None
        self._heard = False
        self._end_reason = ""
        self._silent_ticks = 0
        self._preface_missing = 0 if client else _PREFACE_SIZE
        self._callers: deque[asyncio.Future[None]] = deque()
        """Requests that wait because the peer takes no more streams at a time."""
        self._parts: list[bytes] = []
        self._parts_size = 0
        self._parts_needed = 0

    # ---- the connection's life

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=_WRITE_BUFFER)
        prepare(transport)
        self.local_address = describe_local(transport)
        self.remote = self.remote or describe_peer(transport)
        self.connection = GrpclibConnection(self.h2, self._transport, self.config, self._limits.frame_limit)
        self.processor = Http2Events(self.handler, self.connection, self)
        self.writable = True
        self.flush()
        self.handler.connected(self)

    def connection_lost(self, error: BaseException | None) -> None:
        self._end_streams(str(error or ""))
        self._stop_timer()
        self.processor.close("the connection was lost")
        self.handler.disconnected(self)

    def close(self) -> None:
        """Closes, after what was written if the peer takes it within `stop_timeout`."""
        self._shut("it was closed here")

    def abort(self) -> None:
        """Closes at once."""
        self._end_streams("it was closed here")
        self._transport.abort()

    def lost(self) -> ConnectionFailed:
        """The error for what needs this connection, which is closed."""
        detail = f": {self._end_reason}" if self._end_reason else ""
        if self._heard or not self.h2_config.client_side:
            return ConnectionFailed(f"the connection to {self.remote} was lost{detail}")
        hint = "" if self.tls or self.remote.startswith("unix:") else " (does it expect TLS?)"
        return ConnectionFailed(f"{self.remote} closed the connection before it said anything{hint}{detail}")

    def _shut(self, reason: str) -> None:
        if self.closed:
            return
        self._end_streams(reason)
        self._stop_timer()
        # The peer may not read, or not answer the end of TLS.
        self._timer = asyncio.get_running_loop().call_later(self._limits.stop_timeout, self._transport.abort)
        self._transport.close()

    def _end_streams(self, reason: str) -> None:
        if self.closed:
            return
        self.closed = True
        self._end_reason = reason
        self.writable = False
        self._parts.clear()
        streams = list(self.streams.values())
        self.streams.clear()
        for stream in streams:
            stream.on_connection_lost(self.lost())
        while self._callers:
            self.stream_freed()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # ---- silence

    def watch(self) -> None:
        """From now on, a peer that says nothing for `node_silence_timeout` is dead; an idle one is pinged."""
        if self._timer is None and not self.closed:
            self._timer = asyncio.get_running_loop().call_later(self._limits.ping_interval, self._tick)

    def _tick(self) -> None:
        # Ticks are counted, not seconds: after this loop was blocked, what the peer said meanwhile is yet to be read.
        limits = self._limits
        self._silent_ticks += 1
        if self._silent_ticks * limits.ping_interval > limits.node_silence_timeout:
            self._end_streams(f"it said nothing for {limits.node_silence_timeout:g} s")
            self._transport.abort()
            return
        if self._silent_ticks > 1:
            self.h2.ping(bytes(8))
            self.flush()
        self._timer = asyncio.get_running_loop().call_later(limits.ping_interval, self._tick)

    # ---- receiving

    def data_received(self, data: bytes) -> None:
        self._silent_ticks = 0
        self._heard = True
        if self._preface_missing:
            preface, data = data[: self._preface_missing], data[self._preface_missing :]
            self._preface_missing -= len(preface)
            self._process(preface)
        if self._parts:
            self._parts.append(data)
            self._parts_size += len(data)
            if self._parts_size < self._parts_needed:
                return
            data = b"".join(self._parts)
            self._parts.clear()
        self._split(data)

    def _split(self, data: bytes) -> None:
        """Takes the HTTP/2 frames of `data`, and keeps the part of a frame that it ends with."""
        view = memoryview(data)
        streams = self.streams
        position, size, needed = 0, len(data), _FRAME_HEADER_SIZE
        while size - position >= _FRAME_HEADER_SIZE and not self.closed:
            high, low, kind, flags, stream_id = _FRAME_HEADER.unpack_from(data, position)
            start = position + _FRAME_HEADER_SIZE
            end = start + (high << 8 | low)
            if end > size:
                needed = end - position
                break
            stream = streams.get(stream_id) if kind == _DATA and not flags else None
            if stream is None or not stream.receive(view[start:end]):
                self._process(data[position:end])
            position = end
        if needed > _LARGEST_FRAME + _FRAME_HEADER_SIZE:
            self._violated("an HTTP/2 frame is too large")
        elif position < size and not self.closed:
            self._parts.append(data[position:])
            self._parts_size = size - position
            self._parts_needed = needed

    def _process(self, data: bytes) -> None:
        """Lets h2 have a frame, or a part of the preface."""
        if self.closed:
            return
        try:
            events = self.h2.receive_data(data)
        except (H2Error, ValueError) as error:
            self._violated(str(error) or type(error).__name__)
            return
        self.flush()
        for event in events:
            if not self.closed:
                self.processor.process(event)
        self.flush()

    def _violated(self, reason: str) -> None:
        _log.warning("closing the connection with %s, which broke HTTP/2: %s", self.remote, reason)
        self.flush()  # h2 tells the peer
        self._shut(f"it broke HTTP/2: {reason}")

    def acknowledge(self, stream_id: int, size: int) -> None:
        """Gives the peer back the windows that `size` received bytes have taken."""
        if size and not self.closed:
            self.h2.acknowledge_received_data(size, stream_id)
            self.flush()

    def peer_gave_up(self, code: object) -> None:
        """The peer has sent a GOAWAY."""
        self._shut(f"the peer closed it (HTTP/2 error {code})")

    # ---- sending

    def flush(self) -> None:
        """Writes what h2 has to say."""
        if self.h2._data_to_send and not self._transport.is_closing():
            self._transport.write(self.h2.data_to_send())

    def write_data(self, stream_id: int, head: bytes, data: bytes | memoryview) -> None:
        """Writes a DATA frame of `head` and `data`, which the caller has taken from the windows."""
        size = len(head) + len(data)
        head = _FRAME_HEADER.pack(size >> 8, size & 0xFF, _DATA, 0, stream_id) + head
        if size <= _JOIN_UP_TO:
            self._transport.write(head + data)
        else:
            self._transport.write(head)
            self._transport.write(data)

    def pause_writing(self) -> None:
        self.writable = False
        super().pause_writing()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.writable = not self.closed
        self.write_unsent()

    def write_unsent(self) -> None:
        """Lets the streams send what they kept."""
        for stream in list(self.streams.values()):
            stream.write_unsent()

    async def request(self, stream: Http2Stream, headers: Headers) -> None:
        """Starts a stream with these headers, as soon as the peer takes one more. Raises ConnectionFailed."""
        if self._callers:
            await self._queue()
        while not self.closed:
            stream_id = self.h2.get_next_available_stream_id()
            try:
                self.h2.send_headers(stream_id, headers)
            except TooManyStreamsError:
                await self._queue(first=True)
            else:
                self.flush()
                stream.start(stream_id)
                return
        raise self.lost()

    async def _queue(self, *, first: bool = False) -> None:
        """Waits until the peer may take one more stream, or the connection is closed."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if first:
            self._callers.appendleft(turn)
        else:
            self._callers.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self.stream_freed()  # it was this one's turn: now it is the next one's
            raise

    def stream_freed(self) -> None:
        """One of the streams that the peer takes at a time may have become free."""
        while self._callers:
            turn = self._callers.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def reset(self, stream_id: int, code: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        """Ends a stream, if it is not over yet."""
        stream = self.h2.streams.get(stream_id)
        if stream is not None and not stream.closed and not self.closed:
            self.h2.reset_stream(stream_id, code)
            self.flush()
            self.stream_freed()


def _h2_connection(config: H2Configuration, window: int) -> H2Connection:
    """A connection with large windows, told to the peer in its first SETTINGS."""
    h2 = H2Connection(config=config)
    h2.local_settings = Settings(
        client=bool(config.client_side),
        initial_values={
            SettingCodes.ENABLE_PUSH: 0,
            SettingCodes.INITIAL_WINDOW_SIZE: window,
            SettingCodes.MAX_CONCURRENT_STREAMS: _CONCURRENT_STREAMS,
            SettingCodes.MAX_FRAME_SIZE: _LARGEST_FRAME,
            SettingCodes.MAX_HEADER_LIST_SIZE: _HEADERS_LIMIT,
        },
    )
    h2.max_inbound_frame_size = _LARGEST_FRAME
    h2.initiate_connection()
    h2.increment_flow_control_window(window - h2.inbound_flow_control_window)
    return h2
