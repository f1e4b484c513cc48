"""How tasks of one shape reach leased workers."""

from __future__ import annotations

from itertools import count

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from asyncray.config import Config
from asyncray.resources import to_units
from asyncray.worker.pipeline import Lease, Pipeline
from asyncray.worker.task import PendingTask, Template

CONFIG = Config(lease_idle_timeout=0.2, lease_requests_in_flight=4, pipeline_time=0.005, pipeline_limit=50)
DEMAND = to_units({"CPU": 1})


class Bench:
    """A pipeline, and a record of what it asks for. Tasks are called by numbers, leases by letters."""

    def __init__(self, config: Config = CONFIG) -> None:
        self.pipeline = Pipeline(DEMAND, self.send_tasks, self, config)
        self.now = 0.0
        self.sent: list[tuple[str, list[int]]] = []
        self.returned: list[str] = []
        self.cancelled = 0
        self.leases: dict[str, Lease] = {}
        self.tasks: dict[int, PendingTask] = {}
        self._numbers = count(1)

    # ---- what the pipeline asks for

    def send_tasks(self, lease: Lease, tasks: list[PendingTask]) -> None:
        assert tasks and not lease.lost and lease.lease_id in self.pipeline.leases
        self.sent.append((lease.lease_id.decode(), [self._number(task) for task in tasks]))

    def request_leases(self, pipeline: Pipeline, count: int) -> None:
        assert pipeline is self.pipeline and count > 0

    def cancel_requests(self, pipeline: Pipeline) -> None:
        self.cancelled += pipeline.requested
        for _ in range(pipeline.requested):
            pipeline.refused()

    def return_lease(self, lease: Lease) -> None:
        assert not lease.in_flight and not lease.lost
        self.returned.append(lease.lease_id.decode())

    # ---- what a test does

    def submit(self, template: Template, count: int = 1) -> None:
        for _ in range(count):
            number = next(self._numbers)
            task = self.tasks[number] = PendingTask(b"%d" % number, template, b"", [])
            self.pipeline.add(task)
        self.assign()

    def grant(self, names: str) -> None:
        """Also without a request that waits: then the tasks that it was for have gone elsewhere."""
        for name in names:
            self.pipeline.requested = max(1, self.pipeline.requested)
            lease = Lease(name.encode(), [b"worker " + name.encode()], {}, "node", self.pipeline, self.now)
            self.leases[name] = lease
            self.pipeline.granted(lease, self.now)

    def finish(self, name: str, *numbers: int, seconds: float = 1e-4) -> None:
        for number in numbers:
            self.leases[name].completed(self.tasks[number], int(seconds * 1e6))
        self.assign()

    def hand_back(self, name: str, *numbers: int) -> None:
        self.pipeline.handed_back(self.leases[name], [b"%d" % number for number in numbers])
        self.assign()

    def lose(self, name: str) -> list[int]:
        self.leases[name].lost = True
        return [self._number(task) for task in self.pipeline.lost(self.leases[name])]

    def reclaim(self, name: str, *, drain: bool = False) -> None:
        self.pipeline.reclaim(self.leases[name], drain)

    def assign(self) -> None:
        self.pipeline.assign(self.now)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.pipeline.expire(self.now)

    def news(self) -> list[tuple[str, list[int]]]:
        """What was sent since the last call."""
        news, self.sent = self.sent, []
        return news

    def queued(self) -> list[int]:
        return [self._number(task) for task in self.pipeline.queue]

    def _number(self, task: PendingTask) -> int:
        return int(task.id)


def template(seconds: float | None = None, *, retries: int = 3) -> Template:
    made = Template(1, b"", "function", 1, demand=DEMAND, max_retries=retries)
    if seconds is not None:
        made.observe(int(seconds * 1e6))
    return made


# ---- how many tasks a lease gets


def test_tasks_of_unknown_duration_go_one_at_a_time() -> None:
    bench = Bench()
    bench.submit(template(), 3)
    bench.grant("ab")
    assert bench.news() == [("a", [1]), ("b", [2])]
    bench.finish("b", 2)
    assert bench.news()[0][1][0] == 3


