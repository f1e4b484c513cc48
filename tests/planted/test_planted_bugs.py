"""Bugs planted in the real code, one wrong line at a time: random programs find each, and pass without it.

They measure the simulator. A test that fails here says that a change of the workload, of the invariants or of the
profiles has made it blind to a class of mistakes; or that the right line is not there any more, and the mistake has
to be made anew. Each docstring says what finds the bug; with -s, each test tells the seed that did.
"""

from __future__ import annotations

import pytest

from asyncray.control.actor_subscriptions import ActorSubscriptions
from asyncray.control.actors import Actors
from asyncray.node.lease_queue import Allocation, LeaseQueue
from asyncray.node.local_scheduler import LocalScheduler
from asyncray.node.sessions import Sessions
from asyncray.store.table import ObjectTable
from asyncray.worker.actor_client import ActorClient
from asyncray.worker.arrivals import Arrivals
from asyncray.worker.blocking import Blocking
from asyncray.worker.execution import Executor
from asyncray.worker.leases import Leases
from asyncray.worker.objects import Objects
from asyncray.worker.ownership import Ownership
from asyncray.worker.pipeline import Pipeline
from asyncray.worker.submission import Submitter
from asyncray.worker.task import PendingTask
from asyncray.worker.waiting import Countdown

from .planting import PATIENT, assert_caught

pytestmark = pytest.mark.timeout(PATIENT)


# ---- references


def test_a_release_that_is_lost_while_its_borrow_is_not_acknowledged() -> None:
    """The invariants: the borrower has ties for an object that it does not know any more."""
    assert_caught(Ownership._discard, "if reference.sequence:", "if reference.sequence and reference.sources is None:")


def test_a_result_that_is_sent_before_borrows_of_its_arguments_are_acknowledged() -> None:
    """The program: ObjectFreedError."""
    assert_caught(Ownership.reply_ready, "if execution.pending:", "if False:", operations=200)


def test_a_result_that_overtakes_borrows_of_its_arguments() -> None:
    """The program: ObjectFreedError."""
    assert_caught(Ownership.reply_ready, "if execution.pending:", "if False:", profile="late packets", operations=200)


def test_a_result_that_is_confirmed_before_the_references_inside_are_borrowed() -> None:
    """The program: ObjectFreedError."""
    assert_caught(Ownership.result_contains, "if owed and not confirmation.pending:", "if owed:")


def test_a_borrower_that_stays_one_after_its_death() -> None:
    """The invariants: a borrower without ties."""
    assert_caught(Ownership.process_lost, "reference.borrowers.discard(process_id)", "pass", profile="dying workers")


# ---- leases and resources


def test_the_cpu_of_a_blocked_worker_that_comes_back_a_second_time() -> None:
    """The invariants: the node's account of its CPUs is wrong."""
    assert_caught(Allocation.holds, '0 if self.blocked and name == "CPU" else ', "")


def test_a_dead_worker_whose_lease_keeps_its_resources() -> None:
    """The invariants: a lease is for a worker that does not exist."""
    assert_caught(
        LocalScheduler.worker_lost,
        "if lease is not None:",
        "if lease is not None and not lease.allocation.blocked:",
        profile="dying workers",
    )


def test_a_blocked_lease_that_ends_and_counts_as_one_less_at_work() -> None:
    """The invariants: the job has other leases at work than are counted."""
    assert_caught(LeaseQueue.ended, "0 if allocation.blocked else -1", "-1", profile="dying workers")


def test_leases_of_a_lost_node_that_stay_with_their_pipelines() -> None:
    """The invariants: a lease is over, and listed."""
    assert_caught(Leases._node_lost, "self._lose(lease, str(cause))", "self._forget(lease)", profile="dying nodes")


def test_leases_of_a_dead_driver_that_stay() -> None:
    """The invariants: a lease is held by a process without a session."""
    right = "return self._end_all(lambda request: request.key[0] == process_id)"
    assert_caught(LocalScheduler.process_lost, right, "return []", profile="dying drivers")


def test_word_of_a_job_that_never_began_that_is_kept() -> None:
    """At rest: a node knows of a job that is over."""
    assert_caught(Sessions.closed, "self.jobs.pop(session.job_id, None)", "pass", profile="dying drivers")


def test_actors_of_a_dead_driver_that_live_on() -> None:
    """The invariants: an actor is alive, and its job does not run."""
    assert_caught(Actors.job_ended, "not record.outlives_job", "False", profile="dying drivers")


# ---- tasks


def test_a_retry_too_many() -> None:
    """A task without retries has run twice."""
    right = "task.retries == 0"
    assert_caught(Submitter.lost, right, f"{right} and task.template.max_retries", profile="dying workers")


def test_a_retry_that_is_refused_to_a_task_that_has_as_many_as_it_needs() -> None:
    """The program: WorkerCrashedError of a task that runs again always."""
    assert_caught(Submitter.lost, "task.retries == 0", "task.retries <= 0", profile="dying workers")


