"""Which leases are asked back when others wait."""

from __future__ import annotations

from itertools import count

from asyncray.node.lease_queue import LeaseRequest, NodeResources
from asyncray.node.local_scheduler import Lease, LocalScheduler
from asyncray.node.reclaim import TURN, now_draining, now_wanted
from asyncray.resources import to_units

JOB, OTHER_JOB, THIRD_JOB = b"job1", b"job2", b"job3"


class Node:
    """Leases are called by who holds them and which number the request had, as in `a1`."""

    def __init__(self, **total: float) -> None:
        ids = count()
        self.scheduler = LocalScheduler(NodeResources(to_units(total)), lambda: b"lease%d" % next(ids))
        self.leases: dict[str, Lease] = {}
        self.now = 100.0

    def ask(self, *names: str, job: bytes = JOB, **demand: float) -> None:
        for name in names:
            key = (name[:1].encode(), int(name[1:]))
            self.scheduler.queue.add(LeaseRequest(key, to_units(demand or {"CPU": 1}), job, self.now))
        self.grant()

    def grant(self) -> None:
        for lease in self.scheduler.grants():
            name = f"{lease.holder.decode()}{lease.request.key[1]}"
            self.leases[name] = lease
            self.scheduler.assigned(lease, f"worker of {name}".encode(), self.now)

    def give_back(self, name: str) -> None:
        lease = self.leases.pop(name)
        assert self.scheduler.give_back(lease.holder, lease.lease_id) is lease
        self.grant()

    def wanted(self) -> list[str]:
        return self._names(now_wanted(self.scheduler.queue, self.scheduler.leases.values()))

    def draining(self) -> list[str]:
        found, self.again_at = now_draining(self.scheduler.queue, self.scheduler.leases.values(), self.now)
        return self._names(found)

    def block(self, name: str) -> None:
        self.scheduler.block(f"worker of {name}".encode())

    def unblock(self, name: str) -> None:
        self.scheduler.unblock(f"worker of {name}".encode())

    def _names(self, leases: list[Lease]) -> list[str]:
        return [name for name, lease in self.leases.items() if lease in leases]


# ---- wanted


def test_nothing_is_wanted_while_nobody_waits() -> None:
    node = Node(CPU=2)
    node.ask("a1")
    assert node.wanted() == []


def test_every_lease_that_holds_what_others_wait_for_is_wanted() -> None:
    node = Node(CPU=3)
    node.ask("a1", "a2", "c1")
    node.ask("b1")
    assert sorted(node.wanted()) == ["a1", "a2", "c1"]


def test_a_lease_is_asked_for_once() -> None:
    node = Node(CPU=1)
    node.ask("a1")
    node.ask("b1")
    assert node.wanted() == ["a1"]
    assert node.wanted() == []


def test_a_lease_that_is_granted_while_others_wait_is_wanted_from_the_start() -> None:
    node = Node(CPU=1)
    node.ask("a1")
    node.ask("b1", "c1")
    node.wanted()
    node.give_back("a1")
    assert node.wanted() == ["b1"]


def test_nobody_is_asked_for_the_leases_that_he_waits_for_himself() -> None:
    node = Node(CPU=2)
    node.ask("a1", "a2", "a3", "a4")
    assert node.wanted() == []


def test_a_process_is_asked_for_a_lease_of_another_shape() -> None:
    node = Node(CPU=1)
    node.ask("a1", CPU=0.5)
    node.ask("a2", CPU=1)
    assert node.wanted() == ["a1"]


def test_leases_without_what_is_waited_for_are_left_alone() -> None:
    node = Node(CPU=4, GPU=1)
    node.ask("a1", CPU=1)
    node.ask("a2", CPU=1, GPU=1)
    node.ask("b1", CPU=1, GPU=1)
    assert node.wanted() == ["a2"]


def test_shares_of_gpus_are_asked_back_when_together_they_would_do() -> None:
    node = Node(GPU=2)
    node.ask("a1", "a2", GPU=0.6)
    node.ask("b1", GPU=0.5)
    assert node.wanted() == ["a1", "a2"]


def test_what_can_never_be_granted_here_takes_nothing_from_others() -> None:
    node = Node(CPU=1)
    node.ask("a1")
    node.ask("b1", CPU=2)
    assert node.wanted() == []
    node.now += TURN
    assert node.draining() == []


def test_a_blocked_worker_holds_no_cpu_until_it_resumes() -> None:
    node = Node(CPU=1)
    node.ask("a1")
    node.block("a1")
    node.ask("b1", "c1")
    assert node.wanted() == ["b1"]
    node.unblock("a1")
    assert node.wanted() == ["a1"]


