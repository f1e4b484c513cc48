"""Small programs with known outcomes: what is right is accepted, and each kind of wrong observation is reported."""

from __future__ import annotations

from typing import Any

from asyncray.simulation.workload.check import WORKER_FAULT_ERRORS, check, check_executions
from asyncray.simulation.workload.observation import Observations
from asyncray.simulation.workload.program import (
    LARGE_SIZE,
    Body,
    Call,
    Cancel,
    Concurrently,
    Constant,
    Create,
    Drop,
    Get,
    Item,
    Journal,
    Kill,
    Large,
    Listed,
    Program,
    Put,
    Raise,
    Step,
    Submit,
    Wait,
)

CRASHED = ["error", "asyncray.errors.WorkerCrashedError", "the worker ended", False]
DIED = ["error", "asyncray.errors.ActorDiedError", "it was killed", False]
WITHDRAWN = ["error", "asyncio.exceptions.CancelledError", "", False]
Entry = tuple[int, Any]


def wrong(steps: tuple[Step, ...], *entries: Entry, faults: bool = False) -> list[str]:
    """What `check` says of these observations of a driver that does these steps."""
    return check(Program((Body(1, steps),)), Observations(0, entries), faults=faults)


def get(key: int, target: int, source: int, **options: Any) -> Get:
    return Get(key, (target,), (Item(source),), "await", deep=False, catch=options.pop("catch", True), **options)


def own_error(key: int) -> list[Any]:
    return ["error", "asyncray.simulation.workload.observation.WorkloadError", str(key), True]


def task(key: int, *targets: int, cancelled: bool = False, steps: tuple[Step, ...] = (), **options: Any) -> Submit:
    returns = options.pop("returns", (Constant(5),))
    arguments = options.pop("arguments", ())
    return Submit(key, targets, "plain", Body(key + 1, steps, returns), arguments, cancelled, **options)


# ---- values

PUT = (Put(2, 0, Listed((Constant(7), Constant(8)))), get(3, 1, 0), Drop(4, (0,)))


def test_the_value_that_was_put_is_expected() -> None:
    assert wrong(PUT, (3, ["value", [[7, 8]]]), (-2, [7, 8])) == []


def test_a_wrong_value_is_reported_with_step_expected_and_got() -> None:
    (sentence,) = wrong(PUT, (3, ["value", [[7, 9]]]), (-2, [7, 8]))
    assert sentence == "step 3, item 0, item 1: expected 8, got 9"


def test_a_wrong_value_is_reported_in_spite_of_faults() -> None:
    assert wrong(PUT, (3, ["value", [[7, 9]]]), (-2, [7, 8]), faults=True)


def test_a_value_of_another_length_is_reported() -> None:
    assert wrong(PUT, (3, ["value", [[7]]]), (-2, [7, 8]))


def test_an_observation_that_was_never_made_is_reported() -> None:
    assert wrong(PUT, (3, ["value", [[7, 8]]])) == [
        "step -2: expected an observation, got none",
    ]


def test_an_error_is_right_with_faults_only_and_only_if_it_is_a_documented_one() -> None:
    observed = (3, CRASHED), (-2, "missing")
    assert wrong(PUT, *observed, faults=True) == []
    assert wrong(PUT, *observed)
    for kind in ("KeyError", "asyncio.exceptions.InvalidStateError", "asyncray.errors.ProtocolError"):
        raw = ["error", kind, "", False]
        assert wrong(PUT, (3, raw), (-2, "missing"), faults=True)


def test_errors_of_lost_machines_are_wrong_when_only_workers_die() -> None:
    program = Program((Body(1, PUT),))
    for name, right in (("OwnerDiedError", True), ("NodeDiedError", False), ("ObjectLostError", False)):
        error = ["error", f"asyncray.errors.{name}", "", False]
        seen = Observations(0, ((3, error), (-2, "missing")))
        assert check(program, seen, faults=True) == []
        assert (check(program, seen, faults=True, errors=WORKER_FAULT_ERRORS) == []) is right


def test_an_error_of_a_step_that_gives_none_is_reported() -> None:
    observed = (3, ["value", [[7, 8]]]), (-2, [7, 8])
    assert wrong(PUT, (4, ["error", "KeyError", "0", False]), *observed, faults=True)
    assert wrong(PUT, (4, CRASHED), *observed, faults=True) == []


