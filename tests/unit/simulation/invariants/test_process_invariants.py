"""The tables of drivers and workers, right and spoiled."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest

from asyncray.messages import INLINE, STORED
from asyncray.simulation.invariants import ClusterState, consistency, quiescence
from asyncray.simulation.invariants.process_tasks import exclusivity
from asyncray.worker.actor_client import ActorLane
from asyncray.worker.control_link import ControlLink
from asyncray.worker.execution import Executor
from asyncray.worker.location import Location
from asyncray.worker.node_link import NodeLink
from asyncray.worker.objects import CANCELLED
from asyncray.worker.peers import PeerLink
from asyncray.worker.pipeline import Lease, Pipeline
from asyncray.worker.reference import Execution
from asyncray.worker.runtime import Runtime
from asyncray.worker.store_client import Pin
from asyncray.worker.task import PendingTask, Template

from .invariant_parts import NODE, driver_runtime

OWNER: list[Any] = [b"o" * 16, NODE, "/o", "host:1"]
WORKER: list[Any] = [b"w" * 16, NODE, "/w", "host:2"]


class Stream:
    closed = False
    unsent = 0


def linked(runtime: Runtime, address: list[Any]) -> PeerLink:
    link = runtime.peers._links[address[0]] = PeerLink(address)
    stream: Any = Stream()
    link.stream = stream
    link.streams = (stream,)
    return link


def busy_driver() -> Runtime:
    """One task waits for a lease, one runs; an actor has one call in flight and one that waits for its argument."""
    runtime = driver_runtime()
    runtime._joined.set_result(None)
    own = runtime.nodes.own = runtime.nodes._links["unix:/node.sock"] = NodeLink(runtime.nodes, "unix:/node.sock")
    stream: Any = Stream()
    own.stream, own.node_id = stream, NODE
    own.welcomed.set_result(None)
    link, _ = linked(runtime, WORKER), linked(runtime, OWNER)
    demand = {"CPU": 10_000}
    template = Template(1, b"f" * 16, "work", 1, demand=demand)
    pipeline = Pipeline(demand, runtime.submitter._send, runtime.submitter.leases, runtime.config)
    runtime.submitter._pipelines[template.key] = pipeline
    waiting, running, call, next_call = (
        PendingTask(bytes([number]) * 16, template, b"", runtime.ownership.own(bytes([number]) * 16 + bytes(4)))
        for number in range(1, 5)
    )
    argument = runtime.ownership.own(b"argument" + bytes(12))
    runtime.ownership.hold_task(argument)
    waiting.held = [argument]
    pipeline.add(waiting)
    pipeline.requested = 1
    runtime.submitter.leases.requests[1] = (pipeline, own, ("f", True))
    lease = Lease(b"lease---", WORKER, {}, own.target, pipeline, 0.0)
    runtime.submitter.leases.held[lease.lease_id] = pipeline.leases[lease.lease_id] = lease
    runtime.submitter.leases.by_worker[WORKER[0]] = lease
    lease.in_flight[running.id] = runtime.submitter.in_flight[running.id] = running
    lifetime = runtime.ownership.own(b"a" * 16 + bytes(4))
    lane = runtime.actors.lanes[b"a" * 16] = ActorLane(runtime.actors, b"a" * 16, lifetime)
    lane.state, lane.link = "ALIVE", link
    runtime.ownership.hold_task(lifetime)
    lane.in_flight[call.id] = runtime.submitter.in_flight[call.id] = call
    lane.queues[b"caller"] = deque([next_call])
    lane.unresolved.add(next_call)
    stored = runtime.ownership.own(b"s" * 20)
    location = Location(NODE, "host:1", 8, b"o" * 16)
    pin = location.pin = runtime.store._pins[stored.id] = Pin(stored.id, 0, memoryview(bytes(8)))
    pin.holders = 1
    stored.value, stored.state = location, STORED
    return runtime


async def test_a_busy_driver_is_consistent() -> None:
    assert consistency(ClusterState(None, [], [busy_driver()])) == []


def pipeline_of(runtime: Runtime) -> Pipeline:
    return next(iter(runtime.submitter._pipelines.values()))


def lease_of(runtime: Runtime) -> Lease:
    return next(iter(runtime.submitter.leases.held.values()))


def lane_of(runtime: Runtime) -> ActorLane:
    return runtime.actors.lanes[b"a" * 16]


def run_twice(runtime: Runtime) -> None:
    pipeline_of(runtime).queue.append(next(iter(lease_of(runtime).in_flight.values())))


def forget_what_was_sent(runtime: Runtime) -> None:
    runtime.submitter.in_flight.clear()


def resolve_too_early(runtime: Runtime) -> None:
    reference = pipeline_of(runtime).queue[0].return_references()[0]
    reference.state, reference.value = INLINE, b""


def free_an_argument(runtime: Runtime) -> None:
    held = pipeline_of(runtime).queue[0].held
    assert held is not None
    held[0].tasks = 0


def let_an_actor_go(runtime: Runtime) -> None:
    lane_of(runtime).lifetime.tasks = 0


def ask_for_nothing(runtime: Runtime) -> None:
    pipeline_of(runtime).requested = 0
    runtime.submitter.leases.requests.clear()


def miscount_requests(runtime: Runtime) -> None:
    pipeline_of(runtime).requested = 2


def ask_a_lost_node(runtime: Runtime) -> None:
    ((_, node, _),) = runtime.submitter.leases.requests.values()
    node.lost = True


def keep_a_drained_lease(runtime: Runtime) -> None:
    lease = lease_of(runtime)
    lease.in_flight.clear()
    lease.drain = True


def keep_a_lease_that_is_over(runtime: Runtime) -> None:
    runtime.submitter.leases.held.clear()


def stall_a_lane(runtime: Runtime) -> None:
    lane_of(runtime).unresolved.clear()


def keep_a_caller_without_calls(runtime: Runtime) -> None:
    lane_of(runtime).queues[b"somebody"] = deque()


def kill_a_lane(runtime: Runtime) -> None:
    lane_of(runtime).state = "DEAD"


def forget_to_look(runtime: Runtime) -> None:
    runtime.submitter._dirty[pipeline_of(runtime)] = None


def lose_a_turn(runtime: Runtime) -> None:
    runtime._inbox.append((print, ()))


def lose_a_stream(runtime: Runtime) -> None:
    runtime.peers._links[WORKER[0]].stream = None


def keep_a_backlog(runtime: Runtime) -> None:
    runtime.peers._links[WORKER[0]]._backlog = [()]


def lose_a_node_stream(runtime: Runtime) -> None:
    assert runtime.nodes.own is not None
    runtime.nodes.own.stream = None


def tie_to_nobody(runtime: Runtime) -> None:
    runtime.ownership.borrow(b"b" * 20, [b"q" * 16, NODE, "", ""])
    runtime.ownership.take_effects()


def leak_a_pin(runtime: Runtime) -> None:
    runtime.ownership.references[b"s" * 20].value.pin = None
    runtime.store._pins[b"s" * 20].holders = 0


def give_a_pin_back_too_early(runtime: Runtime) -> None:
    runtime.store._pins.clear()


def drop_too_often(runtime: Runtime) -> None:
    runtime.dropped.extend([lane_of(runtime).lifetime] * 2)


RUNTIME = [
    (run_twice, "driver 64646464: task 02020202 (work) is in 2 places: it would run so often"),
    (forget_what_was_sent, "driver 64646464: task 02020202 is with a worker, and was not sent"),
    (resolve_too_early, "task 01010101 (work) is not over, and its result 01010101.0 has its value already"),
    (free_an_argument, "object 61726775.0 is held by 1 unfinished tasks, and 0 are counted"),
    (let_an_actor_go, "driver 64646464: object 61616161.0 is held by 1 unfinished tasks, and 0 are counted"),
    (ask_for_nothing, "driver 64646464: the pipeline for 1 CPU has 1 tasks waiting, and asks for no lease"),
    (miscount_requests, "driver 64646464: the pipeline for 1 CPU has 1 requests for leases, and 2 are counted"),
    (ask_a_lost_node, "request 1 for a lease waits for the node at unix:/node.sock, which is lost"),
    (keep_a_drained_lease, "lease 6c656173 of worker 77777777 is to be returned, has no task, and is kept"),
    (keep_a_lease_that_is_over, "driver 64646464: lease 6c656173 of worker 77777777 is over, and listed"),
    (stall_a_lane, "its lane to actor 61616161 has 1 calls of one caller waiting, and the first could be sent"),
    (keep_a_caller_without_calls, "its lane to actor 61616161 lists caller 736f6d65, which has no calls waiting"),
    (kill_a_lane, "its lane to actor 61616161 is DEAD, and has calls, a constructor or a link"),
    (forget_to_look, "driver 64646464: 1 pipelines have news, and nobody is to look at them"),
    (lose_a_turn, "driver 64646464: calls are to be carried out, and no turn of the loop is scheduled"),
    (lose_a_stream, "driver 64646464: its link with process 77777777 has no stream, and nobody dials"),
    (keep_a_backlog, "its link with process 77777777 has a stream, and 1 messages wait for one"),
    (lose_a_node_stream, "its link with the node at unix:/node.sock has no stream, and nobody dials"),
    (tie_to_nobody, "driver 64646464: it has ties with process 71717171, and no link"),
    (leak_a_pin, "its pin of object 73737373.1936946035 is not needed, and will not be given back"),
    (give_a_pin_back_too_early, "object 73737373.1936946035 is read from the store, and its pin is given back"),
    (drop_too_often, "object 61616161.0 was dropped 2 times, and 1 local references are counted"),
]


@pytest.mark.parametrize(("plant", "sentence"), RUNTIME, ids=[plant.__name__ for plant, _ in RUNTIME])
async def test_what_is_wrong_in_a_driver_is_named(plant: Callable[[Runtime], None], sentence: str) -> None:
    runtime = busy_driver()
    plant(runtime)
    found = consistency(ClusterState(None, [], [runtime]))
    assert any(sentence in text for text in found), found


async def test_a_cancelled_task_may_wait_to_be_cleared_away() -> None:
    runtime = busy_driver()
    runtime.objects.cancel(pipeline_of(runtime).queue[0].return_references()[0])
    assert pipeline_of(runtime).queue[0].return_references()[0].value is CANCELLED
    assert consistency(ClusterState(None, [], [runtime])) == []


async def test_a_worker_that_is_leased_twice_is_named() -> None:
    first, second = busy_driver(), busy_driver()
    second.process_id = b"e" * 16
    assert list(exclusivity([first, second])) == ["worker 77777777 is leased to driver 64646464 and to driver 65656565"]


async def test_what_is_left_in_a_driver_is_named() -> None:
    runtime = busy_driver()
    link = runtime.peers._links[WORKER[0]]
    stream: Any = link.stream
    stream.unsent = 9
    assert runtime.nodes.own is not None
    request = asyncio.ensure_future(runtime.nodes.own._requests.setdefault(1, runtime.loop.create_future()))
    runtime.functions._unexported[b"f" * 16] = b""
    runtime.spawn(asyncio.sleep(0), name="idle work")
    runtime.objects.observe(pipeline_of(runtime).queue[0].return_references()[0], print)
    with patch.object(ControlLink, "connected", True):
        found = quiescence(ClusterState(None, [], [runtime]))
    for sentence in (
        "driver 64646464: task 01010101 (work) is not over",
        "driver 64646464: task 04040404 (work) is not over",
        "driver 64646464: the pipeline for 1 CPU is kept, with 1 tasks, 1 leases, 1 requests",
        "driver 64646464: lease 6c656173 of worker 77777777 is kept",
        "driver 64646464: request 1 for a lease is not answered",
        "driver 64646464: a lane to actor 61616161 is kept, ALIVE",
        "driver 64646464: object 61726775.0 is kept: local 1, tasks 1, containers 0, lineage 0",
        "driver 64646464: object 01010101.0 is waited for 1 times",
        "driver 64646464: object 73737373.1936946035 is pinned",
        "driver 64646464: its link with process 77777777 has 9 bytes that are not sent",
        "driver 64646464: its link with the node at unix:/node.sock has 1 requests without an answer",
        "driver 64646464: function 66666666 has not reached the function table",
        "driver 64646464: the background task 'idle work' runs",
        "driver 64646464: it has a link with process 77777777, which does not live",
    ):
        assert sentence in found, (sentence, found)
    request.cancel()
    await asyncio.sleep(0)


def worker() -> Runtime:
    runtime = driver_runtime()
    runtime.role = "worker"
    runtime._joined.set_result(None)
    runtime.executor = Executor(runtime)
    return runtime


def executor_of(runtime: Runtime) -> Executor:
    assert runtime.executor is not None
    return runtime.executor


def answer_too_often(runtime: Runtime) -> None:
    executor_of(runtime)._outstanding = -1


def defer_for_nothing(runtime: Runtime) -> None:
    executor_of(runtime)._deferred[Execution(b"c" * 16)] = lambda: None


def forget_to_answer(runtime: Runtime) -> None:
    call: Any = object()
    executor_of(runtime)._outstanding = 1
    executor_of(runtime)._outbox.append(call)


def stall_arrivals(runtime: Runtime) -> None:
    call: Any = object()
    executor_of(runtime).arrivals._waiting = deque([call])


def stall_coroutines(runtime: Runtime) -> None:
    call: Any = object()
    executor_of(runtime).actor._waiting = deque([call])


def miscount_waits(runtime: Runtime) -> None:
    executor_of(runtime).blocking._coroutine_waits = 1


EXECUTOR = [
    (answer_too_often, "worker 64646464: -1 calls that are not answered are counted"),
    (defer_for_nothing, "worker 64646464: a reply to process 63636363 is deferred, and waits for nothing"),
    (forget_to_answer, "worker 64646464: 1 calls are finished, and nobody is to answer them"),
    (stall_arrivals, "worker 64646464: 1 calls wait, and the first could run"),
    (stall_coroutines, "worker 64646464: 1 coroutine calls wait, and there is room for them"),
    (miscount_waits, "0, 1 and 0 times: none may exceed the next"),
]


@pytest.mark.parametrize(("plant", "sentence"), EXECUTOR, ids=[plant.__name__ for plant, _ in EXECUTOR])
async def test_what_is_wrong_in_a_worker_is_named(plant: Callable[[Runtime], None], sentence: str) -> None:
    runtime = worker()
    state = ClusterState(None, [], [runtime])
    assert consistency(state) == []
    plant(runtime)
    found = consistency(state)
    assert any(sentence in text for text in found), found


async def test_a_worker_without_its_node_is_left_and_a_driver_is_not() -> None:
    sentence = "worker 64646464: it lives, and its node 6e6e6e6e does not"
    assert sentence in quiescence(ClusterState(None, [], [worker()]))
    assert not any("and its node" in text for text in quiescence(ClusterState(None, [], [driver_runtime()])))


async def test_what_a_worker_has_not_answered_is_left() -> None:
    runtime = worker()
    executor = executor_of(runtime)
    executor._outstanding = executor._unsent = 1
    executor._deferred[Execution(b"c" * 16)] = lambda: None
    found = quiescence(ClusterState(None, [], [runtime]))
    assert "worker 64646464: 1 calls are not answered" in found
    assert "worker 64646464: 1 replies are deferred" in found
    assert "worker 64646464: 1 results wait for output" in found