def test_a_lease_that_waits_for_its_worker_is_not_asked_back() -> None:
    node = Node(CPU=1)
    node.scheduler.queue.add(LeaseRequest((b"a", 1), to_units({"CPU": 1}), JOB, node.now))
    node.scheduler.grants()
    node.ask("b1")
    assert node.wanted() == []
    node.now += TURN
    assert node.draining() == []


# ---- draining


def test_a_job_that_has_nothing_gets_a_lease_when_its_turn_comes() -> None:
    node = Node(CPU=2)
    node.ask("a1", "a2", "a3")
    node.ask("b1", job=OTHER_JOB)
    assert node.draining() == []
    assert node.again_at == node.now + TURN
    node.now += TURN
    assert node.draining() == ["a1"]


def test_one_lease_is_drained_for_one_who_waits() -> None:
    node = Node(CPU=4)
    node.ask(*(f"a{number}" for number in range(8)))
    node.ask("b1", "b2", "b3", job=OTHER_JOB)
    node.now += TURN
    assert node.draining() == ["a0"]
    assert node.draining() == []
    node.give_back("a0")
    assert "b1" in node.leases
    assert node.draining() == ["a1"]


def test_jobs_that_have_equal_shares_leave_each_other_alone() -> None:
    node = Node(CPU=2)
    node.ask("a1")
    node.ask("b1", job=OTHER_JOB)
    node.ask("a2", "a3")
    node.ask("b2", "b3", job=OTHER_JOB)
    node.now += 10
    assert node.draining() == []
    assert node.again_at is None


def test_an_odd_lease_is_not_passed_to_and_fro() -> None:
    node = Node(CPU=3)
    node.ask("a1", "a2")
    node.ask("b1", job=OTHER_JOB)
    node.ask("a3")
    node.ask("b2", job=OTHER_JOB)
    node.now += 10
    assert node.draining() == []


def test_more_jobs_than_cpus_take_turns() -> None:
    node = Node(CPU=2)
    node.ask(*(f"a{number}" for number in range(30)))
    node.ask(*(f"b{number}" for number in range(30)), job=OTHER_JOB)
    node.ask(*(f"c{number}" for number in range(30)), job=THIRD_JOB)
    turns: dict[str, int] = {"a": 0, "b": 0, "c": 0}
    for _ in range(40):
        node.now += TURN / 2
        for name in node.draining():
            node.give_back(name)
        for name in node.leases:
            turns[name[0]] += 1
    assert max(turns.values()) <= 1.5 * min(turns.values()), turns


def test_who_holds_the_most_loses_first_and_the_oldest_lease() -> None:
    node = Node(CPU=3)
    node.ask("a1")
    node.ask("b1", job=OTHER_JOB)
    node.now += 0.01
    node.ask("a2")
    node.ask("c1", job=THIRD_JOB)
    node.now += 2 * TURN
    assert node.draining() == ["a1"]


def test_a_drained_lease_that_does_not_come_back_is_not_waited_for_forever() -> None:
    node = Node(CPU=2)
    node.ask("a1", "a2", "a3")
    node.ask("b1", job=OTHER_JOB)
    node.now += TURN
    assert node.draining() == ["a1"]
    assert node.again_at == node.now + TURN
    node.now += TURN
    assert node.draining() == ["a2"]


def test_nested_tasks_with_nothing_take_turns_with_their_siblings() -> None:
    node = Node(CPU=2)
    node.ask("d1", "d2")
    node.block("d1")
    node.block("d2")
    node.ask("v1", "v2", "v3")
    node.ask("w1")
    node.now += TURN
    assert node.draining() == ["v1"]


def test_draining_a_blocked_worker_would_help_nobody() -> None:
    node = Node(CPU=1)
    node.ask("a1")
    node.block("a1")
    node.ask("b1", job=OTHER_JOB)
    node.ask("c1", job=THIRD_JOB)
    node.now += TURN
    assert node.draining() == ["b1"]


def test_nothing_is_drained_for_one_whom_a_single_lease_would_not_help() -> None:
    node = Node(CPU=2)
    node.ask("a1", "a2", CPU=1)
    node.ask("b1", job=OTHER_JOB, CPU=2)
    node.now += TURN
    assert node.draining() == []


def test_nothing_is_drained_that_somebody_else_would_be_granted() -> None:
    node = Node(CPU=1)
    node.ask("a1")
    node.now += 0.01
    node.ask("b1", job=OTHER_JOB)
    node.ask("c1", job=THIRD_JOB)
    node.now += TURN
    assert node.draining() == ["a1"]
    assert node.draining() == []


def test_an_overcommitted_node_recovers_by_draining() -> None:
    node = Node(CPU=1)
    node.ask("a1", "a2")
    node.block("a1")
    node.grant()
    node.unblock("a1")
    node.ask("b1", job=OTHER_JOB)
    node.now += TURN
    assert node.draining() == ["a1"]
