"""The layout of values: lengths beyond 4 GiB, and bytes that are not what they should be."""

from __future__ import annotations

import mmap
import os
import random
import struct
import subprocess
import sys
from typing import Any

import msgpack
import numpy
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asyncray.errors import AsyncrayError, ProtocolError, SerializationError
from asyncray.serialization import Serialized, deserialize, layout, serialize

GIB = 1 << 30


class Lengthy:
    """Stands for a buffer of any length."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes

    __len__ = None


def sparse(size: int) -> mmap.mmap:
    """Zeros, of which only those pages take memory that are written to."""
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def header(*lengths: Any, tag: int = layout.PARTS) -> bytes:
    packed = msgpack.packb([lengths[0], list(lengths[1:])])
    return struct.pack("<B3xI", tag, len(packed)) + packed


# ------------------------------------------------------------------ beyond 4 GiB


@given(st.lists(st.integers(0, 1 << 45) | st.sampled_from([2**31, 2**32 - 1, 2**32, 2**40]), max_size=6))
def test_sizes_add_up_for_buffers_of_any_length(lengths: list[int]) -> None:
    serialized = Serialized((b"pickle",), [Lengthy(length) for length in lengths], [1])  # type: ignore[misc]
    position = len(header(6, *lengths)) + 6
    for length in lengths:
        position = -(-position // layout.ALIGNMENT) * layout.ALIGNMENT + length
    assert serialized.size == position


def test_buffers_beyond_4_gib_are_found() -> None:
    """In memory that takes no more than the pages that are written to."""
    lengths = [5 * GIB, 3, 2 * GIB + 1, 70]
    start = header(6, *lengths) + b"pickle"
    positions = []
    position = len(start)
    for length in lengths:
        positions.append(-(-position // 64) * 64)
        position = positions[-1] + length
    memory = sparse(position)
    memory[: len(start)] = start
    for number, place in enumerate(positions):
        memory[place] = number + 1
    view = memoryview(memory)
    pickle, buffers = layout.split(view)
    assert bytes(pickle) == b"pickle"
    assert [buffer.nbytes for buffer in buffers] == lengths
    assert [buffer[0] for buffer in buffers] == [1, 2, 3, 4]
    with pytest.raises(ProtocolError, match=f"should have {position} bytes"):
        layout.split(view[:-1])


def test_an_array_beyond_4_gib_is_written_and_read_where_it_belongs() -> None:
    size = 4 * GIB + 12_345
    source = numpy.frombuffer(sparse(size), "u1")
    source[-1] = 7
    serialized = serialize({"huge": source, "next": numpy.full(20_000, 9, "u1")})
    assert serialized.size > size
    pieces = serialized._pieces()
    block = sparse(serialized.size)
    position = 0
    for piece in pieces:  # as `write_into`, but for the zeros
        if len(piece) < GIB:
            block[position : position + len(piece)] = bytes(piece)
        else:
            block[position + len(piece) - 1] = 7
        position += len(piece)
    assert position == serialized.size
    value = deserialize(memoryview(block), keepalive=object())
    assert value["huge"].nbytes == size
    assert (value["huge"][-1], value["huge"][0], value["next"].sum()) == (7, 0, 180_000)


# ----------------------------------------------------------------------- fuzzing

VALUES = st.recursive(
    st.integers() | st.binary(max_size=50) | st.integers(0, 40_000).map(lambda n: numpy.full(n, n % 250, "u1")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=6,
)

LENGTHS = st.integers(-(2**63), 2**64 - 1) | st.integers(-1, 300) | st.floats() | st.none() | st.binary(max_size=3)


def parts_are_inside(data: bytes) -> None:
    """The bytes are refused with an error, or all parts lie within them and have the lengths that the header says."""
    view = memoryview(data)
    try:
        pickle, buffers = layout.split(view)
    except ProtocolError as error:
        assert len(str(error)) < 300
        return
    length = struct.unpack_from("<4xI", data)[0]
    pickle_length, lengths = msgpack.unpackb(data[8 : 8 + length])
    assert [len(pickle), *map(len, buffers)] == [pickle_length, *lengths]
    starts = [8 + length]
    for part in [pickle, *buffers]:
        at = starts[-1]
        assert part == data[at : at + len(part)]
        starts.append(-(-(at + len(part)) // 64) * 64)


@given(st.binary(max_size=200).map(lambda tail: b"\1" + tail) | st.binary(max_size=20))
@example(b"\1\0\0\0\xff\xff\xff\xff" + b"\xdd\xff\xff\xff\xff")
@example(b"\1\0\0\0\x05\0\0\0" + b"\xc6\xff\xff\xff\xff")
@example(b"\1\0\0\0\xc8\0\0\0" + b"\x91" * 200)
def test_random_bytes_are_refused_or_split_within_their_bounds(data: bytes) -> None:
    parts_are_inside(data)


@given(st.lists(LENGTHS, min_size=1, max_size=5), st.binary(max_size=300), st.integers(0, 255))
@example([2**63, 1], b"", layout.PARTS)
@example([2**64 - 1] * 5, b"x", layout.PARTS)
@example([0, True], b"x" * 100, layout.PARTS)
def test_lengths_that_lie_are_refused(lengths: list[Any], rest: bytes, tag: int) -> None:
    parts_are_inside(header(*lengths) + rest)
    parts_are_inside(header(*lengths, tag=tag) + rest)


@pytest.mark.parametrize(
    "packed",
    [
        msgpack.packb(value)
        for value in (None, 5, [], [1], [1, 2], [1, [2], 3], {}, {1: [2]}, [1, {2: 3}], [[1], [2]], "ab", [1, "ab"])
    ],
    ids=repr,
)
def test_headers_of_another_shape_are_refused(packed: bytes) -> None:
    data = struct.pack("<B3xI", layout.PARTS, len(packed)) + packed + bytes(1000)
    with pytest.raises(ProtocolError, match=r"malformed|should have"):
        layout.split(memoryview(data))


@given(VALUES, st.data())
def test_truncated_values_are_refused_whole(value: Any, data: st.DataObject) -> None:
    whole = serialize([value, numpy.zeros(20_000, "u1")]).to_bytes()
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(ProtocolError):
        deserialize(whole[:cut])


@given(VALUES, st.data())
def test_a_flipped_bit_before_the_pickle_is_refused_or_splits_within_bounds(value: Any, data: st.DataObject) -> None:
    whole = bytearray(serialize([value, numpy.zeros(20_000, "u1")]).to_bytes())
    bit = data.draw(st.integers(0, 8 * (8 + whole[4]) - 1))
    whole[bit // 8] ^= 1 << bit % 8
    if whole[0] == layout.PARTS:
        parts_are_inside(bytes(whole))


@given(st.binary(max_size=60))
def test_random_bytes_as_an_error_give_an_error(data: bytes) -> None:
    from asyncray.serialization import load_error

    assert isinstance(load_error(bytes((layout.ERROR,)) + data), AsyncrayError)


FLIPS = """
import collections, faulthandler, random, resource, sys, warnings
import numpy
from asyncray.errors import ProtocolError, SerializationError
from asyncray.serialization import deserialize, serialize
import fuzz_values
faulthandler.enable()
warnings.simplefilter("ignore")
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))  # a length that lies may ask for any amount of memory
rng = random.Random(int(sys.argv[1]))
outcomes = collections.Counter()
for value in fuzz_values.VALUES:
    whole = serialize(value).to_bytes()
    interesting = len(whole) if len(whole) < 5000 else 1000  # the header and the pickle, with little of the numbers
    for _ in range(1500):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 1, 2, 8))):
            data[rng.randrange(interesting)] ^= 1 << rng.randrange(8)
        try:
            deserialize(data)
            outcomes["value"] += 1
        except (ProtocolError, SerializationError) as error:
            outcomes[type(error).__name__] += 1
