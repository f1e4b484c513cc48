"""Who is granted the next lease."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from asyncray.node.lease_queue import Allocation, LeaseQueue, LeaseRequest, NodeResources
from asyncray.resources import to_units

JOB, OTHER_JOB = b"job1", b"job2"


class Queue:
    """A `LeaseQueue` whose requests have names: processes `a`, `b`, ... and numbers."""

    def __init__(self, **total: float) -> None:
        self.queue = LeaseQueue(NodeResources(to_units(total)))
        self.live: dict[str, tuple[LeaseRequest, Allocation]] = {}

    def ask(self, *names: str, job: bytes = JOB, **demand: float) -> None:
        for name in names:
            key = (name[0].encode(), int(name[1:]))
            self.queue.add(LeaseRequest(key, to_units(demand or {"CPU": 1}), job, arrived=0.0))

    def granted(self) -> list[str]:
        names = []
        for request, allocation in self.queue.grants():
            name = f"{request.key[0].decode()}{request.key[1]}"
            self.live[name] = (request, allocation)
            names.append(name)
        return names

    def end(self, name: str) -> None:
        self.queue.ended(*self.live.pop(name), None)

    def block(self, worker: str, lease: str) -> None:
        request, allocation = self.live[lease]
        self.queue.block(worker.encode(), allocation, request)

    def unblock(self, worker: str, lease: str) -> None:
        request, allocation = self.live[lease]
        self.queue.unblock(worker.encode(), allocation, request)


def test_one_process_is_served_first_come_first_served() -> None:
    queue = Queue(CPU=2)
    queue.ask("a1", "a2", "a3")
    assert queue.granted() == ["a1", "a2"]
    queue.end("a1")
    assert queue.granted() == ["a3"]


def test_a_request_that_does_not_fit_holds_up_no_other_shape() -> None:
    queue = Queue(CPU=2)
    queue.ask("a1", CPU=4)
    queue.ask("b1", CPU=2)
    queue.ask("c1", CPU=1)
    assert queue.granted() == ["b1"]
    assert len(queue.queue) == 2


def test_of_shapes_that_fit_the_older_request_is_served_first() -> None:
    queue = Queue(CPU=1)
    queue.ask("a1", CPU=1)
    queue.ask("b1", CPU=0.5)
    assert queue.granted() == ["a1"]


def test_gpus_that_are_in_use_do_not_hold_up_tasks_without() -> None:
    queue = Queue(CPU=4, GPU=1)
    queue.ask("a1", "a2", CPU=1, GPU=1)
    queue.ask("a3", CPU=1)
    assert queue.granted() == ["a1", "a3"]


def test_processes_of_a_job_share_evenly() -> None:
    queue = Queue(CPU=4)
    queue.ask("a1", "a2", "a3", "a4")
    queue.ask("b1", "b2", "b3", "b4")
    assert queue.granted() == ["a1", "b1", "a2", "b2"]


def test_a_job_with_fewer_leases_comes_first() -> None:
    queue = Queue(CPU=2)
    queue.ask("a1", "a2", "a3", "a4")
    queue.granted()
    queue.ask("b1", job=OTHER_JOB)
    queue.end("a1")
    assert queue.granted() == ["b1"]


def test_jobs_take_turns_when_there_is_too_little_for_all() -> None:
    queue = Queue(CPU=1)
    queue.ask(*(f"a{number}" for number in range(9)))
    queue.ask(*(f"b{number}" for number in range(9)), job=OTHER_JOB)
    order = ""
    for _ in range(6):
        (name,) = queue.granted()
        order += name[0]
        queue.end(name)
    assert order == "ababab"


def test_processes_of_a_job_take_turns_too() -> None:
    queue = Queue(CPU=1)
    for process in "abc":
        queue.ask(*(f"{process}{number}" for number in range(3)))
    order = ""
    for _ in range(6):
        (name,) = queue.granted()
        order += name[0]
        queue.end(name)
    assert order == "abcabc"


def test_leases_whose_workers_are_blocked_do_not_count_against_their_job() -> None:
    queue = Queue(CPU=2)
    queue.ask("a1", "a2")
    queue.granted()
    queue.block("w", "a1")
    queue.block("x", "a2")
    queue.ask("b1", "b2", "b3", job=OTHER_JOB)
    queue.ask("w1")
    assert sorted(queue.granted()) == ["b1", "w1"]


def test_what_a_blocked_task_asks_for_comes_before_older_requests_of_its_job() -> None:
    queue = Queue(CPU=1)
    queue.ask("a1", "a2")
    assert queue.granted() == ["a1"]
    queue.block("w", "a1")
    queue.ask("w1")
    assert queue.granted() == ["w1"]


def test_the_task_that_blocked_last_comes_first() -> None:
    queue = Queue(CPU=1)
    queue.ask("a1")
    queue.granted()
    queue.block("w", "a1")
    queue.ask("w1", "w2")
    assert queue.granted() == ["w1"]
    queue.block("x", "w1")
    queue.ask("x1")
    assert queue.granted() == ["x1"]
    queue.end("x1")
    assert queue.granted() == ["w2"]


def test_a_task_that_goes_on_loses_its_precedence() -> None:
    queue = Queue(CPU=1)
    queue.ask("a1")
    queue.granted()
    queue.ask("b1")
    queue.block("w", "a1")
    queue.ask("w1")
    queue.unblock("w", "a1")
    queue.end("a1")
    assert queue.granted() == ["b1"]


def test_an_overcommitted_cpu_is_granted_to_nobody() -> None:
    queue = Queue(CPU=1)
    queue.ask("a1")
    queue.granted()
    queue.block("w", "a1")
    queue.ask("w1", "w2")
    queue.granted()
    queue.unblock("w", "a1")
    queue.end("w1")
    assert queue.granted() == []
    queue.end("a1")
    assert queue.granted() == ["w2"]


def test_a_cancelled_request_is_never_granted() -> None:
    queue = Queue(CPU=1)
    queue.ask("a1", "a2")
    assert queue.queue.cancel((b"a", 1))
    assert not queue.queue.cancel((b"a", 1))
    assert queue.granted() == ["a2"]
    assert not queue.queue.cancel((b"a", 2))


def test_the_requests_of_a_process_that_is_gone_are_forgotten() -> None:
    queue = Queue(CPU=2)
    queue.ask("a1", "a2")
    queue.ask("a3", CPU=2)
    queue.ask("b1")
    queue.queue.process_lost(b"a")
    assert queue.granted() == ["b1"]
    assert len(queue.queue) == 0
    assert queue.queue.shapes() == []


def test_tasks_that_take_nothing_are_all_granted() -> None:
    queue = Queue(CPU=1)
    queue.ask("a1", "a2", "a3", CPU=0)
    assert queue.granted() == ["a1", "a2", "a3"]


def test_it_is_iterated_in_the_order_of_arrival() -> None:
    queue = Queue(CPU=1)
    queue.ask("b1", CPU=2)
    queue.ask("a1", CPU=3)
    queue.ask("b2", CPU=2)
    assert [request.key for request in queue.queue] == [(b"b", 1), (b"a", 1), (b"b", 2)]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["ask", "end", "cancel", "block", "unblock", "lose"]),
            st.integers(0, 5),
            st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0]),
        ),
        max_size=60,
    )
)
def test_whatever_happens_nothing_that_fits_waits_and_all_comes_back(steps: list[tuple[str, int, float]]) -> None:
    queue = Queue(CPU=3)
    names = 0
    workers: dict[str, str] = {}
    for action, which, cpus in steps:
        live = sorted(queue.live)
        chosen = live[which % len(live)] if live else None
        if action == "ask":
            names += 1
            queue.ask(f"{'abcdef'[which]}{names}", job=[JOB, OTHER_JOB][which % 2], CPU=cpus)
        elif action == "cancel" and len(queue.queue):
            queue.queue.cancel(next(iter(queue.queue)).key)
        elif action == "lose":
            queue.queue.process_lost(b"abcdef"[which : which + 1])
        elif chosen is not None and action == "end":
            queue.end(chosen)
            workers.pop(chosen, None)
        elif chosen is not None and action == "block":
            workers[chosen] = "abcdef"[which]
            queue.block(workers[chosen], chosen)
        elif action == "unblock" and workers:
            lease, worker = workers.popitem()
            queue.unblock(worker, lease)
        queue.granted()
        assert all(queue.queue.resources.allocate(request.demand) is None for request in queue.queue)
    for name in list(queue.live):
        queue.end(name)
    for request in queue.queue:
        queue.queue.cancel(request.key)
    assert queue.queue.resources.available == queue.queue.resources.total
    assert not queue.queue.held and not queue.queue.active and not queue.queue.shapes()
