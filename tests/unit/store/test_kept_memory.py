"""Blocks that a process keeps as they are, whatever others write there."""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Iterator

import pytest

from asyncray.store.arena import Arena

PAGE = mmap.PAGESIZE
CAPACITY = 64 * PAGE


@pytest.fixture
def owner() -> Iterator[Arena]:
    arena = Arena.create(CAPACITY)
    yield arena
    arena.close()


@pytest.fixture
def reader(owner: Arena) -> Iterator[Arena]:
    arena = Arena.attach(owner.path, CAPACITY)
    yield arena
    arena.close()


@pytest.mark.parametrize(
    ("offset", "size"), [(0, PAGE), (PAGE + 64, 10), (3 * PAGE - 1, 2), (64, 5 * PAGE), (0, CAPACITY)]
)
def test_what_is_kept_stays_as_it_is(owner: Arena, reader: Arena, offset: int, size: int) -> None:
    owner.view(0, CAPACITY)[:] = os.urandom(CAPACITY)
    view = reader.view(offset, size)
    before = bytes(view)
    reader.keep(offset, size)
    assert view == before
    owner.view(0, CAPACITY)[:] = bytes(CAPACITY)
    assert view == before == reader.view(offset, size)
    pages = (offset + size - 1) // PAGE - offset // PAGE + 1
    changed = sum(not any(reader.view(page * PAGE, PAGE)) for page in range(CAPACITY // PAGE))
    assert changed == CAPACITY // PAGE - pages, "all else is shared as before"


def test_blocks_that_share_a_page_are_kept_one_after_the_other(owner: Arena, reader: Arena) -> None:
    owner.view(0, 128)[:] = b"1" * 64 + b"2" * 64
    reader.keep(0, 64)
    reader.keep(64, 64)
    owner.view(0, 128)[:] = bytes(128)
    assert reader.view(0, 128) == b"1" * 64 + b"2" * 64


def test_private_copies_are_kept_too(owner: Arena, reader: Arena) -> None:
    import ctypes

    owner.view(0, 2 * PAGE)[:] = b"a" * 2 * PAGE
    view = reader.view(0, 2 * PAGE)
    assert reader._mapping is not None
    private = reader._mapping.private(ctypes.addressof(ctypes.c_char.from_buffer(view)), 2 * PAGE, view)
    private[0] = b"x"
    reader.keep(0, 2 * PAGE)
    owner.view(0, 2 * PAGE)[:] = bytes(2 * PAGE)
    assert bytes(private) == b"x" + b"a" * (2 * PAGE - 1)


def test_a_reader_in_another_thread_notices_nothing(owner: Arena, reader: Arena) -> None:
    owner.view(0, CAPACITY)[:] = b"z" * CAPACITY
    view = reader.view(0, CAPACITY)
    wrong = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            if bytes(view) != b"z" * CAPACITY:
                wrong.append(1)

    thread = threading.Thread(target=read)
    thread.start()
    for _ in range(200):
        reader.keep(0, CAPACITY)
    done.set()
    thread.join()
    assert not wrong


def test_a_closed_arena_keeps_nothing(owner: Arena, reader: Arena) -> None:
    reader.close()
    with pytest.raises(ValueError, match="closed"):
        reader.keep(0, 1)
