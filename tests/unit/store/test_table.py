"""Objects of the store: who may read what, and that every block comes back in the end."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from asyncray.ids import store_key
from asyncray.simulation.invariants.node_memory import overflow_inconsistencies, table_inconsistencies
from asyncray.store.allocator import LARGE, PAGE, block_size
from asyncray.store.blocks import Reason, Refusal
from asyncray.store.table import ObjectTable

WRITER, READER, OTHER = 1, 2, 3
OWNER, SECOND_OWNER = b"o" * 16, b"p" * 16
ONE, TWO = store_key(b"1" * 20, OWNER), store_key(b"2" * 20, SECOND_OWNER)


def create(table: ObjectTable, client: int, key: bytes, size: int = 100) -> int:
    offset = table.create(client, key, size)
    assert isinstance(offset, int)
    return offset


def sealed(table: ObjectTable, key: bytes = ONE, client: int = WRITER) -> int:
    offset = create(table, client, key)
    assert table.seal(client, key)
    return offset


@pytest.fixture
def table() -> ObjectTable:
    return ObjectTable(100 * PAGE)


def test_an_object_can_be_read_once_it_is_sealed(table: ObjectTable) -> None:
    offset = create(table, WRITER, ONE, 1000)
    assert table.pin(READER, ONE) is None
    assert table.is_unsealed(ONE)
    assert table.seal(WRITER, ONE)
    assert not table.is_unsealed(ONE)
    assert table.pin(READER, ONE) == (offset, 1000)


def test_a_freed_object_is_gone_at_once_when_nobody_reads_it(table: ObjectTable) -> None:
    sealed(table)
    table.free([ONE, TWO])
    assert table.used == 0
    assert table.pin(READER, ONE) is None


def test_a_freed_object_stays_in_place_until_its_last_unpin(table: ObjectTable) -> None:
    sealed(table)
    table.pin(READER, ONE)
    table.pin(READER, ONE)
    table.pin(OTHER, ONE)
    table.free([ONE])
    assert table.pin(READER, ONE) is None
    assert table.unpin(READER, ONE)
    assert table.unpin(OTHER, ONE)
    assert table.used > 0
    assert table.statistics().waiting == 1
    assert table.unpin(READER, ONE)
    assert table.used == 0


def test_an_unpinned_object_stays_until_it_is_freed(table: ObjectTable) -> None:
    sealed(table)
    table.pin(READER, ONE)
    table.unpin(READER, ONE)
    assert table.pin(READER, ONE) is not None


def test_what_was_not_done_cannot_be_undone(table: ObjectTable) -> None:
    sealed(table)
    assert not table.unpin(READER, ONE)
    assert not table.seal(WRITER, ONE)
    assert not table.abort(WRITER, ONE)
    create(table, WRITER, TWO)
    assert not table.seal(READER, TWO)
    assert not table.abort(READER, TWO)


def test_an_aborted_block_is_given_back(table: ObjectTable) -> None:
    create(table, WRITER, ONE)
    assert table.abort(WRITER, ONE)
    assert table.used == 0
    assert not table.is_unsealed(ONE)


def test_a_lost_client_gives_back_what_it_wrote_and_what_it_read(table: ObjectTable) -> None:
    sealed(table, ONE)
    table.pin(READER, ONE)
    create(table, READER, TWO)
    table.free([ONE])
    assert table.client_lost(READER) == [TWO]
    assert table.used == 0
    assert table.client_lost(READER) == []


def test_what_a_lost_client_had_sealed_stays(table: ObjectTable) -> None:
    sealed(table)
    table.client_lost(WRITER)
    assert table.pin(READER, ONE) is not None


def test_the_objects_of_a_lost_owner_are_freed(table: ObjectTable) -> None:
    sealed(table, ONE)
    sealed(table, TWO)
    table.pin(READER, ONE)
    table.owner_lost(OWNER)
    assert table.pin(READER, ONE) is None
    assert table.pin(READER, TWO) is not None
    table.unpin(READER, ONE)
    table.unpin(READER, TWO)
    table.free([TWO])
    assert table.used == 0


def test_what_is_sealed_for_a_lost_owner_is_freed_at_once(table: ObjectTable) -> None:
    create(table, WRITER, ONE)
    table.owner_lost(OWNER)
    assert table.seal(WRITER, ONE)
    assert table.used == 0


def test_an_object_freed_before_the_news_of_its_sealing_does_not_stay(table: ObjectTable) -> None:
    create(table, WRITER, ONE)
    table.free([ONE])
    assert table.seal(WRITER, ONE)
    assert table.used == 0


def test_a_task_that_runs_again_replaces_the_copy_of_its_first_run(table: ObjectTable) -> None:
    first = sealed(table)
    assert table.pin(READER, ONE) == (first, 100)
    second = create(table, OTHER, ONE, 200)
    assert second != first
    assert table.pin(READER, ONE) == (first, 100)
    table.seal(OTHER, ONE)
    assert table.pin(WRITER, ONE) == (second, 200)
    table.unpin(READER, ONE)
    assert table.statistics().waiting == 1
    table.unpin(READER, ONE)
    assert table.statistics().waiting == 0
    table.unpin(WRITER, ONE)
    table.free([ONE])
    assert table.used == 0


def test_a_second_run_that_fails_leaves_the_first_copy(table: ObjectTable) -> None:
    first = sealed(table)
    create(table, OTHER, ONE)
    table.client_lost(OTHER)
    assert table.pin(READER, ONE) == (first, 100)


def test_a_client_that_has_pinned_two_copies_keeps_both_until_its_last_unpin(table: ObjectTable) -> None:
    sealed(table)
    table.pin(READER, ONE)
    sealed(table, client=OTHER)
    table.pin(READER, ONE)
    table.unpin(READER, ONE)
    assert table.statistics().waiting == 1
    table.unpin(READER, ONE)
    assert table.statistics().waiting == 0


def test_two_runs_can_write_at_the_same_time_and_the_last_to_seal_wins(table: ObjectTable) -> None:
    first = create(table, WRITER, ONE)
    second = create(table, OTHER, ONE)
    assert first != second
    table.seal(OTHER, ONE)
    assert table.pin(READER, ONE) == (second, 100)
    table.seal(WRITER, ONE)
    assert table.pin(OTHER, ONE) == (first, 100)


def test_a_client_cannot_write_the_same_object_twice_at_once(table: ObjectTable) -> None:
    create(table, WRITER, ONE)
    refusal = table.create(WRITER, ONE, 100)
    assert isinstance(refusal, Refusal)
    assert refusal.reason is Reason.DUPLICATE


def test_a_full_store_refuses_with_the_sizes(table: ObjectTable) -> None:
    create(table, WRITER, ONE, 60 * PAGE)
    assert table.create(WRITER, TWO, 50 * PAGE) == Refusal(Reason.FULL, 50 * PAGE, 100 * PAGE, 60 * PAGE, 40 * PAGE)
    assert table.abort(WRITER, ONE)
    create(table, WRITER, TWO, 50 * PAGE)


def test_an_object_larger_than_the_arena_is_refused_for_that_reason(table: ObjectTable) -> None:
    refusal = table.create(WRITER, ONE, 100 * PAGE + 1)
    assert isinstance(refusal, Refusal)
    assert refusal.reason is Reason.TOO_LARGE
    create(table, WRITER, ONE, 100 * PAGE)


def in_overflow(table: ObjectTable, key: bytes, client: int = WRITER, *, primary: bool = True) -> int:
    """Sealed there."""
    offset = table.overflow.begin(100, 0.0)
    assert offset is not None
    table.overflow.end(offset)
    assert table.create_in_overflow(client, key, 100, offset) is None
    table.seal(client, key, primary=primary)
    return offset


@pytest.fixture
def large_table() -> ObjectTable:
    return ObjectTable(100 * PAGE, 100 * PAGE)


def test_an_object_in_the_overflow_is_read_and_freed_like_all_others(large_table: ObjectTable) -> None:
    offset = in_overflow(large_table, ONE)
    assert offset == 100 * PAGE
    assert large_table.pin(READER, ONE) == (offset, 100)
    large_table.free([ONE])
    assert large_table.overflow.take_freed() == []
    large_table.unpin(READER, ONE)
    assert large_table.overflow.has_freed


def test_the_overflow_is_no_part_of_the_arenas_account(large_table: ObjectTable) -> None:
    in_overflow(large_table, ONE)
    in_overflow(large_table, TWO, primary=False)
    statistics = large_table.statistics()
    assert (statistics.used, statistics.evictable, statistics.fragmentation) == (0, 0, 0.0)
    assert large_table.available == 100 * PAGE and large_table.idle.spillable_bytes == 0
    assert statistics.overflow_used == 2 * LARGE and statistics.overflow_capacity == 100 * PAGE
    assert not large_table.evict()
    large_table.pin(READER, ONE)
    assert large_table.pinned_memory() == (0, 1)


def test_a_primary_copy_stays_in_the_overflow_and_others_go_when_nobody_reads_them(large_table: ObjectTable) -> None:
    in_overflow(large_table, ONE)
    in_overflow(large_table, TWO, primary=False)
    large_table.pin(READER, TWO)
    large_table.trim_overflow()
    assert large_table.holds(ONE) and large_table.holds(TWO)
    large_table.unpin(READER, TWO)
    large_table.trim_overflow()
    assert large_table.holds(ONE) and not large_table.holds(TWO)
    assert large_table.dropped == [TWO]


def test_a_copy_in_the_overflow_that_becomes_the_primary_one_stays(large_table: ObjectTable) -> None:
    in_overflow(large_table, ONE, primary=False)
    assert large_table.promote(ONE)
    large_table.trim_overflow()
    assert large_table.holds(ONE)


def test_a_client_cannot_write_the_same_object_there_as_well(large_table: ObjectTable) -> None:
    create(large_table, WRITER, ONE)
    refusal = large_table.create_in_overflow(WRITER, ONE, 100, 100 * PAGE)
    assert refusal is not None and refusal.reason is Reason.DUPLICATE


def test_statistics_count(table: ObjectTable) -> None:
    sealed(table, ONE)
    create(table, WRITER, TWO)
    table.pin(READER, ONE)
    table.pin(READER, ONE)
    statistics = table.statistics()
    assert (statistics.capacity, statistics.used) == (100 * PAGE, 256)
    assert (statistics.objects, statistics.unsealed, statistics.pins, statistics.waiting) == (1, 1, 2, 0)


CLIENTS = st.integers(1, 4)
OWNERS = [bytes([n]) * 16 for n in range(3)]
KEYS = st.sampled_from([store_key(bytes([n]) * 20, OWNERS[n % 3]) for n in range(6)])


class TableMachine(RuleBasedStateMachine):
    """Any sequence of messages, as from processes that may be lost, wrong, or late.

    `written` and `readable` are the model: the blocks that a client may be writing or reading at this moment.
    """

    def __init__(self) -> None:
        super().__init__()
        self.table = ObjectTable(200 * PAGE, 200 * PAGE)
        self.written: dict[tuple[int, bytes], tuple[int, int]] = {}
        self.readable: dict[tuple[int, bytes], list[tuple[int, int]]] = {}
        self.pins: Counter[tuple[int, bytes]] = Counter()

    @rule(client=CLIENTS, key=KEYS, size=st.integers(1, 40 * PAGE))
    def create(self, client: int, key: bytes, size: int) -> None:
        outcome = self.table.create(client, key, size)
        if (client, key) in self.written:
            assert isinstance(outcome, Refusal)
        elif isinstance(outcome, int):
            self.written[client, key] = outcome, size
        else:
            assert outcome.reason is Reason.FULL

    @rule(client=CLIENTS, key=KEYS, size=st.integers(1, 40 * PAGE))
    def create_in_overflow(self, client: int, key: bytes, size: int) -> None:
        overflow = self.table.overflow
        offset = overflow.begin(size, 0.0)
        if offset is None:
            return
        overflow.end(offset)
        if self.table.create_in_overflow(client, key, size, offset) is not None:
            assert (client, key) in self.written
            overflow.free(offset)
        else:
            self.written[client, key] = offset, size

    @rule()
    def trim_overflow(self) -> None:
        self.table.trim_overflow()
        assert self.table.idle.redundant == []

    @rule()
    def release(self) -> None:
        self.table.overflow.released(self.table.overflow.take_freed())

    @rule(client=CLIENTS, key=KEYS, primary=st.booleans())
    def seal(self, client: int, key: bytes, primary: bool) -> None:
        assert self.table.seal(client, key, primary=primary) == ((client, key) in self.written)
        self.written.pop((client, key), None)

    @rule(client=CLIENTS, key=KEYS)
    def abort(self, client: int, key: bytes) -> None:
        assert self.table.abort(client, key) == ((client, key) in self.written)
        self.written.pop((client, key), None)

    @rule(client=CLIENTS, key=KEYS)
    def pin(self, client: int, key: bytes) -> None:
        block = self.table.pin(client, key)
        if block is not None:
            self.readable.setdefault((client, key), []).append(block)
            self.pins[client, key] += 1

    @rule(client=CLIENTS, key=KEYS)
    def unpin(self, client: int, key: bytes) -> None:
        assert self.table.unpin(client, key) == (self.pins[client, key] > 0)
        if self.pins[client, key]:
            self.pins[client, key] -= 1
        if not self.pins[client, key]:
            self.readable.pop((client, key), None)

    @rule(keys=st.lists(KEYS, max_size=3))
    def free(self, keys: list[bytes]) -> None:
        self.table.free(keys)
        assert all(self.table.pin(9, key) is None for key in keys)

    @rule(client=CLIENTS)
    def lose_client(self, client: int) -> None:
        lost = {key for writer, key in self.written if writer == client}
        assert set(self.table.client_lost(client)) == lost
        self.written = {key: block for key, block in self.written.items() if key[0] != client}
        self.readable = {key: blocks for key, blocks in self.readable.items() if key[0] != client}
        self.pins = Counter({key: count for key, count in self.pins.items() if key[0] != client})

    @rule(owner=st.sampled_from(OWNERS))
    def lose_owner(self, owner: bytes) -> None:
        self.table.owner_lost(owner)

    @invariant()
    def blocks_in_use_lie_apart(self) -> None:
        blocks = {block for blocks in self.readable.values() for block in blocks}
        writing = list(self.written.values())
        assert len(set(writing)) == len(writing)
        assert not blocks & set(writing)
        ordered = sorted([*blocks, *writing])
        assert all(offset + size <= following for (offset, size), (following, _) in pairwise(ordered))

    @invariant()
    def pins_and_blocks_are_counted(self) -> None:
        assert list(table_inconsistencies("node", self.table)) == []
        assert list(overflow_inconsistencies("node", self.table.overflow)) == []
        statistics = self.table.statistics()
        assert statistics.pins == sum(self.pins.values())
        assert statistics.unsealed == len(self.written)
        blocks = {block for blocks in self.readable.values() for block in blocks} | set(self.written.values())
        overflow = self.table.overflow
        assert statistics.used >= sum(block_size(size) for offset, size in blocks if offset < overflow.start)
        assert statistics.overflow_used >= sum(block_size(size) for offset, size in blocks if offset >= overflow.start)
        counted = self.table.allocator.usage().blocks + len(overflow._allocator._blocks) - len(overflow._freed)  # type: ignore[union-attr]
        assert counted == statistics.objects + statistics.unsealed + statistics.waiting
        assert self.table.available >= 200 * PAGE - statistics.used

    def teardown(self) -> None:
        for client in range(1, 5):
            self.table.client_lost(client)
        for owner in range(3):
            self.table.owner_lost(bytes([owner]) * 16)
        self.release()
        assert self.table.used == self.table.overflow.used == 0
        assert self.table.allocator.largest_free == self.table.allocator.capacity
        leftovers = [name for name, value in vars(self.table).items() if isinstance(value, dict) and value]
        assert leftovers in ([], ["_lost_owners"])


TableMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=60, deadline=None)
TestTable = TableMachine.TestCase
