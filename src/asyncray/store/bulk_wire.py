"""What travels on a bulk connection besides the bytes of objects.

    client: greeting (36 bytes), once
    client: request  (2 bytes of length, big-endian; msgpack [key, offset])
    server: answer   (2 bytes of length, big-endian; msgpack [status, size, checksum or nil])
    server: if the status is OK, `size - offset` bytes
    client: after these, received (1 byte)

and so on with the next request. The server keeps the bytes as they are until the client has confirmed them. It closes
the connection when it does not understand something.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgpack

from asyncray.errors import ProtocolError
from asyncray.rpc.auth import Token

_MAGIC: Final = b"ARB1"
_LENGTH_BYTES: Final = 2
LIMIT: Final = 256
"""Bytes of a request or an answer, without its length."""
GREETING_SIZE: Final = len(_MAGIC) + 32

RECEIVED: Final = b"."

OK: Final = 0
ABSENT: Final = 1
"""The object is not there."""
BEYOND: Final = 2
"""The offset is larger than the object."""


def greeting(token: Token) -> bytes:
    """Shows that the client knows the cluster's token. Compare it with `hmac.compare_digest`."""
    return _MAGIC + token.proof("asyncray bulk channel")


class Request(NamedTuple):
    key: bytes
    offset: int


class Answer(NamedTuple):
    status: int
    size: int
    """Of the whole object, in bytes."""
    checksum: int | None


def pack(message: Request | Answer) -> bytes:
    body: bytes = msgpack.packb(tuple(message))
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body


def whole_size(received: bytes | bytearray) -> int:
    """How many bytes the message has that begins so; those of its length, while that is not known.

    Raises ProtocolError for one that is too long.
    """
    if len(received) < _LENGTH_BYTES:
        return _LENGTH_BYTES
    length = int.from_bytes(received[:_LENGTH_BYTES], "big")
    if not 0 < length <= LIMIT:
        raise ProtocolError(f"a header of {length} bytes on a bulk connection (limit {LIMIT})")
    return _LENGTH_BYTES + length


def unpack_request(message: bytes | bytearray) -> Request:
    """Raises ProtocolError."""
    match _unpack(message):
        case [bytes(key), int(offset)] if offset >= 0 and not isinstance(offset, bool):
            return Request(key, offset)
    raise ProtocolError("a malformed request on a bulk connection")


def unpack_answer(message: bytes | bytearray) -> Answer:
    """Raises ProtocolError."""
    match _unpack(message):
        case [int(status), int(size), int() | None as checksum] if size >= 0:
            return Answer(status, size, checksum)
    raise ProtocolError("a malformed answer on a bulk connection")


def _unpack(message: bytes | bytearray) -> Any:
    try:
        return msgpack.unpackb(bytes(message[_LENGTH_BYTES:]))
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise ProtocolError(f"a malformed header on a bulk connection: {error}") from error
