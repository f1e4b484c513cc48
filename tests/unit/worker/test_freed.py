"""What was freed at other nodes, and may not have got there."""

from __future__ import annotations

from asyncray.worker.freed import RecentlyFreed

A, B, C = ([letter * 16, f"10.0.0.{number}:1"] for number, letter in enumerate((b"a", b"b", b"c")))


def test_a_node_is_told_again_what_it_may_not_have_heard() -> None:
    freed = RecentlyFreed()
    freed.told(0, A, b"1", [B])
    freed.told(1, C, b"2", [])
    freed.told(1, A, b"3", [])
    assert freed.link_lost(2, A[0], A[1]) == [b"1", b"3"]
    assert freed.link_lost(2, b"", C[1]) == [b"2"]
    assert freed.link_lost(60.5, A[0], A[1]) == [b"3"]


def test_copies_below_a_dead_node_are_told_directly() -> None:
    freed = RecentlyFreed()
    freed.told(0, A, b"1", [B, C])
    freed.told(0, B, b"2", [C])
    assert freed.node_died(5, A[0]) == [(B, b"1"), (C, b"1")]
    assert freed.node_died(100, B[0]) == []


def test_what_is_made_again_is_not_freed_by_what_was_told_before() -> None:
    freed = RecentlyFreed()
    freed.told(0, A, b"1", [B])
    freed.stored(b"1")
    assert freed.link_lost(1, A[0], A[1]) == [] == freed.node_died(1, A[0])


def test_what_is_kept_is_bounded() -> None:
    freed = RecentlyFreed()
    for number in range(20_000):
        freed.told(number / 1000, A, number.to_bytes(4, "big"), [])
    assert len(freed.link_lost(20, A[0], "")) == 10_000
    freed.told(1000, A, b"last", [])
    assert freed.link_lost(1000, A[0], "") == [b"last"]
