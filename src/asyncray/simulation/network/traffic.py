"""Who has received how much from whom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgpack

from asyncray import messages

_NAMES: Final[dict[int, str]] = {}
for _name, _value in vars(messages).items():
    if _name.isupper() and type(_value) is int and _value in messages.SHAPES:
        _NAMES.setdefault(_value, _name)  # kinds come first there; what follows has small numbers of its own


@dataclass(slots=True)
class Traffic:
    """What has arrived."""

    frames: int = 0
    calls: int = 0
    """Requests and replies of unary calls."""
    bytes: int = 0
    """Of frames' bodies and of calls' messages."""


def kinds_of(body: bytes) -> list[str]:
    """The names of the messages in a frame, as in `messages.py`. What is no message ends the list."""
    unpacker = msgpack.Unpacker(max_buffer_size=len(body), unicode_errors="surrogateescape", strict_map_key=False)
    unpacker.feed(body)
    kinds = []
    try:
        for _ in range(unpacker.read_array_header()):
            length = unpacker.read_array_header()
            kinds.append(_NAMES[unpacker.unpack()])
            for _ in range(length - 1):
                unpacker.skip()
    except (ValueError, LookupError, TypeError, msgpack.UnpackException):
        kinds.append("malformed")
    return kinds