def test_large_values_must_arrive_whole() -> None:
    steps = Put(2, 0, Large(9)), get(3, 1, 0)
    right = ["bytes", LARGE_SIZE, 9]
    end = (-1, ["reference", ["value", right]]), (-2, right)
    assert wrong(steps, (3, ["value", [right]]), *end) == []
    assert wrong(steps, (3, ["value", [["bytes", LARGE_SIZE, "damaged"]]]), *end)
    assert wrong(steps, (3, ["value", [["bytes", 5, 9]]]), *end)


# ---- tasks


def test_references_are_resolved_as_arguments_and_passed_on_in_lists() -> None:
    returns = (Listed((Item(0), Item(1))),)
    inner = task(3, 1, returns=returns, arguments=(Item(0), Listed((Item(0),))))
    steps = Put(2, 0, Constant(7)), inner, get(5, 2, 1), Drop(6, (0, 1))
    end = (-3, [7, [["reference", ["value", 7]]]])
    assert wrong(steps, (5, ["value", [[7, [["reference"]]]]]), end) == []
    assert wrong(steps, (5, ["value", [[["reference"], [["reference"]]]]]), end)
    assert wrong(steps, (5, ["value", [[7, [7]]]]), end)


def test_the_journal_of_a_task_is_compared_too() -> None:
    inside = Put(4, 0, Constant(1)), get(5, 1, 0)
    steps = task(2, 0, steps=inside, returns=(Journal(),)), get(6, 1, 0), Drop(7, (0,))

    def seen(journal: list[Any]) -> tuple[Entry, Entry]:
        return (6, ["value", [journal]]), (-2, journal)

    assert wrong(steps, *seen([[5, ["value", [1]]]])) == []
    assert wrong(steps, *seen([[5, ["value", [2]]]]))
    assert wrong(steps, *seen([]))
    assert wrong(steps, *seen([[5, CRASHED]]), faults=True) == []


FAILING = task(2, 0, steps=(Raise(4),)), get(5, 1, 0), Drop(6, (0, 1))


def test_the_error_of_a_task_is_the_one_that_it_raised() -> None:
    assert wrong(FAILING, (5, own_error(4))) == []
    assert wrong(FAILING, (5, own_error(5)))
    assert wrong(FAILING, (5, ["value", [5]]))
    assert wrong(FAILING, (5, ["value", [5]]), faults=True)
    plain_error = [*own_error(4)[:3], False]  # it was no TaskError, or not of the user's type
    assert wrong(FAILING, (5, plain_error))


def test_a_task_whose_argument_fails_fails_likewise_and_never_runs() -> None:
    steps = task(2, 0, steps=(Raise(4),)), task(5, 1, arguments=(Item(0),)), get(7, 2, 1), Drop(8, (0, 1, 2))
    assert wrong(steps, (7, own_error(4))) == []
    assert wrong(steps, (7, ["value", [5]]))
    program = Program((Body(1, steps),))
    assert check_executions(program, {3: 1}) == []
    assert check_executions(program, {3: 1, 6: 1}) == ["step 6 must not run, and ran 1 times"]


def test_an_error_that_a_body_does_not_catch_is_its_own() -> None:
    inside = task(4, 0, steps=(Raise(6),)), get(7, 1, 0, catch=False)
    steps = task(2, 0, steps=inside), get(8, 1, 0), Drop(9, (0, 1))
    assert wrong(steps, (8, own_error(6))) == []
    assert wrong(steps, (8, ["value", [5]]))


def test_each_task_runs_once() -> None:
    program = Program((Body(1, (task(2, 0),)),))
    assert check_executions(program, {3: 1}) == []
    assert check_executions(program, {3: 2}) == ["step 3 ran 2 times"]
    assert check_executions(program, {}) == ["step 3 never ran"]
    assert check_executions(program, {}, finished=()) == [], "its driver may have died first"


def test_with_faults_a_task_runs_as_often_as_its_retries_allow() -> None:
    """It is not charged for the crash of a worker to which it was sent with others; that happens once at most."""
    for retries, most in (0, 1), (1, 3), (3, 5):
        program = Program((Body(1, (task(2, 0, max_retries=retries),)),))
        assert check_executions(program, {}, faults=True) == []
        assert check_executions(program, {3: most}, faults=True) == []
        assert check_executions(program, {3: most + 1}, faults=True)
    endless = Program((Body(1, (task(2, 0, max_retries=-1),)),))
    assert check_executions(endless, {3: 100}, faults=True) == []
    nested = Program((Body(1, (task(2, 0, steps=(task(4, 0, max_retries=1),), max_retries=1),)),))
    assert check_executions(nested, {3: 3, 5: 9}, faults=True) == []
    assert check_executions(nested, {3: 3, 5: 10}, faults=True)