def test_long_tasks_go_one_at_a_time() -> None:
    bench = Bench()
    bench.submit(template(0.005), 5)
    bench.grant("a")
    assert bench.news() == [("a", [1])]


def test_short_tasks_are_sent_ahead_for_about_the_pipeline_time() -> None:
    bench = Bench()
    bench.submit(template(0.001), 20)
    bench.grant("a")
    assert bench.news() == [("a", [1, 2, 3, 4, 5])]
    bench.finish("a", 1, 2, seconds=0.001)
    assert bench.news() == [("a", [6, 7])]


def test_of_tiny_tasks_no_more_are_sent_than_the_limit() -> None:
    bench = Bench()
    bench.submit(template(1e-6), 1000)
    bench.grant("a")
    ((_, tasks),) = bench.news()
    assert len(tasks) == CONFIG.pipeline_limit


def test_a_function_that_turns_out_short_is_sent_ahead_from_then_on() -> None:
    bench = Bench()
    bench.submit(template(), 100)
    bench.grant("a")
    assert bench.news() == [("a", [1])]
    bench.finish("a", 1, seconds=0.0005)
    ((_, tasks),) = bench.news()
    assert len(tasks) == 10


def test_a_function_that_turns_out_long_is_not_sent_ahead_any_more() -> None:
    bench = Bench()
    bench.submit(template(0.001), 100)
    bench.grant("a")
    bench.news()
    bench.finish("a", 1, seconds=1)
    assert bench.news() == []


def test_leases_share_what_there_is() -> None:
    bench = Bench()
    short = template(1e-4)
    bench.submit(short)
    bench.grant("abc")
    bench.finish("a", 1)
    bench.news()
    bench.now += 0.01
    for number in range(2, 11):
        bench.pipeline.add(PendingTask(b"%d" % number, short, b"", []))
    bench.assign()
    assert sorted(len(lease.in_flight) for lease in bench.leases.values()) == [3, 3, 3]


def test_leases_that_cannot_take_tasks_get_no_share() -> None:
    bench = Bench()
    short = template(1e-4)
    bench.submit(short)
    bench.grant("ab")
    bench.finish("a", 1)
    bench.leases["b"].lost = True
    bench.news()
    for number in range(2, 8):
        bench.pipeline.add(PendingTask(b"%d" % number, short, b"", []))
    bench.assign()
    assert bench.news() == [("a", [2, 3, 4, 5, 6, 7])]


def test_the_emptiest_lease_gets_the_next_task() -> None:
    bench = Bench()
    short = template(1e-4)
    bench.submit(short, 4)
    bench.grant("a")
    bench.submit(short, 2)
    bench.grant("b")
    bench.news()
    bench.submit(short)
    assert bench.news() == [("b", [7])]


def test_nothing_is_sent_behind_a_task_that_may_take_long() -> None:
    bench = Bench()
    bench.submit(template())
    bench.grant("a")
    bench.news()
    bench.submit(template(1e-4), 3)
    assert bench.news() == []
    assert bench.pipeline.requested == 3
    bench.finish("a", 1)
    assert bench.news() == [("a", [2, 3, 4])]


def test_a_task_that_may_take_long_is_sent_behind_nothing() -> None:
    bench = Bench()
    bench.submit(template(1e-4), 2)
    bench.submit(template())
    bench.submit(template(1e-4))
    bench.grant("a")
    assert bench.news() == [("a", [1, 2])]
    bench.finish("a", 1, 2)
    assert bench.news() == [("a", [3])]


def test_short_tasks_of_different_functions_travel_together() -> None:
    bench = Bench()
    bench.submit(template(1e-4))
    bench.submit(template(2e-4))
    bench.submit(template(1e-4))
    bench.grant("a")
    assert bench.news() == [("a", [1, 2, 3])]


