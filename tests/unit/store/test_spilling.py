"""What goes to disk, where, and what becomes of it."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from asyncray.ids import owner_of, store_key
from asyncray.simulation.invariants.node_memory import allocator_inconsistencies, table_inconsistencies
from asyncray.store.allocator import PAGE
from asyncray.store.blocks import Refusal
from asyncray.store.spilling import Batch, Spilling
from asyncray.store.table import NODE, ObjectTable

WRITER, READER = 1, 2
OWNER = b"o" * 16


def key(number: int) -> bytes:
    return store_key(number.to_bytes(20, "big"), OWNER)


@pytest.fixture
def table() -> ObjectTable:
    return ObjectTable(100 * PAGE)


def spilling(table: ObjectTable, directories: Sequence[str] = ("/one",), file_pages: int = 10) -> Spilling:
    return Spilling(table, directories, threshold=0.8, file_size=file_pages * PAGE, retry_delay=1.0)


def fill(table: ObjectTable, *numbers: int, pages: int = 10) -> None:
    for number in numbers:
        assert isinstance(table.create(WRITER, key(number), pages * PAGE), int)
        table.seal(WRITER, key(number))


def keys(batch: Batch | None) -> list[bytes]:
    assert batch is not None
    return [block.key for block in batch.blocks]


def finish(decisions: Spilling, batch: Batch | None) -> None:
    assert batch is not None
    decisions.written(batch, [7] * len(batch.blocks))


def test_nothing_is_spilled_below_the_threshold(table: ObjectTable) -> None:
    decisions = spilling(table)
    fill(table, *range(8))
    assert decisions.next(0, 0.0) is None
    fill(table, 8)
    assert keys(decisions.next(0, 0.0)) == [key(0)]
    assert decisions.next(0, 0.0) is None, "what is being written counts as gone"


def test_what_was_read_last_goes_last_and_what_is_being_read_does_not_go(table: ObjectTable) -> None:
    decisions = spilling(table, file_pages=12)
    fill(table, *range(9))
    table.pin(READER, key(0))
    table.unpin(READER, key(0))
    table.pin(READER, key(1))
    assert keys(decisions.next(0, 0.0)) == [key(2)]


def test_small_objects_share_a_file_up_to_its_size(table: ObjectTable) -> None:
    decisions = spilling(table, file_pages=10)
    fill(table, *range(30), pages=3)
    batch = decisions.next(0, 0.0)
    assert keys(batch) == [key(0), key(1), key(2)]
    finish(decisions, batch)
    extents = [table.files.find(key(number)) for number in range(3)]
    assert [(extent.offset, extent.size) for extent in extents if extent is not None] == [
        (0, 3 * PAGE),
        (3 * PAGE, 3 * PAGE),
        (6 * PAGE, 3 * PAGE),
    ]


def test_whoever_waits_makes_more_go(table: ObjectTable) -> None:
    decisions = spilling(table, ("/one", "/two", "/three"))
    fill(table, *range(7))
    assert decisions.next(0, 0.0) is None
    assert [keys(decisions.next(15 * PAGE, 0.0)) for _ in range(2)] == [[key(0)], [key(1)]]
    assert decisions.next(15 * PAGE, 0.0) is None


def test_directories_take_turns_and_write_at_the_same_time(table: ObjectTable) -> None:
    decisions = spilling(table, ("/one", "/two"))
    fill(table, *range(10))
    batches = [decisions.next(90 * PAGE, 0.0) for _ in range(2)]
    assert [batch.path for batch in batches if batch is not None] == ["/one/1", "/two/2"]
    assert decisions.next(90 * PAGE, 0.0) is None
    finish(decisions, batches[1])
    third = decisions.next(90 * PAGE, 0.0)
    assert third is not None and third.path == "/two/3"


def test_a_spilled_object_stays_readable_until_its_room_is_needed(table: ObjectTable) -> None:
    decisions = spilling(table)
    fill(table, *range(9))
    finish(decisions, decisions.next(0, 0.0))
    assert table.in_arena(key(0)) and table.available == 20 * PAGE
    fill(table, 9, 10)
    assert not table.in_arena(key(0)) and table.holds(key(0))
    assert table.pin(READER, key(0)) is None


def test_a_directory_that_fails_is_left_alone_and_the_next_one_tried(table: ObjectTable) -> None:
    decisions = spilling(table, ("/one", "/two"))
    fill(table, *range(9))
    batch = decisions.next(0, 0.0)
    assert batch is not None
    decisions.failed(batch, "No space left on device", 0.0)
    assert table.available == 10 * PAGE and table.pin(READER, key(0)) is not None
    table.unpin(READER, key(0))
    assert decisions.trouble == "" and decisions.reclaiming(0.0)
    second = decisions.next(0, 0.0)
    assert second is not None and second.path == "/two/2"
    decisions.failed(second, "Input/output error", 0.0)
    assert decisions.trouble == "/one: No space left on device; /two: Input/output error"
    assert decisions.next(0, 0.5) is None and not decisions.reclaiming(0.5)
    assert decisions.next_retry(0.5) == 1.0
    finish(decisions, decisions.next(0, 1.0))
    assert decisions.trouble == ""


def test_after_a_failure_files_get_smaller_for_the_disk_may_have_room_for_some(table: ObjectTable) -> None:
    decisions = spilling(table)
    fill(table, *range(90), pages=1)
    sizes = []
    for attempt in range(6):
        batch = decisions.next(0, attempt * 2.0)
        assert batch is not None
        sizes.append(len(batch.blocks))
        if attempt < 4:
            decisions.failed(batch, "No space left on device", attempt * 2.0)
        else:
            finish(decisions, batch)
    assert sizes == [10, 5, 2, 1, 1, 1]


def test_what_is_freed_while_it_is_written_is_in_no_file(table: ObjectTable) -> None:
    decisions = spilling(table)
    fill(table, *range(9))
    batch = decisions.next(0, 0.0)
    table.free([key(0)])
    assert table.used == 90 * PAGE, "the disk reads it still"
    finish(decisions, batch)
    assert table.used == 80 * PAGE and len(table.files) == 0
    assert table.files.removable == ["/one/1"]


def test_a_file_goes_with_its_last_object_and_its_last_reader(table: ObjectTable) -> None:
    decisions = spilling(table)
    fill(table, *range(30), pages=3)
    finish(decisions, decisions.next(0, 0.0))
    table.files.open("/one/1")
    table.free([key(0), key(1)])
    assert table.files.removable == []
    table.owner_lost(OWNER)
    assert table.files.removable == []
    table.files.close("/one/1")
    assert table.files.removable == ["/one/1"]


def test_what_is_restored_can_be_evicted_again_at_once(table: ObjectTable) -> None:
    decisions = spilling(table)
    fill(table, *range(9))
    finish(decisions, decisions.next(0, 0.0))
    assert table.evict() and not table.evict()
    assert isinstance(table.create(NODE, key(0), 10 * PAGE), int)
    assert table.restored(key(0))
    assert table.pin(READER, key(0)) is not None
    assert not table.evict()
    table.unpin(READER, key(0))
    assert table.evict()
    assert table.statistics().restores == 1 and table.statistics().evictions == 2


def test_what_is_freed_while_it_is_restored_takes_no_room(table: ObjectTable) -> None:
    decisions = spilling(table)
    fill(table, *range(9))
    finish(decisions, decisions.next(0, 0.0))
    table.evict()
    table.create(NODE, key(0), 10 * PAGE)
    table.free([key(0)])
    assert not table.restored(key(0))
    assert table.used == 80 * PAGE


def test_spoiled_bytes_cost_their_object_and_no_other(table: ObjectTable) -> None:
    decisions = spilling(table)
    fill(table, *range(30), pages=3)
    finish(decisions, decisions.next(0, 0.0))
    while table.evict():
        pass
    table.spoiled(key(1))
    assert [table.holds(key(number)) for number in range(3)] == [True, False, True]
    assert table.files.removable == []


class SpillingMachine(RuleBasedStateMachine):
    """Processes write, read and free objects while the node evicts, spills, restores, and gets copies from others.

    The bytes are modelled, too: what a block or a file holds is the number of its object.
    """

    def __init__(self) -> None:
        super().__init__()
        self.table = ObjectTable(64 * PAGE)
        self.decisions = Spilling(self.table, ["/one", "/two"], threshold=0.5, file_size=8 * PAGE, retry_delay=1.0)
        self.random = random.Random(0)
        self.numbers = 0
        self.now = 0.0
        self.arena: dict[int, bytes] = {}
        self.disk: dict[str, list[bytes]] = {}
        self.batches: list[Batch] = []
        self.restoring: dict[bytes, int] = {}
        self.live: dict[bytes, bool] = {}
        """Objects that nobody has freed, and whether the copy here is the primary one."""
        self.pinned: list[bytes] = []

    def draw(self, data: st.DataObject, among: Sequence[bytes]) -> bytes:
        return data.draw(st.sampled_from(sorted(among)))

    @rule(pages=st.integers(1, 20), primary=st.booleans(), backup=st.booleans())
    def write(self, pages: int, primary: bool, backup: bool) -> None:
        self.numbers += 1
        name, client = key(self.numbers), WRITER if primary else NODE
        offset = self.table.create(client, name, pages * PAGE)
        if isinstance(offset, Refusal):
            assert self.table.available < pages * PAGE or self.table.idle.next_to_evict() is None
            return
        self.arena[offset] = name
        self.table.seal(client, name, primary=primary, backup=backup)
        self.live[name] = primary

    @rule(data=st.data())
    @precondition(lambda self: self.live)
    def pin(self, data: st.DataObject) -> None:
        name = self.draw(data, list(self.live))
        pinned = self.table.pin(READER, name)
        if pinned is not None:
            assert self.arena[pinned[0]] == name
            self.pinned.append(name)
        else:
            assert not self.live[name] or self.table.files.find(name) is not None

    @rule(data=st.data())
    @precondition(lambda self: self.pinned)
    def unpin(self, data: st.DataObject) -> None:
        name = self.draw(data, self.pinned)
        self.pinned.remove(name)
        assert self.table.unpin(READER, name)

    @rule(data=st.data())
    @precondition(lambda self: self.live)
    def free(self, data: st.DataObject) -> None:
        name = self.draw(data, list(self.live))
        del self.live[name]
        self.table.free([name])

    @rule(data=st.data())
    @precondition(lambda self: self.live)
    def lose_the_parent_of_a_copy(self, data: st.DataObject) -> None:
        name = self.draw(data, list(self.live))
        if data.draw(st.booleans()):
            if self.table.promote(name):
                self.live[name] = True
        else:
            self.table.orphan([name])

    @rule(wanted=st.integers(0, 20))
    def spill(self, wanted: int) -> None:
        while (batch := self.decisions.next(wanted * PAGE, self.now)) is not None:
            for block in batch.blocks:
                assert block.primary and not block.on_disk and block.offset is not None
            self.batches.append(batch)

    @rule(works=st.booleans(), data=st.data())
    @precondition(lambda self: self.batches)
    def write_file(self, works: bool, data: st.DataObject) -> None:
        batch = self.batches.pop(data.draw(st.integers(0, len(self.batches) - 1)))
        if works:
            self.disk[batch.path] = [self.arena[block.offset or 0] for block in batch.blocks]
            assert self.disk[batch.path] == keys(batch)
            self.decisions.written(batch, [0] * len(batch.blocks))
        else:
            self.decisions.failed(batch, "it is full", self.now)

    @rule(data=st.data())
    @precondition(lambda self: len(self.table.files))
    def begin_to_restore(self, data: st.DataObject) -> None:
        name = self.draw(data, list(self.table.files._extents))
        extent = self.table.files.find(name)
        assert extent is not None and name in self.disk[extent.path]
        if not self.table.in_arena(name) and name not in self.restoring:
            offset = self.table.create(NODE, name, extent.size)
            if not isinstance(offset, Refusal):
                self.restoring[name] = offset

    @rule(works=st.booleans(), data=st.data())
    @precondition(lambda self: self.restoring)
    def restore(self, works: bool, data: st.DataObject) -> None:
        name = self.draw(data, list(self.restoring))
        offset = self.restoring.pop(name)
        if not works:
            self.table.abort(NODE, name)
        else:
            self.arena[offset] = name
            assert self.table.restored(name) == (name in self.live)

    @rule()
    def evict(self) -> None:
        self.table.evict()

    @rule(seconds=st.floats(0, 2))
    def let_time_pass(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def nothing_is_inconsistent(self) -> None:
        assert list(allocator_inconsistencies("store", self.table.allocator)) == []
        assert list(table_inconsistencies("store", self.table)) == []

    @invariant()
    def primary_copies_are_somewhere(self) -> None:
        for name, primary in self.live.items():
            assert not primary or self.table.holds(name)
        dropped, self.table.dropped = self.table.dropped, []
        for name in dropped:
            assert not self.live.pop(name), "a primary copy was dropped"

    @invariant()
    def files_are_removed_once_nothing_in_them_is_needed(self) -> None:
        removable, self.table.files.removable = self.table.files.removable, []
        for path in removable:
            for name in self.disk.pop(path):
                extent = self.table.files.find(name)
                assert extent is None or extent.path != path
        assert set(self.disk) == set(self.table.files._files)

    def teardown(self) -> None:
        for batch in self.batches:
            self.decisions.failed(batch, "the end", self.now)
        for name in self.restoring:
            self.table.abort(NODE, name)
        self.table.client_lost(READER)
        self.table.owner_lost(owner_of(key(1)))
        assert self.table.used == 0 and len(self.table.idle) == 0 and len(self.table.files) == 0
        assert not self.decisions.busy
        self.files_are_removed_once_nothing_in_them_is_needed()
        assert not self.disk


SpillingMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
TestSpilling = SpillingMachine.TestCase