def test_a_task_that_is_run_again_always_does_not_fail_of_crashes() -> None:
    steps = task(2, 0, max_retries=-1), get(4, 1, 0), Drop(5, (0, 1))
    assert wrong(steps, (4, ["value", [5]]), faults=True) == []
    assert wrong(steps, (4, ["error", "asyncray.errors.OwnerDiedError", "", False]), faults=True) == []
    assert wrong(steps, (4, CRASHED), faults=True)
    needs = task(2, 0), task(4, 1, arguments=(Item(0),), max_retries=-1), get(6, 2, 1), Drop(7, (0, 1, 2))
    assert wrong(needs, (6, CRASHED), faults=True) == [], "its argument has failed so"


def test_what_may_be_cancelled_comes_or_does_not_and_so_does_what_depends_on_it() -> None:
    steps = (
        task(2, 0, cancelled=True),
        task(4, 1, arguments=(Item(0),), returns=(Item(0),)),
        Cancel(6, 0, "reference"),
        get(7, 2, 1),
        Drop(8, (0, 1, 2)),
    )
    for seen in (["value", [5]], WITHDRAWN, ["error", "asyncray.errors.TaskCancelledError", "", False]):
        assert wrong(steps, (7, seen)) == []
    assert wrong(steps, (7, ["value", [6]]))
    assert wrong(steps, (7, own_error(2)))
    assert check_executions(Program((Body(1, steps),)), {}) == []


def test_nothing_else_is_ever_cancelled() -> None:
    assert wrong((task(2, 0), get(4, 1, 0), Drop(5, (0, 1))), (4, WITHDRAWN), faults=True)


def test_only_what_has_a_timeout_times_out() -> None:
    late = ["error", "asyncray.errors.GetTimeoutError", "", False]
    assert wrong((task(2, 0), get(4, 1, 0, timeout=0.1), Drop(5, (0, 1))), (4, late)) == []
    assert wrong((task(2, 0), get(4, 1, 0), Drop(5, (0, 1))), (4, late), faults=True)


# ---- wait


def waiting(timeout: float | None) -> tuple[Step, ...]:
    return task(2, 0), task(4, 1), task(6, 2), Wait(8, (Item(0), Item(1), Item(2)), 2, timeout), Drop(9, (0, 1, 2))


def test_wait_gives_as_many_as_asked_for_in_order_and_the_others() -> None:
    for ready, rest in ([0, 1], [2]), ([1, 2], [0]), ([0, 2], [1]):
        assert wrong(waiting(None), (8, ["waited", ready, rest, 1])) == []
    for ready, rest in ([0], [1, 2]), ([0, 1, 2], []), ([1, 0], [2]), ([0, 1], []), ([0, 1], [1]), ([0, -1], [2]):
        assert wrong(waiting(None), (8, ["waited", ready, rest, 1]))
    assert wrong(waiting(None), (8, ["waited", [0, 1], [2], 0]))  # not done


def test_wait_with_a_timeout_may_give_fewer_but_not_more() -> None:
    assert wrong(waiting(0.1), (8, ["waited", [1], [0, 2], 1])) == []
    assert wrong(waiting(0.1), (8, ["waited", [0, 1, 2], [], 1]))


# ---- actors


def add(key: int, target: int, actor: int = 0) -> Call:
    return Call(key, (target,), Item(actor), "add", (Constant(key),))


def counts(key: int, source: int) -> Get:
    return get(key, 10 + source, source)


CREATE = Create(2, 0, "plain", Constant(1), Listed(()))
DROP = Drop(9, (0, 1, 2, 11, 12))
SEQUENTIAL = CREATE, add(3, 1), add(4, 2), counts(5, 1), counts(6, 2), DROP
CONCURRENT = CREATE, Concurrently(7, ((add(3, 1), counts(5, 1)), (add(4, 2), counts(6, 2)))), DROP


def numbers(first: int, second: int) -> tuple[Entry, Entry]:
    return (5, ["value", [[first, 3]]]), (6, ["value", [[second, 4]]])