def test_a_task_without_retries_runs_alone() -> None:
    bench = Bench()
    bench.submit(template(1e-4), 2)
    bench.submit(template(1e-4, retries=0), 2)
    bench.submit(template(1e-4), 2)
    bench.grant("a")
    assert bench.news() == [("a", [1, 2])]
    bench.finish("a", 1)
    assert bench.news() == []
    bench.finish("a", 2)
    assert bench.news() == [("a", [3])]
    bench.finish("a", 3)
    assert bench.news() == [("a", [4])]
    bench.finish("a", 4)
    assert bench.news() == [("a", [5, 6])]


# ---- tasks that come back


def test_tasks_handed_back_stand_in_front_in_their_order() -> None:
    bench = Bench()
    bench.submit(template(1e-3), 8)
    bench.grant("a")
    assert bench.news() == [("a", [1, 2, 3, 4, 5])]
    bench.hand_back("a", 3, 4, 5)
    assert bench.queued() == [3, 4, 5, 6, 7, 8]
    bench.grant("b")
    assert bench.news() == [("b", [3, 4, 5, 6, 7])]


def test_a_worker_that_handed_back_gets_nothing_until_it_is_done() -> None:
    bench = Bench()
    bench.submit(template(1e-3), 8)
    bench.grant("a")
    bench.news()
    bench.hand_back("a", 3, 4, 5)
    bench.finish("a", 1)  # this result was only late: it is task 2 that takes long
    assert bench.news() == []
    bench.finish("a", 2)
    assert bench.news()[0][0] == "a"


def test_a_worker_whose_hand_back_was_overtaken_by_its_last_result_gets_tasks_again_at_once() -> None:
    bench = Bench()
    bench.submit(template(1e-3), 3)
    bench.grant("a")
    bench.news()
    bench.finish("a", 1, 2)
    bench.hand_back("a", 3)
    assert bench.news() == [("a", [3])]


def test_what_was_handed_back_and_is_not_known_any_more_is_ignored() -> None:
    bench = Bench()
    bench.submit(template(1e-3), 2)
    bench.grant("a")
    bench.hand_back("a", 2, 77)
    assert bench.queued() == [2]


def test_the_tasks_of_a_lost_lease_come_back_oldest_first() -> None:
    bench = Bench()
    bench.submit(template(1e-3), 8)
    bench.grant("a")
    bench.finish("a", 2, seconds=1e-3)
    assert bench.lose("a") == [1, 3, 4, 5, 6]
    bench.pipeline.retry([bench.tasks[number] for number in (1, 3, 4, 5, 6)])
    assert bench.queued() == [1, 3, 4, 5, 6, 7, 8]


def test_a_lease_whose_stream_has_ended_gets_no_tasks_and_is_not_returned() -> None:
    bench = Bench()
    bench.submit(template())
    bench.grant("a")
    bench.news()
    bench.leases["a"].lost = True
    bench.submit(template())
    bench.reclaim("a", drain=True)
    bench.wait(10)
    bench.assign()
    assert (bench.news(), bench.returned) == ([], [])
    assert bench.lose("a") == [1]


# ---- requests


def test_one_lease_is_requested_for_each_task_up_to_a_limit() -> None:
    bench = Bench()
    bench.submit(template(), 2)
    assert bench.pipeline.requested == 2
    bench.submit(template(), 10)
    assert bench.pipeline.requested == CONFIG.lease_requests_in_flight


def test_a_granted_request_is_replaced_while_tasks_wait() -> None:
    bench = Bench()
    bench.submit(template(), 10)
    bench.grant("a")
    assert bench.pipeline.requested == CONFIG.lease_requests_in_flight


def test_no_lease_is_requested_for_tasks_that_were_sent() -> None:
    bench = Bench()
    bench.submit(template(1e-4))
    bench.grant("a")
    bench.submit(template(1e-4), 10)
    assert bench.pipeline.requested == 0


def test_requests_are_withdrawn_when_nothing_is_left_to_run() -> None:
    bench = Bench()
    bench.submit(template(), 3)
    bench.grant("a")
    assert bench.pipeline.requested == 2
    bench.finish("a", 1)  # turns out to be short
    assert bench.queued() == []
    assert (bench.pipeline.requested, bench.cancelled) == (0, 2)


