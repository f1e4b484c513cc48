"""Bugs of copies between nodes."""

from __future__ import annotations

import pytest

from asyncray.node.exchange import Exchange
from asyncray.node.incoming import Incoming
from asyncray.node.transfer_manager import TransferManager
from asyncray.store.copies import Copies

from .planting import PATIENT, assert_caught

pytestmark = pytest.mark.timeout(PATIENT)


def test_children_that_are_not_told_of_the_end() -> None:
    """At rest: an object is in the store."""
    assert_caught(Copies.freed, "effects.append(Dropped(child.node, key, freed=True))", "pass")


def test_a_copy_of_which_the_node_does_not_know_whence_it_came() -> None:
    """The invariants: the copy is part of no tree."""
    assert_caught(TransferManager._pulled, "self.copies.pulled(key, node, number)", "pass")


def test_a_pull_that_nobody_wants_any_more_and_that_goes_on() -> None:
    """The invariants: two pulls of the same object."""
    assert_caught(TransferManager.fetch, "self._tasks[pull].cancel()", "del self._tasks[pull]")


def test_bytes_in_the_wrong_place() -> None:
    """The program: a value is not what it was."""
    assert_caught(Incoming._receive, "with block[start:] as rest:", "with block[start + 64 :] as rest:")


def test_a_drop_that_is_not_acknowledged() -> None:
    """At rest: a node has yet to be told."""
    assert_caught(Exchange._on_dropped, "untold.messages.pop(sequence, None)", "pass")