print(dict(outcomes))
"""

FUZZ_VALUES = """
import dataclasses
import datetime
import numpy


@dataclasses.dataclass
class Point:
    x: int
    y: object


VALUES = [
    [1, "text", b"bytes", 2.5, None, {"a": (1, 2)}],
    [Point(1, [Point(2, None)]), datetime.datetime(2026, 1, 1), {1, 2}, frozenset("ab"), ValueError("why")],
    {"array": numpy.arange(20_000), "small": numpy.arange(5.0), "dates": numpy.arange(3000).astype("M8[s]")},
    [numpy.asfortranarray(numpy.ones((200, 200))), memoryview(bytes(30_000)).cast("I"), "x" * 100],
]
"""


@pytest.mark.parametrize("seed", range(2))
def test_flipped_bits_give_a_value_or_one_of_two_errors(seed: int, tmp_path: Any) -> None:
    """In a process of its own: what is flipped may ask for more memory than there is, or crash C code."""
    (tmp_path / "fuzz_values.py").write_text(FUZZ_VALUES)
    (tmp_path / "flips.py").write_text(FLIPS)
    command = [sys.executable, str(tmp_path / "flips.py"), str(seed)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # each thread takes address space
    done = subprocess.run(command, capture_output=True, text=True, timeout=55, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ProtocolError" in done.stdout and "SerializationError" in done.stdout and "value" in done.stdout


def test_arbitrary_pickles_of_random_opcodes_are_refused_or_read() -> None:
    rng = random.Random(0)
    opcodes = b"(]}0N.KGaesutlqhjR\x8c\x94\x85\x86\x87\x88\x89\x8f\x90\x95\x97\x98"
    for _ in range(20_000):
        data = b"\x80\x05" + bytes(rng.choice(opcodes) for _ in range(rng.randrange(30)))
        try:
            deserialize(data)
        except (ProtocolError, SerializationError) as error:
            assert str(error)


@pytest.mark.parametrize("step", [300_000, 1 << 20, 1 << 30])
def test_a_value_written_in_steps_is_the_same_and_pauses_in_time(step: int) -> None:
    parts = [bytes([number]) * size for number, size in enumerate((100, 3_000_001, 900_000, 900_000, 0, 2 << 20, 7))]
    value = Serialized(parts[:2], [memoryview(part) for part in parts[2:]])
    block = bytearray(value.size)
    pauses = sum(1 for _ in value.write_in_steps(memoryview(block), step))
    assert block == value.to_bytes()
    assert value.size // (step + (1 << 20)) <= pauses <= value.size // step
