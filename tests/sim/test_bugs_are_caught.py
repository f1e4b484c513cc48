"""Some more bugs as in `tests/planted`, which the first seed finds, each in another way: the simulator can see."""

from __future__ import annotations

from asyncray.node.local_scheduler import LocalScheduler
from asyncray.worker.execution import Executor
from asyncray.worker.objects import Objects
from asyncray.worker.ownership import Ownership

from ..planted.planting import assert_caught


def test_a_borrow_that_is_acknowledged_before_the_owner_knows_the_borrower() -> None:
    """The invariants: what is tied to the borrower is not lent to it."""
    assert_caught(Ownership.on_borrow, "reference.borrowers.add(process_id)", "pass")


def test_a_lease_that_is_given_back_twice() -> None:
    """The invariants: more is free than the node has."""
    assert_caught(
        LocalScheduler.give_back, "self._end(lease)", "self._end(lease); self.resources.release(lease.allocation)"
    )


def test_a_task_that_is_handed_back_while_it_runs() -> None:
    """A task has run twice."""
    right = "for link, task_ids in returned.items():"
    running = "returned.setdefault(self._running.link, []).append(self._running.task_id)"
    assert_caught(Executor._hand_back, right, f"self._running and {running}\n    {right}")


def test_references_inside_a_result_that_are_not_kept_until_it_is_confirmed() -> None:
    """The program: ObjectFreedError."""
    assert_caught(Ownership.hold_result, "inner.local += 1", "pass")


def test_resources_of_an_actor_that_are_not_given_back() -> None:
    """The invariants: more is free than was taken."""
    assert_caught(LocalScheduler.worker_lost, "self.resources.release(allocation)", "pass")


def test_a_stored_value_that_is_never_freed() -> None:
    """At rest: an object is in the store."""
    assert_caught(Objects._let_go, "self._runtime.whereabouts.free(reference, location)", "pass", nodes=1)
