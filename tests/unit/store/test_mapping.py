"""Parts of shared memory that a process has for itself, until it writes and from then on."""

from __future__ import annotations

import gc
import mmap
import os
import weakref
from pathlib import Path
from typing import Any

import pytest

from asyncray.serialization.memory import address_of
from asyncray.store.mapping import Mapping

PAGE = mmap.PAGESIZE
MIB = 1 << 20


class Token:
    """Something alive as long as a buffer of the memory that it stands for."""


@pytest.fixture
def shared() -> Mapping:
    descriptor = os.memfd_create("test-mapping")
    os.ftruncate(descriptor, 2 * MIB)
    mapping = Mapping.of(descriptor, 2 * MIB)
    os.close(descriptor)
    mapping[:] = b"ab" * MIB
    return mapping


def private(mapping: Mapping, offset: int, size: int, keepalive: object = None) -> Any:
    return mapping.private(address_of(memoryview(mapping)[offset : offset + size]), size, keepalive)


@pytest.mark.parametrize(("offset", "size"), [(0, 1), (1, PAGE), (PAGE - 1, 2), (3 * PAGE + 5, MIB), (MIB, MIB)])
def test_a_private_part_holds_what_the_shared_one_does_until_it_is_written_to(
    shared: Mapping, offset: int, size: int
) -> None:
    part, other = private(shared, offset, size), private(shared, offset, size)
    assert bytes(part) == shared[offset : offset + size]
    memoryview(part).cast("B")[-1] = 0
    assert bytes(part) == shared[offset : offset + size - 1] + b"\0"
    assert bytes(other) == shared[offset : offset + size]
    assert b"\0" not in shared[:]


def test_a_private_part_keeps_alive_what_it_is_told_to_and_is_unmapped_in_the_end(shared: Mapping) -> None:
    token = Token()
    alive = weakref.ref(token)
    maps = mapped()
    part = memoryview(private(shared, 5, MIB, token))
    del token
    assert mapped() == maps + 1
    assert alive() is not None
    half = part[10:20]
    del part
    assert alive() is not None
    del half
    gc.collect()
    assert alive() is None
    assert mapped() == maps


def test_many_private_parts_need_no_descriptors(shared: Mapping) -> None:
    before = len(os.listdir("/proc/self/fd"))
    parts = [private(shared, n * PAGE, PAGE) for n in range(200)]
    assert len(os.listdir("/proc/self/fd")) == before
    assert all(bytes(part[:2]) == b"ab" for part in parts)


def test_nothing_is_left_of_a_mapping_that_is_gone(shared: Mapping) -> None:
    before = len(os.listdir("/proc/self/fd"))
    another = Mapping.of(shared._descriptors[0][1], 2 * MIB)
    part = private(another, 0, MIB)
    del another
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before
    assert bytes(part[:2]) == b"ab"


def test_what_cannot_be_mapped_raises(shared: Mapping) -> None:
    with pytest.raises(OSError):
        shared.private(shared._address, 1 << 62, None)


def mapped() -> int:
    return Path("/proc/self/maps").read_text().count("memfd:test-mapping")