def test_a_task_without_retries_that_is_sent_with_others() -> None:
    """A task without retries has run twice."""
    assert_caught(PendingTask.__init__, "self.retries == 0", "False", profile="dying workers", nodes=1, pause=0.002)


def test_a_task_that_may_run_again_though_its_result_has_come() -> None:
    """The invariants: a task is with a worker, and was not sent."""
    assert_caught(
        Pipeline.completed,
        "lease.in_flight.pop(task.id, None)",
        "lease.in_flight.get(task.id)",
        profile="dying workers",
    )


def test_a_task_of_a_lost_worker_that_stays_in_flight_and_is_queued_again() -> None:
    """The invariants: the task is in two places."""
    assert_caught(Submitter.lost, "self.in_flight.pop(task.id, None)", "pass", profile="dying workers")


def test_a_list_of_tasks_handed_back_that_is_dropped_by_who_gets_it() -> None:
    """The driver does not finish."""
    assert_caught(Pipeline.handed_back, "self.queue.extendleft(reversed(returned))", "pass")


def test_a_list_of_tasks_handed_back_of_which_only_the_first_is_heeded() -> None:
    """The invariants: a task is with a worker, and was not sent."""
    assert_caught(
        Submitter._on_handback,
        "lease.pipeline.handed_back(lease, task_ids)",
        "lease.pipeline.handed_back(lease, task_ids[:1])",
        operations=200,
    )


def test_a_list_of_tasks_handed_back_that_is_never_sent() -> None:
    """The driver does not finish."""
    assert_caught(Executor._hand_back, "link.send((messages.HANDBACK, task_ids))", "pass")


def test_a_task_that_goes_on_and_does_not_say_so() -> None:
    """The invariants: a wait is counted, and nothing runs."""
    assert_caught(Blocking._resume, "self._end()", "pass")


# ---- actors


def test_calls_of_an_actor_that_overtake_each_other() -> None:
    """The program: the numbers of a counter are not in the order of the calls."""
    assert_caught(ActorClient._pump, "queue.popleft()", "queue.pop()")


def test_calls_of_an_actor_that_are_sent_before_their_arguments_exist() -> None:
    """The program: calls fail, and the actor is out of reach."""
    assert_caught(ActorClient._pump, " and queue[0] not in lane.unresolved", "")


def test_a_call_of_an_actor_that_overtakes_those_that_wait_for_it_to_start_or_for_arguments() -> None:
    """The program: fewer calls than expected were counted before one."""
    assert_caught(
        ActorClient.submit, "lane.link is not None and queue is None:", "lane.link is not None:", operations=200
    )


def test_the_death_of_an_actor_that_only_its_first_subscriber_is_told() -> None:
    """The driver waits for ever."""
    subscribers = "self._by_actor.get(actor_id, ())"
    first_of_death = f'list({subscribers})[: 1 if message[2] == "DEAD" else None]'
    assert_caught(ActorSubscriptions.publish, subscribers, first_of_death, operations=200)


def test_the_death_of_an_actor_that_its_subscribers_are_not_told() -> None:
    """The driver waits for ever."""
    assert_caught(
        Actors._announce,
        "if record.actor_id in self._subscriptions:",
        "if state != DEAD and record.actor_id in self._subscriptions:",
    )


# ---- values


def test_a_waiter_that_is_kept_after_it_was_woken() -> None:
    """The invariants: an object has its outcome, and somebody waits for it."""
    assert_caught(Objects.resolve, "reference.waiters = None", "pass")


def test_a_wait_for_several_values_that_ends_one_too_early() -> None:
    """The program: a value does not exist yet."""
    assert_caught(Countdown._one, "if not self._remaining:", "if self._remaining <= 1:")


def test_values_of_a_dead_owner_that_are_waited_for_in_vain() -> None:
    """The driver does not finish."""
    assert_caught(Objects.owner_died, "if reference.state == PENDING or (", "if (", profile="dying workers")


# ---- stored values: on a single node, where all who read them are


def test_the_pins_of_a_call_that_are_never_given_back() -> None:
    """At rest: an object is pinned by a worker."""
    assert_caught(Arrivals.unpin, "self._unpin(call.pins)", "pass", nodes=1)


def test_a_pin_that_outlives_the_last_reference() -> None:
    """At rest: an object is pinned by a worker."""
    assert_caught(Objects._drop_pin, "self._runtime.store.unhold(pin)", "pass", nodes=1)


def test_the_pins_of_a_dead_process_that_stay() -> None:
    """The invariants: a block is pinned for a client that has no pins."""
    assert_caught(ObjectTable.client_lost, "self._release(client, key)", "pass", profile="dying workers", nodes=1)


def test_a_stored_value_that_is_freed_while_it_is_read() -> None:
    """The invariants: a block is pinned, and free."""
    assert_caught(
        ObjectTable._unlist, "if block.pinned_by:", "if block.pinned_by and not self._free_block(block):", nodes=1
    )


def test_stored_values_of_a_dead_owner_that_stay() -> None:
    """At rest: an object is in the store."""
    assert_caught(ObjectTable.owner_lost, "self._unlist(key)", "pass", profile="dying workers", nodes=1)
