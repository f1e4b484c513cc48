"""What is told of a machine whose memory ran short."""

from __future__ import annotations

import pickle

import msgpack
import pytest

from asyncray.errors import OutOfMemoryError
from asyncray.memory_shortage import MemoryShortage

SHORTAGE = MemoryShortage("host-1", 0.95, 23_500_000_000, 24_000_000_000, ((12, "load", 5_100_000_000), (1, "sh", 9)))


def test_it_names_node_sizes_threshold_and_the_largest_processes() -> None:
    assert str(SHORTAGE) == (
        "host-1 used 23.50 GB of its 24.00 GB, more than 95 %;"
        " the largest processes: pid 12 (load) 5.10 GB, pid 1 (sh) 0 MB"
    )


def test_it_travels() -> None:
    assert MemoryShortage.from_wire(msgpack.unpackb(msgpack.packb(SHORTAGE.to_wire()))) == SHORTAGE


@pytest.mark.parametrize("error", [OutOfMemoryError.of("load() died", SHORTAGE), OutOfMemoryError()])
def test_the_error_keeps_it_when_it_is_pickled(error: OutOfMemoryError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is OutOfMemoryError
    assert (str(again), again.shortage) == (str(error), error.shortage)
