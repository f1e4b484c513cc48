"""Bugs of the overflow: on a single node, whose store is so small that programs hold more than it has room for."""

from __future__ import annotations

from typing import Any, Final

import pytest

from asyncray.node.overflow_manager import OverflowManager
from asyncray.store.admission import Admission
from asyncray.store.idle import IdleBlocks
from asyncray.store.table import ObjectTable
from asyncray.worker.objects import Objects

from .planting import PATIENT, assert_caught

pytestmark = pytest.mark.timeout(PATIENT)

TINY: Final[dict[str, Any]] = {"nodes": 1, "operations": 200, "store": 700_000}
"""Every value fits, but not many."""


def test_a_block_that_is_given_out_before_there_is_disk_space_for_it() -> None:
    """The memory of the simulator: who writes there would be killed."""
    assert_caught(
        OverflowManager._extend, "await self._arena.reserve(offset, overflow.size_of(offset))", "pass", **TINY
    )


def test_disk_space_that_is_never_given_back() -> None:
    """At rest: the overflow is in use."""
    assert_caught(OverflowManager.tidy, "self._overflow.has_freed and", "False and", **TINY)


def test_copies_that_stay_in_the_overflow_though_nobody_reads_them() -> None:
    """The simulator: it is tried again and again."""
    assert_caught(OverflowManager._drop_redundant, "self._table.trim_overflow()", "pass", **TINY)


def test_a_block_of_the_overflow_that_counts_as_memory_that_can_be_made_available() -> None:
    """The invariants: the account of what can be evicted is wrong."""
    right = "if block.in_overflow:\n        return\n    if block.primary"
    assert_caught(IdleBlocks.add, right, "if block.primary", **TINY)


def test_a_spilled_object_that_is_read_back_into_the_overflow_and_said_to_be_in_memory() -> None:
    """The invariants: a block is said to lie in the arena, and does not."""
    right = "written.offset, written.in_overflow"
    assert_caught(ObjectTable.restored, right, "written.offset, False", **TINY)


def test_an_object_that_is_sealed_in_the_overflow_and_said_to_be_in_memory() -> None:
    """The invariants: a block is said to lie in the arena, and does not."""
    assert_caught(ObjectTable.seal, "block.size, block.in_overflow,", "block.size, False,", **TINY)


def test_a_full_store_that_has_no_overflow() -> None:
    """The program: ObjectStoreFullError."""
    assert_caught(Admission.waiting_for_overflow, "list(self) if", "list(self) if False and", **TINY)


def test_a_value_that_makes_room_though_gather_counts_on_it() -> None:
    """The program does not end."""
    assert_caught(Objects.let_go_of_read, "not location.told", "True", **TINY)
