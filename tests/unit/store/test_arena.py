"""Shared memory: seen by every process of the node, without a name, valid as long as somebody looks at it."""

from __future__ import annotations

import gc
import mmap
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import numpy
import pytest

from asyncray.serialization import deserialize, serialize
from asyncray.store import arena as arena_module
from asyncray.store.allocator import PAGE
from asyncray.store.arena import Arena

MIB = 1024 * 1024


@pytest.fixture
def arena() -> Iterator[Arena]:
    arena = Arena.create(64 * MIB)
    yield arena
    arena.close()


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def resident(arena: Arena) -> int:
    """Bytes of memory that the arena's file takes."""
    return os.stat(arena.path).st_blocks * 512


def test_an_attached_arena_is_the_same_memory(arena: Arena) -> None:
    other = Arena.attach(arena.path, arena.capacity)
    arena.view(100, 5)[:] = b"hello"
    assert bytes(other.view(100, 5)) == b"hello"
    other.view(100, 5)[:] = b"world"
    assert bytes(arena.view(100, 5)) == b"world"
    other.close()


def test_another_process_reads_what_this_one_wrote(arena: Arena) -> None:
    serialized = serialize(numpy.arange(100_000))
    serialized.write_into(arena.writable(PAGE, serialized.size))
    program = (
        "import sys; from asyncray.store.arena import Arena; from asyncray.serialization import deserialize\n"
        f"view = Arena.attach({arena.path!r}, {arena.capacity}).view({PAGE}, {serialized.size})\n"
        "print(deserialize(view, keepalive=view).sum())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert int(done.stdout) == sum(range(100_000))


def test_an_unused_arena_takes_no_memory_and_leaves_no_name(arena: Arena) -> None:
    assert resident(arena) == 0
    assert "(deleted)" in os.readlink(arena.path)


def test_an_arena_larger_than_the_machine_can_be_made() -> None:
    arena = Arena.create(1 << 42)
    arena.view((1 << 42) - 8, 8)[:] = b"12345678"
    arena.close()


def test_closing_gives_descriptors_and_memory_back() -> None:
    before = open_descriptors()
    arena = Arena.create(MIB)
    other = Arena.attach(arena.path, MIB)
    other.close()
    arena.close()
    arena.close()
    assert open_descriptors() == before


def test_a_view_outlives_the_closing_of_its_arena() -> None:
    arena = Arena.create(16 * MIB)
    before = open_descriptors()
    view = arena.view(0, MIB)
    view[:3] = b"abc"
    serialized = serialize(numpy.ones(100_000))
    serialized.write_into(arena.view(MIB, serialized.size))
    array = deserialize(arena.view(MIB, serialized.size), keepalive=object())
    arena.close()
    del arena
    gc.collect()
    assert bytes(view[:3]) == b"abc"
    assert array.sum() == 100_000
    del view, array
    assert open_descriptors() < before


def test_a_closed_arena_gives_no_views(arena: Arena) -> None:
    arena.close()
    with pytest.raises(ValueError, match="closed"):
        arena.view(0, 1)
    with pytest.raises(ValueError, match="closed"):
        arena.populate(0, PAGE)


@pytest.mark.parametrize(("offset", "size"), [(-1, 2), (0, 64 * MIB + 1), (64 * MIB, 1), (0, -1)])
def test_blocks_outside_of_the_arena_are_refused(arena: Arena, offset: int, size: int) -> None:
    with pytest.raises(ValueError, match="outside"):
        arena.view(offset, size)


def test_attaching_with_the_wrong_size_or_to_nothing_is_refused(arena: Arena) -> None:
    before = open_descriptors()
    with pytest.raises(ValueError, match="not 5"):
        Arena.attach(arena.path, 5)
    with pytest.raises(OSError):
        Arena.attach("/proc/self/fd/100000", MIB)
    assert open_descriptors() == before


def test_nobody_can_shrink_the_file_under_the_others(arena: Arena) -> None:
    with open(arena.path, "r+b") as file, pytest.raises(PermissionError):
        file.truncate(0)


def test_populating_makes_pages_exist_and_changes_nothing(arena: Arena) -> None:
    arena.view(2 * MIB, 5)[:] = b"hello"
    arena.populate(0, 8 * MIB)
    assert resident(arena) == 8 * MIB
    assert bytes(arena.view(2 * MIB, 5)) == b"hello"


def test_populating_without_help_of_the_kernel_does_the_same(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arena_module, "_POPULATE_WRITE", 12345)
    arena.view(2 * MIB, 5)[:] = b"hello"
    arena.populate(0, 8 * MIB)
    assert resident(arena) >= 8 * MIB
    assert bytes(arena.view(2 * MIB, 5)) == b"hello"


def test_populating_runs_beside_writers_and_a_close(arena: Arena) -> None:
    ready = threading.Event()

    def populate() -> None:
        ready.set()
        try:
            for offset in range(0, 64 * MIB, 4 * MIB):
                arena.populate(offset, 4 * MIB)
        except (ValueError, OSError):
            pass  # closed meanwhile

    thread = threading.Thread(target=populate)
    thread.start()
    ready.wait()
    views = [arena.view(offset, 4) for offset in range(0, 64 * MIB, PAGE)]
    for view in views:
        view[:] = b"mine"
    arena.close()
    thread.join()
    assert all(view == b"mine" for view in views)


def test_a_block_to_write_has_its_pages_mapped(arena: Arena) -> None:
    arena.populate(0, 64 * MIB)
    other = Arena.attach(arena.path, arena.capacity)
    block = other.writable(3 * MIB + 64, 9 * MIB)
    assert block.nbytes == 9 * MIB
    with open("/proc/self/smaps") as smaps:
        sizes = [int(line.split()[1]) * 1024 for line in smaps if line.startswith("Rss")]
    assert any(9 * MIB <= size <= 10 * MIB for size in sizes)
    block[:] = b"x" * block.nbytes
    assert bytes(arena.view(3 * MIB + 64, 1)) == b"x"
    assert bytes(arena.view(3 * MIB + 63, 1)) == b"\0"
    assert other.writable(3 * MIB + 64, 9 * MIB)[:1] == b"x"
    other.close()


def test_the_pages_are_those_of_the_machine() -> None:
    assert mmap.PAGESIZE % PAGE == 0