def test_requests_are_withdrawn_when_the_tasks_are() -> None:
    bench = Bench()
    bench.submit(template(), 3)
    bench.pipeline.queue.clear()
    bench.assign()
    assert (bench.pipeline.requested, bench.cancelled) == (0, 3)
    assert bench.pipeline.idle()


def test_a_refused_request_is_made_again_while_tasks_wait() -> None:
    bench = Bench()
    bench.submit(template())
    bench.pipeline.refused()
    assert bench.pipeline.requested == 0
    bench.assign()
    assert bench.pipeline.requested == 1


# ---- returning leases


def test_an_idle_lease_is_kept_for_a_while_then_returned() -> None:
    bench = Bench()
    bench.submit(template())
    bench.grant("a")
    bench.wait(10)
    assert bench.returned == []
    bench.finish("a", 1)
    bench.wait(0.1)
    assert bench.returned == []
    bench.wait(0.11)
    assert bench.returned == ["a"]
    assert bench.pipeline.idle()


def test_a_lease_that_is_returned_or_lost_keeps_no_task() -> None:
    bench = Bench()
    bench.grant("AB")
    bench.submit(template(), 2)
    for name in "AB":
        lease = bench.leases[name]
        lease.told, lease.seen = bench.tasks[1], bench.tasks[2]
    bench.finish("A", 1)
    bench.lose("B")
    bench.wait(1.0)
    assert [(lease.told, lease.seen) for lease in bench.leases.values()] == [(None, None)] * 2


def test_a_lease_that_is_not_needed_expires_while_another_works() -> None:
    bench = Bench()
    short = template(1e-4)
    bench.submit(short, 2)
    bench.grant("a")
    bench.grant("b")
    bench.finish("a", 1, 2)
    for number in range(3, 13):
        bench.wait(0.05)
        bench.submit(short)
        assert bench.news()[-1] == ("a", [number])
        bench.finish("a", number)
    assert bench.returned == ["b"]


def test_a_lease_that_is_used_again_in_time_does_not_expire() -> None:
    bench = Bench()
    short = template(1e-4)
    bench.submit(short)
    bench.grant("a")
    for number in range(1, 20):
        bench.finish("a", number)
        bench.wait(0.15)
        bench.submit(short)
    assert bench.returned == []


def test_a_wanted_lease_is_returned_at_once_when_it_is_idle() -> None:
    bench = Bench()
    bench.submit(template())
    bench.grant("a")
    bench.finish("a", 1)
    bench.reclaim("a")
    assert bench.returned == ["a"]


def test_a_wanted_lease_is_returned_when_nothing_is_left_for_it() -> None:
    bench = Bench()
    bench.submit(template(0.1), 2)
    bench.grant("a")
    bench.reclaim("a")
    bench.finish("a", 1)
    assert bench.returned == []
    bench.finish("a", 2)
    assert bench.returned == ["a"]


def test_a_lease_wanted_between_a_result_and_the_next_task_is_kept_for_that() -> None:
    bench = Bench()
    bench.submit(template(0.1), 2)
    bench.grant("a")
    bench.leases["a"].completed(bench.tasks[1], 100_000)
    bench.reclaim("a")
    bench.assign()
    assert (bench.returned, bench.news()) == ([], [("a", [1]), ("a", [2])])


def test_a_draining_lease_gets_no_more_tasks_and_is_returned_when_it_is_done() -> None:
    bench = Bench()
    bench.submit(template(1e-3), 8)
    bench.grant("a")
    bench.news()
    bench.reclaim("a", drain=True)
    bench.finish("a", 1, 2, 3, 4)
    assert (bench.news(), bench.returned) == ([], [])
    bench.finish("a", 5)
    assert (bench.news(), bench.returned) == ([], ["a"])
    assert bench.queued() == [6, 7, 8]
    assert bench.pipeline.requested == 3


def test_a_draining_lease_that_hands_back_is_returned_without_what_it_handed_back() -> None:
    bench = Bench()
    bench.submit(template(1e-3), 3)
    bench.grant("a")
    bench.reclaim("a", drain=True)
    bench.hand_back("a", 2, 3)
    bench.finish("a", 1)
    assert bench.returned == ["a"]
    assert bench.queued() == [2, 3]