def test_a_counter_with_one_caller_is_exact() -> None:
    assert wrong(SEQUENTIAL, *numbers(1, 2)) == []
    for pair in (2, 1), (1, 3), (0, 1), (1, 1), (2, 3):
        assert wrong(SEQUENTIAL, *numbers(*pair)), pair


def test_a_counter_with_two_callers_takes_either_order_but_gives_no_number_twice() -> None:
    assert wrong(CONCURRENT, *numbers(1, 2)) == []
    assert wrong(CONCURRENT, *numbers(2, 1)) == []
    for pair in (1, 1), (1, 3), (0, 1):
        assert wrong(CONCURRENT, *numbers(*pair)), pair


def test_calls_that_a_fault_has_swallowed_need_not_have_counted() -> None:
    second = (6, ["value", [[1, 4]]])
    assert wrong(SEQUENTIAL, (5, DIED), second, faults=True) == []
    assert wrong(SEQUENTIAL, *numbers(2, 1), faults=True)
    assert wrong(SEQUENTIAL, *numbers(2, 2), faults=True)


def test_the_echo_of_a_call_must_be_its_own() -> None:
    assert wrong(SEQUENTIAL, (5, ["value", [[1, 4]]]), (6, ["value", [[2, 4]]]))


def test_an_actor_gives_what_it_keeps_and_only_once_if_it_removes_it() -> None:
    steps = (
        CREATE,
        Call(3, (1,), Item(0), "keep", (Listed((Constant(4),)),), slot=3),
        Call(4, (2,), Item(0), "give", slot=3, remove=True),
        get(5, 3, 2),
        Drop(6, (0, 1, 2, 3)),
    )
    assert wrong(steps, (5, ["value", [[4]]])) == []
    assert wrong(steps, (5, ["value", ["missing"]]))


KILLED = (
    Create(2, 0, "plain", Constant(1), Listed(()), killed=True),
    add(3, 1),
    Kill(4, Item(0)),
    add(5, 2),
    get(6, 3, 1),
    get(7, 4, 2),
    Drop(8, (0, 1, 2, 3, 4)),
)


def test_calls_before_a_kill_may_fail_and_calls_after_it_must() -> None:
    for first in (["value", [[1, 3]]], DIED):
        assert wrong(KILLED, (6, first), (7, DIED)) == []
    assert wrong(KILLED, (6, DIED), (7, ["value", [[1, 5]]]))


def test_a_kill_that_may_not_have_arrived_leaves_what_the_living_actor_would_have_answered() -> None:
    assert not wrong(KILLED, (6, DIED), (7, DIED), faults=True)
    assert not wrong(KILLED, (6, ["value", [[1, 3]]]), (7, ["value", [[2, 5]]]), faults=True)
    assert wrong(KILLED, (6, DIED), (7, ["value", [[1, 3]]]), faults=True), "the echo of another call"
    assert wrong(KILLED, (6, ["value", [[2, 3]]]), (7, ["value", [[1, 5]]]), faults=True), "counted in another order"
    assert wrong(KILLED, (6, DIED), (7, own_error(5)), faults=True), "this call raises nothing"


def test_with_faults_only_what_can_have_failed_is_missing() -> None:
    held = (Put(2, 0, Constant(7)), get(3, 1, 0))
    assert not wrong(held, (3, CRASHED), (-1, "missing"), (-2, "missing"), faults=True)
    assert not wrong(held, (3, ["value", [7]]), (-1, ["reference", ["value", 7]]), (-2, 7), faults=True)
    inner = task(2, 0, steps=(Put(4, 0, Constant(7)),), returns=(Listed((Journal(), Item(0))),))
    steps = inner, get(5, 1, 0), Drop(6, (0, 1))
    assert not wrong(steps, (5, ["value", [[[], ["reference"]]]]), faults=True)
    assert wrong(steps, (5, ["value", [[[], "missing"]]]), faults=True), "a put that fails would have ended the task"


def test_calls_of_an_actor_that_nobody_kills_must_not_fail() -> None:
    assert wrong(SEQUENTIAL, (5, DIED), (6, DIED))


def test_every_call_fails_when_the_constructor_does() -> None:
    steps = Create(2, 0, "plain", Constant(1), Listed(()), fails=True), add(3, 1), get(4, 2, 1), Drop(5, (0, 1, 2))
    assert wrong(steps, (4, DIED)) == []
    assert wrong(steps, (4, ["value", [[1, 3]]]))
