"""The overflow of an arena: its account of blocks, its file, and memory that goes on behind the arena's end."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import numpy
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from asyncray.serialization.memory import address_of
from asyncray.simulation.invariants.node_memory import overflow_inconsistencies
from asyncray.store.allocator import LARGE, PAGE
from asyncray.store.arena import Arena
from asyncray.store.arena_place import ArenaPlace
from asyncray.store.overflow import Extents, Overflow, overflow_start

MIB = 1 << 20
CAPACITY = 4 * MIB + 1000
"""Not whole pages."""
START = overflow_start(CAPACITY)


@pytest.fixture
def overflow() -> Overflow:
    return Overflow(START, 100 * LARGE, 1.0)


def given(overflow: Overflow, size: int, now: float = 0.0) -> int:
    offset = overflow.begin(size, now)
    assert offset is not None
    overflow.end(offset)
    return offset


def test_blocks_begin_where_the_arena_ends_and_are_whole_pages(overflow: Overflow) -> None:
    assert given(overflow, 1) == START
    assert given(overflow, LARGE + 1) == START + LARGE
    assert overflow.used == 2 * LARGE + PAGE


def test_disk_space_is_got_for_one_block_after_the_other(overflow: Overflow) -> None:
    first = overflow.begin(LARGE, 0.0)
    assert first is not None and overflow.begin(LARGE, 0.0) is None
    overflow.end(first)
    assert overflow.begin(LARGE, 0.0) is not None


def test_what_is_free_is_given_out_once_its_pages_are_the_disks_again(overflow: Overflow) -> None:
    offset, other = given(overflow, 99 * LARGE), given(overflow, LARGE)
    overflow.free(offset)
    assert overflow.begin(LARGE, 0.0) is None
    freed = overflow.take_freed()
    assert freed == [(offset, 99 * LARGE)] and overflow.take_freed() == []
    overflow.free(other)
    assert overflow.begin(LARGE, 0.0) is None and overflow.used == 100 * LARGE
    overflow.released(freed)
    assert overflow.used == LARGE
    assert given(overflow, LARGE) == offset


def test_all_of_it_is_given_back_when_nothing_is_in_use(overflow: Overflow) -> None:
    for offset in [given(overflow, LARGE) for _ in range(3)]:
        overflow.free(offset)
    freed = overflow.take_freed()
    assert freed == [(START, 100 * LARGE)]
    assert overflow.begin(LARGE, 0.0) is None
    overflow.released(freed)
    assert overflow.used == 0
    given(overflow, 100 * LARGE)


def test_a_disk_that_is_full_is_asked_for_less_at_once_and_for_as_much_after_a_while(overflow: Overflow) -> None:
    offset = overflow.begin(10 * LARGE + 1, 5.0)
    assert offset is not None
    overflow.failed(offset, "No space left on device", 5.0)
    assert overflow.trouble == "No space left on device"
    assert overflow.begin(10 * LARGE + 1, 5.9) is None
    assert overflow.begin(20 * LARGE, 5.9) is None
    given(overflow, 9 * LARGE, 5.9)
    assert overflow.trouble == ""
    given(overflow, 20 * LARGE, 6.0)


def test_an_arena_may_have_none() -> None:
    overflow = Overflow(START, 0, 1.0)
    assert overflow.begin(1, 0.0) is None and overflow.used == 0


class OverflowMachine(RuleBasedStateMachine):
    """Any sequence of blocks that are wanted, got or refused, freed, and given back to the disk."""

    def __init__(self) -> None:
        super().__init__()
        self.overflow = Overflow(START, 32 * LARGE, 1.0)
        self.used: dict[int, int] = {}
        self.freed: dict[int, int] = {}
        self.releasing: list[tuple[Extents, dict[int, int]]] = []
        self.now = 0.0

    @rule(size=st.integers(1, 20 * LARGE), seconds=st.floats(0, 1))
    def begin(self, size: int, seconds: float) -> None:
        self.now += seconds
        before = self.overflow.reserving
        offset = self.overflow.begin(size, self.now)
        if before is not None:
            assert offset is None
        if offset is not None:
            assert self.overflow.size_of(offset) >= size

    @precondition(lambda self: self.overflow.reserving is not None)
    @rule(full=st.booleans())
    def end(self, full: bool) -> None:
        offset = self.overflow.reserving
        assert offset is not None
        if full:
            self.freed[offset] = self.overflow.size_of(offset)
            self.overflow.failed(offset, "full", self.now)
        else:
            self.used[offset] = self.overflow.size_of(offset)
            self.overflow.end(offset)

    @precondition(lambda self: self.used)
    @rule(data=st.data())
    def free(self, data: st.DataObject) -> None:
        offset = data.draw(st.sampled_from(list(self.used)))
        self.freed[offset] = self.used.pop(offset)
        self.overflow.free(offset)

    @rule()
    def take_freed(self) -> None:
        extents = self.overflow.take_freed()
        if extents:
            self.releasing.append((extents, self.freed))
            self.freed = {}

    @precondition(lambda self: self.releasing)
    @rule()
    def released(self) -> None:
        extents, _ = self.releasing.pop(0)
        self.overflow.released(extents)

    @invariant()
    def nothing_is_given_out_twice_or_lost(self) -> None:
        assert list(overflow_inconsistencies("node", self.overflow)) == []
        extents = [*self.used.items(), *self.freed.items()]
        for punched, blocks in self.releasing:
            extents += blocks.items()
            for start, size in punched:
                assert not any(start < at + taken and at < start + size for at, taken in self.used.items())
        if (offset := self.overflow.reserving) is not None:
            extents.append((offset, self.overflow.size_of(offset)))
        assert self.overflow.used == sum(size for _, size in extents)
        assert len({offset for offset, _ in extents}) == len(extents)


OverflowMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestOverflow = OverflowMachine.TestCase


# ---- the file


@pytest.fixture
def arena(tmp_path: Path) -> Iterator[Arena]:
    arena = Arena.create(CAPACITY, 16 * MIB, str(tmp_path))
    yield arena
    arena.close()


def on_disk(arena: Arena) -> int:
    return os.stat(arena.overflow_path).st_blocks * 512


def attached(arena: Arena) -> Arena:
    return Arena.attach(arena.path, arena.capacity, arena.overflow, arena.overflow_path)


async def test_disk_space_is_taken_block_by_block_and_given_back(arena: Arena, tmp_path: Path) -> None:
    assert on_disk(arena) == 0 and os.listdir(tmp_path) == []
    await arena.reserve(START, MIB)
    await arena.reserve(START + 2 * MIB, MIB)
    assert 2 * MIB <= on_disk(arena) < 2 * MIB + 16 * PAGE
    arena.writable(START, MIB)[:] = b"a" * MIB
    arena.writable(START + 2 * MIB, MIB)[:] = b"b" * MIB
    await arena.release([(START, MIB)])
    assert MIB <= on_disk(arena) < MIB + 16 * PAGE
    assert bytes(arena.view(START, 5)) == bytes(5)
    assert bytes(arena.view(START + 2 * MIB, 5)) == b"bbbbb"
    await arena.release([(START + 2 * MIB, MIB)])
    assert on_disk(arena) < 16 * PAGE


async def test_all_processes_see_the_same_behind_the_arena_and_in_it(arena: Arena) -> None:
    other = attached(arena)
    await arena.reserve(START, MIB)
    other.writable(START, 5)[:] = b"hello"
    other.writable(CAPACITY - 5, 5)[:] = b"world"
    assert bytes(arena.view(START, 5)) == b"hello"
    assert bytes(arena.view(CAPACITY - 5, 5)) == b"world"
    other.close()
    with pytest.raises(ValueError, match="outside"):
        arena.view(START + 16 * MIB - 1, 2)


async def test_a_process_keeps_what_it_has_read_from_the_overflow(arena: Arena) -> None:
    other = attached(arena)
    await arena.reserve(START, MIB)
    arena.writable(START, MIB)[:] = b"x" * MIB
    array = numpy.frombuffer(other.view(START, MIB), numpy.uint8)
    assert other._mapping is not None
    private = other._mapping.private(address_of(other.view(START, MIB)), MIB, None)
    other.keep(START, MIB)
    await arena.release([(START, MIB)])
    other.close()
    arena.close()
    gc.collect()
    assert (array == ord("x")).all() and bytes(private[:3]) == b"xxx"


def test_nothing_is_left_of_an_arena_with_an_overflow(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    arena = Arena.create(CAPACITY, 16 * MIB, str(tmp_path))
    other = attached(arena)
    with pytest.raises(ValueError, match="overflow"):
        Arena.attach(arena.path, arena.capacity, 17 * MIB, arena.overflow_path)
    other.close()
    arena.close()
    del arena, other
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_attaching_takes_no_memory(tmp_path: Path) -> None:
    arena = Arena.create(1 << 40, 1 << 41, str(tmp_path))
    other = attached(arena)
    assert len(other._mapped) == len(arena._mapped) == (1 << 40) // (2 * MIB)
    arena.close()
    other.close()


def test_a_node_whose_overflow_cannot_be_made_does_without(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    arena = ArenaPlace(str(tmp_path), print).create(MIB, 16 * MIB, str(tmp_path / "nowhere"))
    assert arena.overflow == 0 and arena.overflow_path == ""
    assert "object_spilling_directory" in caplog.text
    arena.close()
