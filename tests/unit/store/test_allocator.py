"""Blocks never overlap, free memory never stays in pieces, and memory used before is used first."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from asyncray.store.allocator import ALIGNMENT, LARGE, PAGE, Allocator, block_size


class AllocatorMachine(RuleBasedStateMachine):
    """Any sequence of allocations and frees, against the list of blocks given out."""

    @initialize(pages=st.integers(1, 400), odd=st.integers(0, PAGE))
    def start(self, pages: int, odd: int) -> None:
        self.allocator = Allocator(pages * PAGE + odd)
        self.blocks: dict[int, int] = {}

    @rule(
        size=st.integers(1, 4 * PAGE)
        | st.integers(LARGE - PAGE, 4 * LARGE)
        | st.sampled_from((64, PAGE, LARGE, 3 * LARGE))
    )
    def allocate(self, size: int) -> None:
        largest = self.allocator.largest_free
        offset = self.allocator.allocate(size)
        if offset is None:
            # Only alignment may waste the end of an extent.
            assert block_size(size) > largest - (PAGE if size >= LARGE else 0)
        else:
            assert offset % (PAGE if size >= LARGE else ALIGNMENT) == 0
            self.blocks[offset] = block_size(size)

    @precondition(lambda self: self.blocks)
    @rule(data=st.data())
    def free(self, data: st.DataObject) -> None:
        offset = data.draw(st.sampled_from(sorted(self.blocks)))
        self.allocator.free(offset)
        del self.blocks[offset]

    @invariant()
    def blocks_lie_apart_and_inside(self) -> None:
        ends = [(offset, offset + size) for offset, size in sorted(self.blocks.items())]
        assert all(end <= start for (_, end), (start, _) in pairwise(ends))
        assert all(start >= 0 and end <= self.allocator.capacity for start, end in ends)

    @invariant()
    def free_memory_is_what_lies_between_the_blocks(self) -> None:
        gaps = []
        position = 0
        for offset, size in sorted(self.blocks.items()):
            if offset > position:
                gaps.append((offset - position, position))
            position = offset + size
        assert self.allocator.tail == position
        assert self.allocator._by_size == sorted(gaps)
        assert self.allocator._sizes == {offset: size for size, offset in gaps}
        assert self.allocator._offsets == {offset + size: offset for size, offset in gaps}

    @invariant()
    def usage_adds_up(self) -> None:
        usage = self.allocator.usage()
        assert usage.used == sum(self.blocks.values())
        assert usage.blocks == len(self.blocks)
        assert 0 <= usage.fragmentation <= 1
        assert self.allocator.reusable == self.allocator.tail - usage.used

    def teardown(self) -> None:
        for offset in list(getattr(self, "blocks", ())):
            self.allocator.free(offset)
        if hasattr(self, "allocator"):
            usage = self.allocator.usage()
            assert (usage.used, usage.blocks, usage.fragmentation) == (0, 0, 0.0)
            assert usage.largest_free == self.allocator.capacity


AllocatorMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
TestAllocator = AllocatorMachine.TestCase


def test_the_smallest_extent_that_fits_is_taken() -> None:
    allocator = Allocator(100 * PAGE)
    sizes = (1024, 64, 512, 64, 2048, 64)
    offsets = [allocator.allocate(size) for size in sizes]
    for index in (0, 2, 4):
        allocator.free(offsets[index] or 0)
    assert allocator.allocate(512) == offsets[2]
    assert allocator.allocate(512) == offsets[0]
    assert allocator.allocate(600) == offsets[4]


def test_memory_used_before_is_used_before_the_tail() -> None:
    allocator = Allocator(1000 * PAGE)
    first = allocator.allocate(10 * LARGE)
    allocator.allocate(LARGE)
    tail = allocator.tail
    assert first is not None
    allocator.free(first)
    for _ in range(10):
        offset = allocator.allocate(LARGE)
        assert offset is not None
        assert offset < tail
    assert allocator.tail == tail


def test_a_large_block_starts_on_a_page_also_between_small_ones() -> None:
    allocator = Allocator(100 * PAGE)
    assert allocator.allocate(64) == 0
    assert allocator.allocate(LARGE) == PAGE
    assert allocator.allocate(64) == 64


def test_what_fits_exactly_fits_again() -> None:
    allocator = Allocator(3 * LARGE)
    offsets = [allocator.allocate(LARGE) for _ in range(3)]
    assert allocator.allocate(64) is None
    for offset in offsets:
        assert offset is not None
        allocator.free(offset)
        assert allocator.allocate(LARGE) == offset


def test_many_badly_aligned_extents_do_not_hide_one_that_fits() -> None:
    allocator = Allocator(10_000 * PAGE)
    allocator.allocate(64)
    freed = []
    for _ in range(50):  # each leaves an extent that is large enough, but not from its first page bound on
        freed += [allocator.allocate(LARGE - 64), allocator.allocate(128)]
        allocator.allocate(64)
    freed.append(allocator.allocate(2 * LARGE))
    allocator.allocate(LARGE)
    for offset in freed:
        assert offset is not None
        allocator.free(offset)
    tail = allocator.tail
    assert allocator.allocate(LARGE) == freed[-1]
    assert allocator.tail == tail


def test_freeing_what_is_not_a_block_raises() -> None:
    allocator = Allocator(PAGE)
    offset = allocator.allocate(100)
    assert offset == 0
    allocator.free(offset)
    with pytest.raises(ValueError, match="no block at offset 0"):
        allocator.free(offset)


@pytest.mark.parametrize("size", [0, -1])
def test_sizes_below_one_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="positive"):
        Allocator(PAGE).allocate(size)
    with pytest.raises(ValueError, match="positive"):
        Allocator(size)


def test_fragmentation_is_the_share_of_free_memory_outside_the_largest_extent() -> None:
    allocator = Allocator(4096)
    offsets = [allocator.allocate(1024) for _ in range(4)]
    for index in (0, 2):
        allocator.free(offsets[index] or 0)
    assert allocator.usage().fragmentation == 0.5
    assert allocator.usage().largest_free == 1024


def test_a_long_random_run_ends_with_all_memory_in_one_piece() -> None:
    generator = random.Random(7)
    allocator = Allocator(64 * 1024 * 1024)
    blocks: list[int] = []
    for _ in range(20_000):
        if blocks and generator.random() < 0.5:
            allocator.free(blocks.pop(generator.randrange(len(blocks))))
        else:
            offset = allocator.allocate(generator.choice((100, 5_000, 200_000)))
            if offset is not None:
                blocks.append(offset)
    for offset in blocks:
        allocator.free(offset)
    assert allocator.largest_free == allocator.capacity
