"""The bytes of a value, which are the same in a message and in shared memory.

The first byte tells the form:

- `PICKLE`, the first byte of every pickle: the bytes are a plain pickle. It has no buffers and no references.
- `PARTS`: 3 zero bytes; the header's length (4 bytes, little endian); the header, msgpack
  `[length of the pickle, [length of each buffer]]`; the pickle; the buffers, each at the next multiple of 64 from the
  start of the value.
- `ERROR`: the pickle of an exception.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgpack

from asyncray.errors import ProtocolError

PICKLE: Final = 0x80
"""Pickle's own PROTO opcode: plain pickles are read and written without a copy that only adds a tag."""
PARTS: Final = 1
ERROR: Final = 2

ALIGNMENT: Final = 64
"""A cache line, and the widest vector instruction's operand."""

IN_BAND_LIMIT: Final = 16 * 1024
"""Smaller buffers are copied into the pickle: that is cheaper than keeping account of them, and the reader gets
arrays that it may write to."""

_PREFIX: Final = struct.Struct("<B3xI")
_LARGE: Final = 1024 * 1024
"""From this size on, a copy is worth the 3 us that it takes to release the interpreter lock."""


class Serialized:
    """A pickled value whose large parts still lie where the user has them.

    So it must be written (`write_into`, `to_bytes`) before the user gets a chance to change them.
    `size` is the number of bytes it will take, `references` are the object references met inside.
    """

    __slots__ = ("_buffers", "_chunks", "references", "size")

    def __init__(
        self, chunks: Sequence[Any], buffers: Sequence[memoryview] = (), references: list[Any] | None = None
    ) -> None:
        self.references: list[Any] = [] if references is None else references
        self._buffers = buffers
        size = sum(map(len, chunks)) if len(chunks) > 1 else len(chunks[0])
        if buffers or references:
            header = msgpack.packb([size, [buffer.nbytes for buffer in buffers]])
            chunks = [_PREFIX.pack(PARTS, len(header)), header, *chunks]
            size += _PREFIX.size + len(header)
            for buffer in buffers:
                size = _aligned(size) + buffer.nbytes
        self._chunks = chunks
        self.size = size

    @classmethod
    def of_bytes(cls, data: bytes) -> Serialized:
        """A value that is bytes already."""
        return cls((data,))

    def to_bytes(self) -> bytes:
        if len(self._chunks) == 1 and type(self._chunks[0]) is bytes:
            return self._chunks[0]
        return b"".join(self._pieces())

    def write_into(self, block: memoryview) -> None:
        """Copies everything, once, to the start of `block`. Large copies release the interpreter lock.

        Raises ValueError when `block` is too small.
        """
        for _ in self.write_in_steps(block, self.size):
            pass

    def write_in_steps(self, block: memoryview, step: int) -> Iterator[None]:
        """The same, with a pause after each `step` bytes or a little more."""
        if block.nbytes < self.size:
            raise ValueError(f"a value of {self.size} bytes does not fit a block of {block.nbytes}")
        block = block.cast("B")
        position = paused = 0
        for piece in self._pieces():
            end = position + len(piece)
            if len(piece) < _LARGE:
                block[position:end] = piece
                position = end
            else:
                from asyncray.serialization.memory import copy  # needs ctypes, which few processes do

                rest = memoryview(piece)
                while rest:
                    part, rest = rest[:step], rest[step:]
                    copy(block[position : position + len(part)], part)
                    position += len(part)
                    if position - paused >= step and rest:
                        paused = position
                        yield
            if position - paused >= step:
                paused = position
                yield

    def _pieces(self) -> Iterator[Any]:
        yield from self._chunks
        if self._buffers:
            position = sum(map(len, self._chunks))
            for buffer in self._buffers:
                gap = -position % ALIGNMENT
                if gap:
                    yield bytes(gap)
                yield buffer
                position += gap + buffer.nbytes


def split(view: memoryview) -> tuple[memoryview, list[memoryview]]:
    """The pickle and the buffers of a value of the form `PARTS`. Raises ProtocolError for any other bytes."""
    pickle, *buffers = [view[place] for place in locate(view)]
    return pickle, buffers


def locate(view: memoryview) -> list[slice]:
    """Where the pickle and the buffers of a value of the form `PARTS` are. Raises ProtocolError for any other bytes."""
    try:
        tag, header_length = _PREFIX.unpack_from(view)
        position = _PREFIX.size + header_length
        pickle_length, buffer_lengths = msgpack.unpackb(view[_PREFIX.size : position])
        lengths = [pickle_length, *buffer_lengths]
        if tag != PARTS or any(type(length) is not int or length < 0 for length in lengths):
            raise ValueError("no such header")
    except (struct.error, ValueError, TypeError, msgpack.UnpackException) as error:
        raise ProtocolError(f"a value of {len(view)} bytes is malformed: {error}") from error
    places = []
    for length in lengths:
        end = position + length
        places.append(slice(position, end))
        position = _aligned(end)
    if end > len(view):
        raise ProtocolError(f"a value should have {end} bytes, but has {len(view)}")
    return places


def _aligned(position: int) -> int:
    return position + -position % ALIGNMENT
