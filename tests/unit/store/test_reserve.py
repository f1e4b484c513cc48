"""The reserve of populated pages: nothing while idle, ahead of the writers when the store is used, and bounded."""

from __future__ import annotations

from asyncray.store.allocator import PAGE, Allocator
from asyncray.store.reserve import WarmReserve

MIB = 1024 * 1024


def ranges(reserve: WarmReserve) -> list[tuple[int, int]]:
    """All that is to be populated now."""
    found = []
    while (found_range := reserve.next_range()) is not None:
        found.append(found_range)
    return found


def test_an_idle_store_populates_nothing() -> None:
    assert ranges(WarmReserve(Allocator(1024 * MIB))) == []


def test_a_store_in_use_keeps_as_much_again_ready_beyond_the_tail() -> None:
    allocator = Allocator(1024 * MIB)
    reserve = WarmReserve(allocator, step=16 * MIB)
    allocator.allocate(40 * MIB)
    assert ranges(reserve) == [(40 * MIB, 16 * MIB), (56 * MIB, 16 * MIB), (72 * MIB, 8 * MIB)]
    assert ranges(reserve) == []


def test_allocations_from_the_reserve_are_replaced() -> None:
    allocator = Allocator(1024 * MIB)
    reserve = WarmReserve(allocator, limit=20 * MIB)
    allocator.allocate(40 * MIB)
    ranges(reserve)
    allocator.allocate(5 * MIB)
    assert ranges(reserve) == [(60 * MIB, 5 * MIB)]


def test_a_writer_that_overtakes_the_reserve_is_not_followed() -> None:
    allocator = Allocator(1024 * MIB)
    reserve = WarmReserve(allocator, limit=10 * MIB)
    allocator.allocate(10 * MIB)
    ranges(reserve)
    allocator.allocate(100 * MIB)
    assert ranges(reserve) == [(110 * MIB, 10 * MIB)]


def test_freed_memory_is_reserve() -> None:
    allocator = Allocator(1024 * MIB)
    reserve = WarmReserve(allocator)
    first = allocator.allocate(50 * MIB)
    allocator.allocate(50 * MIB)
    assert first is not None
    allocator.free(first)
    assert sum(size for _, size in ranges(reserve)) == 0


def test_the_reserve_ends_with_the_arena_and_consists_of_whole_pages() -> None:
    allocator = Allocator(10 * MIB + 100)
    reserve = WarmReserve(allocator)
    allocator.allocate(6 * MIB)
    assert ranges(reserve) == [(6 * MIB, 4 * MIB)]
    allocator = Allocator(10 * MIB)
    reserve = WarmReserve(allocator)
    allocator.allocate(100)
    assert ranges(reserve) == []
    allocator.allocate(5000)
    assert all(offset % PAGE == 0 and size % PAGE == 0 for offset, size in ranges(reserve))
