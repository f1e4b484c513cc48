"""One stream of an HTTP/2 connection, as bytes in and bytes out within the flow-control windows.

This file, `http2_connection.py` and `http2_events.py` alone reach into grpclib and h2.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Any

from h2.errors import ErrorCodes

from asyncray.errors import ConnectionFailed

if TYPE_CHECKING:
    from asyncray.rpc.http2_connection import Http2Connection

Headers = list[tuple[str, str]]


class Http2Stream(ABC):
    """Reads and writes the DATA of one stream, on h2's accounts of the windows but without going through it."""

    def __init__(self, connection: Http2Connection) -> None:
        self.connection = connection
        self.stream_id = 0
        self._h2: Any = connection.h2
        self._h2_stream: Any = None
        """h2's own object, while data can be sent."""
        self._unsent: deque[memoryview] = deque()
        self._unsent_size = 0
        self._unacknowledged = 0

    @abstractmethod
    def on_data(self, data: memoryview) -> None:
        """The payload of a DATA frame."""

    @abstractmethod
    def on_response(self, headers: Headers) -> None:
        """The first headers of the response (client only)."""

    @abstractmethod
    def on_trailers(self, headers: Headers) -> None:
        """The headers after the data of the response (client only)."""

    @abstractmethod
    def on_end(self) -> None:
        """The peer sends nothing more."""

    @abstractmethod
    def on_reset(self, code: int) -> None:
        """The stream is over."""

    @abstractmethod
    def on_connection_lost(self, error: ConnectionFailed) -> None:
        """The stream is over, with its connection. Nothing can be sent any more."""

    @abstractmethod
    def on_sent(self) -> None:
        """Data that was kept has gone out."""

    def start(self, stream_id: int) -> None:
        """The stream has got its number: from now on data flows."""
        self.stream_id = stream_id
        self._h2_stream = self._h2.streams[stream_id]
        self._connection_window = self._h2._inbound_flow_control_window_manager
        self._stream_window = self._h2_stream._inbound_window_manager
        self.connection.streams[stream_id] = self
        self.write_unsent()

    def write(self, head: bytes, data: bytes) -> None:
        """Sends `head` and `data`, or keeps what the windows and the socket do not take now."""
        size = len(head) + len(data)
        h2, h2_stream, connection = self._h2, self._h2_stream, self.connection
        if (
            self._unsent
            or h2_stream is None
            or not connection.writable
            or size > h2_stream.outbound_flow_control_window
            or size > h2.outbound_flow_control_window
            or size > h2.max_outbound_frame_size
        ):
            self._unsent.append(memoryview(head + data))
            self._unsent_size += size
            self.write_unsent()
            return
        h2_stream.outbound_flow_control_window -= size
        h2.outbound_flow_control_window -= size
        connection.write_data(self.stream_id, head, data)

    def write_unsent(self, *, force: bool = False) -> None:
        """Sends what was kept, as far as the windows and (unless `force`) the socket allow."""
        h2, h2_stream, connection = self._h2, self._h2_stream, self.connection
        before = self._unsent_size
        while h2_stream is not None and self._unsent and (force or connection.writable):
            room = min(
                h2_stream.outbound_flow_control_window, h2.outbound_flow_control_window, h2.max_outbound_frame_size
            )
            if room <= 0:
                break
            data = self._unsent.popleft()
            if len(data) > room:
                self._unsent.appendleft(data[room:])
                data = data[:room]
            size = len(data)
            self._unsent_size -= size
            h2_stream.outbound_flow_control_window -= size
            h2.outbound_flow_control_window -= size
            connection.write_data(self.stream_id, b"", data)
        if self._unsent_size < before:
            self.on_sent()

    def receive(self, data: memoryview) -> bool:
        """Takes the payload of a DATA frame; False, and nothing done, if it exceeds the window that was granted."""
        size = len(data)
        if size > self._connection_window.current_window_size or size > self._stream_window.current_window_size:
            return False
        self._connection_window.current_window_size -= size
        self._stream_window.current_window_size -= size
        self._unacknowledged += size
        if self._unacknowledged >= self.connection.acknowledge_after:
            self._acknowledge()
        self.on_data(data)
        return True

    def detach(self) -> None:
        """No data is sent or received here any longer; what still comes is thrown away."""
        self._unsent.clear()
        self._unsent_size = 0
        self._h2_stream = None
        if self.connection.streams.pop(self.stream_id, None) is not None:
            self._acknowledge()

    def send_headers(self, headers: Headers, *, end: bool = False) -> None:
        self._h2.send_headers(self.stream_id, headers, end_stream=end)
        self.connection.flush()

    def send_end(self) -> None:
        """This side sends nothing more."""
        self._h2.end_stream(self.stream_id)
        self.connection.flush()

    def send_reset(self, code: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        """Ends the stream at once, if it is not over yet."""
        self.connection.reset(self.stream_id, code)

    def _acknowledge(self) -> None:
        size, self._unacknowledged = self._unacknowledged, 0
        self.connection.acknowledge(self.stream_id, size)
