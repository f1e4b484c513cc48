"""Bugs of objects on disk: on a single node, whose store is so small that large values go there."""

from __future__ import annotations

import pytest

from asyncray.node.spill_manager import SpillManager
from asyncray.simulation.trial import SMALL_STORE
from asyncray.store.spill_files import SpillFiles
from asyncray.store.spilling import Spilling
from asyncray.store.table import ObjectTable

from .planting import PATIENT, assert_caught

pytestmark = pytest.mark.timeout(PATIENT)


def test_objects_that_count_as_spilled_before_their_file_is_written() -> None:
    """The invariants: the file has less than it should."""
    late = 'self._background.spawn(disk.write(batch.path, views), name="late")'
    assert_caught(SpillManager._write, "await disk.write(batch.path, views)", late, nodes=1, store=SMALL_STORE)


def test_a_file_that_is_removed_while_one_of_its_objects_lives() -> None:
    """The invariants: the file is not there."""
    right = "self._drop_if_useless(extent.path)"
    wrong = f"{right}; self.removable += [extent.path] * (extent.path in self._files)"
    assert_caught(SpillFiles.forget, right, wrong, nodes=1, store=SMALL_STORE)


def test_a_file_that_stays_though_none_of_its_objects_lives() -> None:
    """The invariants: the file is kept for nothing."""
    assert_caught(SpillFiles.forget, "self._drop_if_useless(extent.path)", "pass", nodes=1, store=SMALL_STORE)


def test_a_file_that_is_forgotten_and_not_removed() -> None:
    """At rest: the file is left."""
    assert_caught(SpillFiles._drop_if_useless, "self.removable.append(path)", "pass", nodes=1, store=SMALL_STORE)


def test_a_file_that_counts_as_read_after_its_reader_has_ended() -> None:
    """At rest: the file is read."""
    assert_caught(SpillManager._restore, "self._table.files.close(extent.path)", "pass", nodes=1, store=SMALL_STORE)


def test_bytes_that_are_read_at_the_wrong_place_of_a_file() -> None:
    """The program: ObjectLostError, for the checksum is another."""
    assert_caught(SpillManager._read, "extent.offset, block", "0, block", nodes=1, store=SMALL_STORE)


def test_bytes_of_a_file_that_are_not_what_was_written_and_are_not_looked_at() -> None:
    """The program: a value is not what it was."""
    wrong = "size = await self._disk_of(extent.path).read_into(extent.path, 0, block)"
    right = "size = await self._disk_of(extent.path).read_into(extent.path, extent.offset, block)"
    assert_caught(SpillManager._read, right, f"{wrong}; return", nodes=1, store=SMALL_STORE)


def test_a_free_that_is_lost_while_the_object_is_written() -> None:
    """At rest: an object is in the store."""
    spilled = "key in self._sealed and NODE in self._sealed[key].pinned_by"
    assert_caught(ObjectTable.free, "self._unlist(key)", f"{spilled} or self._unlist(key)", nodes=1, store=SMALL_STORE)


def test_a_file_with_an_object_that_was_freed_while_it_was_written() -> None:
    """The invariants: the object is in a file, and need not be."""
    right = "if self._sealed.get(block.key) is block"
    assert_caught(ObjectTable.end_spill, right, "if True", nodes=1, store=SMALL_STORE)


def test_a_written_object_that_stays_pinned() -> None:
    """At rest: an object is pinned by the node itself."""
    assert_caught(ObjectTable.end_spill, "self.unpin(NODE, block.key)", "pass", nodes=1, store=SMALL_STORE)


def test_bytes_that_count_as_on_their_way_to_disk_for_ever() -> None:
    """At rest: objects are on their way to disk."""
    right = "self._in_flight -= sum(block.taken for block in batch.blocks)"
    assert_caught(Spilling._end, right, "pass", nodes=1, store=SMALL_STORE)


def test_a_block_of_a_restored_object_that_was_freed_meanwhile() -> None:
    """The invariants: the block belongs to no object."""
    assert_caught(ObjectTable.restored, "self._give_back(written.offset)", "pass", nodes=1, store=SMALL_STORE)


def test_readers_of_a_restored_object_that_are_not_told() -> None:
    """The driver does not finish."""
    assert_caught(
        SpillManager._restore,
        "else:\n        del self._restoring[key]\n        self.on_restored(key)",
        "else:\n        del self._restoring[key]",
        nodes=1,
        store=SMALL_STORE,
    )
