"""A lease from its request to its return."""

from __future__ import annotations

from itertools import count

from asyncray.node.lease_queue import LeaseRequest, NodeResources
from asyncray.node.local_scheduler import Lease, LocalScheduler
from asyncray.resources import UNITS, to_units

JOB = b"job1"


class Node:
    """A `LocalScheduler` with two CPUs. Holders and workers are known by one letter."""

    def __init__(self) -> None:
        ids = count()
        self.scheduler = LocalScheduler(NodeResources(to_units({"CPU": 2})), lambda: b"lease%d" % next(ids))

    def ask(self, holder: bytes, number: int = 1, cpus: float = 1, job: bytes = JOB) -> None:
        self.scheduler.queue.add(LeaseRequest((holder, number), to_units({"CPU": cpus}), job, 0.0))

    def lease(self, holder: bytes, worker: bytes | None = None, number: int = 1, job: bytes = JOB) -> Lease:
        self.ask(holder, number, job=job)
        (lease,) = self.scheduler.grants()
        if worker is not None:
            self.scheduler.assigned(lease, worker, 0.0)
        return lease

    @property
    def free(self) -> float:
        return self.scheduler.resources.available["CPU"] / UNITS


def test_a_returned_lease_frees_its_resources_once() -> None:
    node = Node()
    lease = node.lease(b"a", b"w")
    assert node.scheduler.give_back(b"a", lease.lease_id) is lease
    assert node.scheduler.give_back(b"a", lease.lease_id) is None
    assert node.free == 2


def test_only_its_holder_returns_a_lease() -> None:
    node = Node()
    lease = node.lease(b"a", b"w")
    assert node.scheduler.give_back(b"b", lease.lease_id) is None
    assert node.free == 1


def test_a_cancelled_request_leaves_the_queue() -> None:
    node = Node()
    node.ask(b"a", cpus=3)
    assert node.scheduler.cancel((b"a", 1)) is None
    assert len(node.scheduler.queue) == 0


def test_a_request_that_is_cancelled_while_its_worker_starts_frees_its_resources() -> None:
    node = Node()
    lease = node.lease(b"a")
    assert node.scheduler.cancel((b"a", 1)) is lease
    assert node.free == 2
    assert not node.scheduler.leases


def test_a_cancellation_that_crosses_the_grant_does_nothing_for_the_holder_returns_it() -> None:
    node = Node()
    lease = node.lease(b"a", b"w")
    assert node.scheduler.cancel((b"a", 1)) is None
    assert node.free == 1
    assert node.scheduler.give_back(b"a", lease.lease_id) is lease


def test_a_lease_ends_with_its_worker() -> None:
    node = Node()
    lease = node.lease(b"a", b"w")
    assert node.scheduler.worker_lost(b"w") is lease
    assert node.scheduler.worker_lost(b"w") is None
    assert node.scheduler.give_back(b"a", lease.lease_id) is None
    assert node.free == 2


def test_leases_and_requests_end_with_their_holder() -> None:
    node = Node()
    leases = [node.lease(b"a", b"w"), node.lease(b"a", None, 2)]
    node.ask(b"a", 3)
    assert node.scheduler.process_lost(b"a") == leases
    assert node.free == 2
    assert len(node.scheduler.queue) == 0


def test_leases_and_requests_end_with_their_job() -> None:
    node = Node()
    lease = node.lease(b"a", b"w")
    other = node.lease(b"b", b"x", job=b"job2")
    node.ask(b"a", 2)
    assert node.scheduler.end_job(JOB) == [lease]
    assert list(node.scheduler.leases.values()) == [other]
    assert len(node.scheduler.queue) == 0


def test_what_an_actor_holds_or_waits_for_outlives_the_job() -> None:
    node = Node()
    allocation = node.scheduler.resources.allocate({})
    assert allocation is not None
    node.scheduler.actors[b"actor"] = allocation
    lease = node.lease(b"actor", b"w")
    node.ask(b"actor", 2, cpus=2)
    assert node.scheduler.end_job(JOB) == []
    assert list(node.scheduler.leases.values()) == [lease]
    assert len(node.scheduler.queue) == 1


def test_nested_tasks_get_the_cpus_of_those_that_wait_for_them_at_any_depth() -> None:
    node = Node()
    node.lease(b"d", b"0", 1)
    node.lease(b"d", b"x", 2)
    for depth in range(20):
        worker, child = b"%d" % depth, b"%d" % (depth + 1)
        node.ask(b"d", depth + 10)
        node.scheduler.block(worker)
        node.ask(worker)
        (lease,) = node.scheduler.grants()
        assert lease.holder == worker
        node.scheduler.assigned(lease, child, 0.0)
    assert node.free == 0


def test_an_actor_that_waits_gives_its_cpu_away_and_takes_it_back() -> None:
    node = Node()
    allocation = node.scheduler.resources.allocate(to_units({"CPU": 2}))
    assert allocation is not None
    node.scheduler.actors[b"actor"] = allocation
    node.scheduler.block(b"actor")
    assert node.free == 2
    node.scheduler.unblock(b"actor")
    assert node.free == 0
    node.scheduler.worker_lost(b"actor")
    assert node.free == 2


def test_who_holds_nothing_here_may_block_and_resume() -> None:
    node = Node()
    node.scheduler.block(b"?")
    node.scheduler.unblock(b"?")
    assert node.free == 2


def test_a_worker_that_resumes_after_its_lease_has_ended_changes_nothing() -> None:
    node = Node()
    lease = node.lease(b"a", b"w")
    node.scheduler.block(b"w")
    node.scheduler.give_back(b"a", lease.lease_id)
    node.scheduler.unblock(b"w")
    assert node.free == 2
    assert not node.scheduler.queue.active