def test_a_lease_that_is_drained_after_it_was_wanted_is_returned_though_tasks_wait() -> None:
    bench = Bench()
    bench.submit(template(0.1), 3)
    bench.grant("a")
    bench.reclaim("a")
    bench.reclaim("a", drain=True)
    bench.reclaim("a")
    bench.finish("a", 1)
    assert bench.returned == ["a"]


class AnyOrder(RuleBasedStateMachine):
    """Whatever happens: no task is lost or sent twice, none waits while a lease lies idle."""

    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench()
        self.templates = [template(), template(1e-4), template(1e-3), template(1.0), template(1e-4, retries=0)]
        self.names = count()
        self.done: set[int] = set()

    @rule(which=st.integers(0, 4), tasks=st.integers(1, 12))
    def submit(self, which: int, tasks: int) -> None:
        self.bench.submit(self.templates[which], tasks)

    @rule(target=leases)
    def grant(self) -> str:
        name = chr(ord("A") + next(self.names))
        if self.bench.pipeline.requested:
            self.bench.grant(name)
        return name

    @rule(name=leases, results=st.integers(1, 5), seconds=st.sampled_from([1e-5, 1e-3, 0.5]))
    def finish(self, name: str, results: int, seconds: float) -> None:
        numbers = self.flying(name)[:results]
        if numbers:
            self.done.update(numbers)
            self.bench.finish(name, *numbers, seconds=seconds)

    @rule(name=leases, kept=st.integers(0, 2))
    def hand_back(self, name: str, kept: int) -> None:
        numbers = self.flying(name)[kept:]
        if numbers and not self.bench.leases[name].lost:
            self.bench.hand_back(name, *numbers)

    @rule(name=leases, drain=st.booleans())
    def reclaim(self, name: str, drain: bool) -> None:
        if self.holds(name):
            self.bench.reclaim(name, drain=drain)

    @rule(name=leases)
    def hang_up(self, name: str) -> None:
        if self.holds(name):
            self.bench.leases[name].lost = True

    @rule(name=consumes(leases))
    def lose(self, name: str) -> None:
        if self.holds(name):
            numbers = self.bench.lose(name)
            self.bench.pipeline.retry([self.bench.tasks[number] for number in numbers])
            self.bench.assign()

    @rule(seconds=st.sampled_from([0.05, 0.3]))
    def wait(self, seconds: float) -> None:
        self.bench.wait(seconds)
        self.bench.assign()

    def holds(self, name: str) -> bool:
        return name.encode() in self.bench.pipeline.leases

    def flying(self, name: str) -> list[int]:
        return [int(task_id) for task_id in self.bench.leases[name].in_flight] if self.holds(name) else []

    @invariant()
    def every_task_is_in_one_place(self) -> None:
        flying = [number for name in self.bench.leases for number in self.flying(name)]
        places = sorted([*flying, *self.bench.queued(), *self.done])
        assert places == sorted(self.bench.tasks)

    @invariant()
    def no_task_waits_while_a_lease_lies_idle(self) -> None:
        for lease in self.bench.pipeline.leases.values():
            assert lease.in_flight or lease.lost or not self.bench.pipeline.queue
            assert lease.in_flight or lease.lost or not (lease.wanted or lease.drain)
            assert (lease.idle_since is None) == bool(lease.in_flight) or lease.lost

    @invariant()
    def tasks_that_must_run_alone_do(self) -> None:
        for lease in self.bench.pipeline.leases.values():
            flying = list(lease.in_flight.values())
            assert len(flying) <= 1 or not any(task.alone for task in flying)

    @invariant()
    def as_many_leases_are_requested_as_are_useful(self) -> None:
        waiting = len(self.bench.pipeline.queue)
        requested = self.bench.pipeline.requested
        assert min(waiting, CONFIG.lease_requests_in_flight) <= requested <= CONFIG.lease_requests_in_flight
        assert waiting or not requested


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, deadline=None)
