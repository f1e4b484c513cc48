"""gRPC on one HTTP/2 stream: messages with their prefix of five bytes."""

from __future__ import annotations

import struct
from abc import abstractmethod
from typing import Final

from asyncray.errors import ProtocolError
from asyncray.rpc.http2_connection import Http2Connection
from asyncray.rpc.http2_stream import Http2Stream

_PREFIX: Final = struct.Struct(">BI")  # whether the message is compressed, its length
_PREFIX_SIZE: Final = 5

CONTENT_TYPE: Final = "application/grpc"
RESPONSE_HEADERS: Final = [(":status", "200"), ("content-type", CONTENT_TYPE)]


def prefix(length: int) -> bytes:
    """What goes before a message of this length."""
    return _PREFIX.pack(0, length)


class GrpcStream(Http2Stream):
    """Puts received messages together."""

    def __init__(self, connection: Http2Connection, message_limit: int) -> None:
        super().__init__(connection)
        self.over = False
        """Nothing more is to be delivered."""
        self._message_limit = message_limit
        self._parts: list[bytes] = []
        self._parts_size = 0
        self._parts_needed = 0

    @abstractmethod
    def on_message(self, message: memoryview) -> None:
        """One gRPC message."""

    @abstractmethod
    def on_violation(self, error: ProtocolError) -> None:
        """The peer sent what is not gRPC, or a message that is too large; the stream has to end."""

    @property
    def in_message(self) -> bool:
        """Whether a part of a message has come."""
        return bool(self._parts)

    def on_data(self, data: memoryview) -> None:
        if self._parts:
            self._parts.append(bytes(data))
            self._parts_size += len(data)
            if self._parts_size < self._parts_needed:
                return
            data = memoryview(b"".join(self._parts))
            self._parts.clear()
        while data and not self.over:
            if len(data) < _PREFIX_SIZE:
                self._keep(data, _PREFIX_SIZE)
                return
            compressed, length = _PREFIX.unpack_from(data)
            if compressed or length > self._message_limit:
                reason = "is compressed" if compressed else f"has {length} bytes (limit {self._message_limit})"
                self.on_violation(ProtocolError(f"a message {reason}"))
                return
            end = _PREFIX_SIZE + length
            if len(data) < end:
                self._keep(data, end)
                return
            self.on_message(data[_PREFIX_SIZE:end])
            data = data[end:]

    def _keep(self, data: memoryview, needed: int) -> None:
        self._parts.append(bytes(data))
        self._parts_size = len(data)
        self._parts_needed = needed
