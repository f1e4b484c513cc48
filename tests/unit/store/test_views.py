"""A pinned block is in use as long as anything read from it lives, and no longer."""

from __future__ import annotations

import gc

import numpy
import pytest

from asyncray.serialization import deserialize, serialize
from asyncray.store.views import PinnedView, Retired


def pinned(value: object) -> PinnedView:
    serialized = serialize(value)
    block = memoryview(bytearray(serialized.size))
    serialized.write_into(block)
    return PinnedView(block)


def read(view: PinnedView) -> numpy.ndarray:  # type: ignore[type-arg]
    hold = view.acquire()
    array = deserialize(hold.buffer, keepalive=hold)
    assert isinstance(array, numpy.ndarray)
    return array


def test_a_block_that_nobody_reads_is_not_in_use() -> None:
    assert not pinned(1).in_use


def test_a_block_is_in_use_until_the_last_of_several_readers_is_gone() -> None:
    view = pinned(numpy.ones(100_000))
    first, second = read(view), read(view)
    part = first[10:20]
    del first
    assert view.in_use
    del second
    assert view.in_use
    assert part.sum() == 10
    del part
    gc.collect()
    assert not view.in_use


def test_a_block_can_be_read_again_later() -> None:
    view = pinned(numpy.ones(100_000))
    assert read(view).sum() == 100_000
    assert not view.in_use
    array = read(view)
    assert view.in_use
    assert array.sum() == 100_000


def test_a_value_without_views_leaves_the_block_at_once() -> None:
    view = pinned([1, 2, 3])
    hold = view.acquire()
    value = deserialize(hold.buffer, keepalive=hold)
    del hold
    assert value == [1, 2, 3]
    assert not view.in_use


def test_a_view_that_nobody_uses_is_retired_for_good_and_one_in_use_is_not() -> None:
    view = PinnedView(memoryview(b"block"))
    hold = view.acquire()
    assert not view.retire()
    del hold
    assert view.retire()
    with pytest.raises(Retired):
        view.acquire()
