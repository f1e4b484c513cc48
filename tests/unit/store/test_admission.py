"""Requests for room: their order, what lets others pass, and that each of them ends."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from asyncray import messages
from asyncray.ids import store_key
from asyncray.store.admission import TO_WRITE, Admission, State, Ticket
from asyncray.store.allocator import PAGE, block_size
from asyncray.store.blocks import Reason
from asyncray.store.table import NODE, ObjectTable

WRITER, READER = 1, 2
OWNER = b"o" * 16


def key(number: int) -> bytes:
    return store_key(number.to_bytes(20, "big"), OWNER)


@pytest.fixture
def table() -> ObjectTable:
    return ObjectTable(100 * PAGE)


@pytest.fixture
def admission(table: ObjectTable) -> Admission:
    return Admission(table, 30.0, 1.0)


def fill(table: ObjectTable, number: int, pages: int, *, pinned: bool = True) -> bytes:
    table.create(WRITER, key(number), pages * PAGE)
    table.seal(WRITER, key(number))
    if pinned:
        table.pin(READER, key(number))
    return key(number)


def ask(admission: Admission, number: int, pages: int, rank: int = TO_WRITE, now: float = 0.0) -> Ticket:
    return admission.request(NODE if rank < TO_WRITE else WRITER, key(number), pages * PAGE, rank, now)


def test_what_fits_is_granted_at_once(admission: Admission) -> None:
    assert ask(admission, 1, 60).granted
    assert len(admission) == 0 and admission.next_deadline() is None


def test_what_can_never_fit_is_refused_at_once_even_when_others_wait(table: ObjectTable, admission: Admission) -> None:
    fill(table, 1, 90)
    assert ask(admission, 2, 20).waiting
    ticket = ask(admission, 3, 101)
    assert ticket.state is State.REFUSED and ticket.refusal is not None
    assert ticket.refusal.reason is Reason.TOO_LARGE
    assert len(admission) == 1


def test_a_small_one_does_not_pass_a_large_one_for_which_room_is_being_made(
    table: ObjectTable, admission: Admission
) -> None:
    first = fill(table, 1, 90)
    large, small = ask(admission, 2, 50), ask(admission, 3, 1)
    assert admission.advance(1.0, reclaiming=True) == []
    table.unpin(READER, first)
    table.free([first])
    assert admission.advance(2.0, reclaiming=True) == [large, small]


def test_when_nothing_can_be_had_for_the_first_those_that_fit_pass(table: ObjectTable, admission: Admission) -> None:
    fill(table, 1, 90)
    read = ask(admission, 2, 50, messages.FOR_ARGUMENTS)
    write = ask(admission, 3, 5)
    assert admission.advance(1.0, reclaiming=False) == [write]
    assert read.waiting


def test_a_small_one_passes_a_large_one_of_its_kind_too(table: ObjectTable, admission: Admission) -> None:
    fill(table, 1, 50)
    large, small = ask(admission, 2, 60), ask(admission, 3, 40)
    assert admission.advance(1.0, reclaiming=True) == []
    assert admission.advance(1.0, reclaiming=False) == [small]
    assert large.waiting


def test_what_is_read_comes_before_what_is_written(table: ObjectTable, admission: Admission) -> None:
    first = fill(table, 1, 90)
    tickets = [
        ask(admission, 2, 40),
        ask(admission, 3, 40, messages.FOR_WAIT),
        ask(admission, 4, 40, messages.FOR_GET),
        ask(admission, 5, 40, messages.FOR_ARGUMENTS),
    ]
    assert list(admission) == tickets[::-1]
    table.free([first])
    table.unpin(READER, first)
    assert admission.advance(1.0, reclaiming=True) == tickets[:1:-1]


def test_a_reader_in_a_hurry_takes_the_request_of_another_one_along(table: ObjectTable, admission: Admission) -> None:
    fill(table, 1, 90)
    waits, gets = ask(admission, 2, 40, messages.FOR_WAIT), ask(admission, 3, 40, messages.FOR_GET)
    admission.hasten(waits, messages.FOR_ARGUMENTS)
    admission.hasten(waits, messages.FOR_WAIT)
    assert list(admission) == [waits, gets]


def test_evictable_copies_make_room(table: ObjectTable, admission: Admission) -> None:
    table.create(NODE, key(1), 90 * PAGE)
    table.seal(NODE, key(1), primary=False)
    assert ask(admission, 2, 50).granted
    assert table.dropped == [key(1)]


def test_who_waits_for_too_long_is_told(table: ObjectTable, admission: Admission) -> None:
    fill(table, 1, 90)
    ticket = ask(admission, 2, 20, now=5.0)
    assert admission.next_deadline() == 35.0
    assert admission.overdue(34.9) == []
    assert admission.overdue(35.0) == [ticket]
    assert ticket.refusal is not None and ticket.refusal.reason is Reason.FULL
    assert len(admission) == 0


def test_whatever_moves_gives_those_who_wait_more_time(table: ObjectTable, admission: Admission) -> None:
    fill(table, 1, 80)
    small = fill(table, 2, 10)
    ticket = ask(admission, 3, 50)
    table.free([small])
    table.unpin(READER, small)
    admission.advance(20.0, reclaiming=False)
    assert admission.overdue(30.0) == []
    assert admission.overdue(50.0) == [ticket]


def test_wanted_is_what_is_missing_for_the_first(table: ObjectTable, admission: Admission) -> None:
    fill(table, 1, 90)
    assert admission.wanted == 0
    ask(admission, 2, 50)
    assert admission.wanted == 40 * PAGE
    fill(table, 3, 5)
    assert admission.wanted == 45 * PAGE


def test_the_overflow_is_for_those_for_whom_nothing_has_moved(table: ObjectTable, admission: Admission) -> None:
    fill(table, 1, 90)
    write = ask(admission, 2, 20, now=5.0)
    read = ask(admission, 3, 20, messages.FOR_GET, now=5.5)
    assert admission.waiting_for_overflow(5.9) == []
    assert admission.waiting_for_overflow(6.0) == [read, write]


def test_memory_that_becomes_available_lets_them_hope(table: ObjectTable, admission: Admission) -> None:
    fill(table, 1, 70)
    small = fill(table, 2, 10)
    ticket = ask(admission, 3, 50)
    table.free([small])
    table.unpin(READER, small)
    assert admission.advance(0.9, reclaiming=False) == []
    assert admission.waiting_for_overflow(1.8) == []
    assert admission.waiting_for_overflow(1.9) == [ticket]


def test_small_ones_that_come_and_go_do_not_hold_up_the_first_in_line(table: ObjectTable, admission: Admission) -> None:
    fill(table, 1, 90)
    ticket = ask(admission, 2, 50)
    for number in range(3, 12):
        assert ask(admission, number, 5).waiting
        now = number / 10
        (small,) = admission.advance(now, reclaiming=False)
        table.abort(WRITER, small.key)
        assert admission.advance(now, reclaiming=False) == []
    assert admission.waiting_for_overflow(1.0) == [ticket]


def test_one_that_comes_soon_after_the_other_need_not_wait_as_long(table: ObjectTable, admission: Admission) -> None:
    fill(table, 1, 90)
    assert admission.grant_in_overflow(ask(admission, 2, 50), 4096 * 1000, 1.0)
    second = ask(admission, 3, 50, now=1.5)
    assert admission.waiting_for_overflow(1.5) == [second]
    admission.withdraw(second)
    third = ask(admission, 4, 50, now=3.0)
    assert admission.waiting_for_overflow(3.9) == []
    assert admission.waiting_for_overflow(4.0) == [third]


def test_who_does_not_wait_any_more_gets_nothing_of_the_overflow(table: ObjectTable, admission: Admission) -> None:
    fill(table, 1, 90)
    gone, again = ask(admission, 2, 50), ask(admission, 3, 50)
    admission.withdraw(gone)
    assert not admission.grant_in_overflow(gone, 4096 * 1000, 1.0)
    table.create(WRITER, key(3), 1)
    assert not admission.grant_in_overflow(again, 4096 * 1000, 1.0)
    assert again.refusal is not None and again.refusal.reason is Reason.DUPLICATE


class AdmissionMachine(RuleBasedStateMachine):
    """Any sequence of requests, and of what may make room."""

    def __init__(self) -> None:
        super().__init__()
        self.table = ObjectTable(64 * PAGE, 640 * PAGE)
        self.admission = Admission(self.table, 10.0, 1.0)
        self.now = 0.0
        self.numbers = 0
        self.tickets: list[Ticket] = []
        self.written: list[bytes] = []

    @rule(pages=st.integers(1, 70), rank=st.integers(0, TO_WRITE))
    def request(self, pages: int, rank: int) -> None:
        self.numbers += 1
        ticket = ask(self.admission, self.numbers, pages, rank, self.now)
        self.tickets.append(ticket)
        assert (ticket.state is State.REFUSED) == (pages > 64)

    @rule(data=st.data())
    @precondition(lambda self: any(ticket.granted for ticket in self.tickets))
    def finish(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from([ticket for ticket in self.tickets if ticket.granted]))
        self.tickets.remove(ticket)
        end = data.draw(st.sampled_from(["abort", "seal a copy", "seal"]))
        if end == "abort":
            self.table.abort(ticket.client, ticket.key)
        else:
            self.table.seal(ticket.client, ticket.key, primary=end == "seal")
            self.written.append(ticket.key)

    @rule(data=st.data())
    @precondition(lambda self: self.written)
    def free(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(self.written))
        self.written.remove(key)
        self.table.free([key])

    @rule(data=st.data())
    @precondition(lambda self: len(self.admission))
    def withdraw(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(list(self.admission)))
        self.admission.withdraw(ticket)
        self.tickets.remove(ticket)

    @rule(reclaiming=st.booleans(), seconds=st.floats(0, 20))
    def advance(self, reclaiming: bool, seconds: float) -> None:
        self.now += seconds
        before = list(self.admission)
        done = self.admission.advance(self.now, reclaiming=reclaiming)
        assert all(ticket.granted for ticket in done)
        left = list(self.admission)
        assert [ticket for ticket in before if ticket not in done] == left
        if left and reclaiming:
            assert all(before.index(ticket) < before.index(left[0]) for ticket in done)
        if left:  # else it could have been served
            assert block_size(left[0].size) > self.table.allocator.largest_free

    @rule(full=st.booleans())
    def extend(self, full: bool) -> None:
        overflow = self.table.overflow
        for ticket in self.admission.waiting_for_overflow(self.now):
            offset = overflow.begin(ticket.size, self.now)
            if offset is None:
                continue
            if full:
                overflow.failed(offset, "full", self.now)
            else:
                overflow.end(offset)
                assert ticket is next(iter(self.admission))
                assert self.admission.grant_in_overflow(ticket, offset, self.now)
                assert ticket.granted
            break
        overflow.released(overflow.take_freed())

    @rule()
    def look_for_overdue(self) -> None:
        for ticket in self.admission.overdue(self.now):
            assert ticket.state is State.REFUSED and ticket.since + 10.0 <= self.now
            self.tickets.remove(ticket)

    @invariant()
    def all_that_wait_are_known(self) -> None:
        assert {id(ticket) for ticket in self.admission} == {id(t) for t in self.tickets if t.waiting}
        assert (self.admission.next_deadline() is None) == (len(self.admission) == 0)
        assert (self.admission.wanted > 0) == (len(self.admission) > 0)

    def teardown(self) -> None:
        """Everything is finished and freed: then each of those that wait is served."""
        for _ in range(len(self.tickets) + 1):
            for ticket in [ticket for ticket in self.tickets if ticket.granted]:
                self.tickets.remove(ticket)
                self.table.abort(ticket.client, ticket.key)
            self.table.free(self.written)
            self.admission.advance(self.now, reclaiming=True)
        assert len(self.admission) == 0 and self.table.used == 0


AdmissionMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAdmission = AdmissionMachine.TestCase
