"""Actors of a node: placed, created, watched, ended."""

from __future__ import annotations

from typing import Any

from asyncray import messages
from asyncray.resources import UNITS, to_units
from asyncray.serialization import load_error

from .puppet_node import JOB, Puppet, PuppetNode
from .virtual_loop import virtually

ACTOR = b"actor"


def creation(actor_id: bytes) -> list[Any]:
    return [actor_id, b"class", "Counter", b"task", b"arguments", None, 1, b"owner"]


def place(node: PuppetNode, actor_id: bytes = ACTOR, job_id: bytes = JOB, **demand: float) -> None:
    node.actors.place(
        actor_id, job_id, {"namespace": "space"}, to_units(demand), to_units({"CPU": 1}), creation(actor_id)
    )


def created(worker: Puppet, actor_id: bytes = ACTOR) -> None:
    worker.say(messages.ACTOR_CREATED, actor_id, None)


@virtually
async def test_an_actor_gets_a_worker_that_is_told_its_job_and_gpus_before_its_constructor_runs() -> None:
    node = await PuppetNode(ready=1, CPU=1, GPU=1).start()
    (worker,) = node.come_up()
    place(node, CPU=1, GPU=1)
    kinds = [message[0] for message in worker.told]
    assert kinds.index(messages.ASSIGN) < kinds.index(messages.CREATE_ACTOR)
    assert worker.heard(messages.ASSIGN) == [(JOB, {"namespace": "space"}, {"GPU": [0]})]
    assert worker.heard(messages.CREATE_ACTOR) == [tuple(creation(ACTOR))]
    created(worker)
    assert node.reports == [(messages.ACTOR_PLACED, ACTOR, worker.address, 1, None)]


@virtually
async def test_an_actor_for_which_there_is_no_room_is_refused() -> None:
    node = await PuppetNode(ready=1, CPU=1).start()
    place(node, CPU=2)
    assert node.reports == [(messages.ACTOR_PLACED, ACTOR, None, 0, None)]
    assert node.actors.actors == {}


@virtually
async def test_an_actor_whose_constructor_raises_is_reported_once_and_its_worker_ends() -> None:
    node = await PuppetNode(ready=1, CPU=1).start()
    (worker,) = node.come_up()
    place(node, CPU=1)
    worker.say(messages.ACTOR_CREATED, ACTOR, b"error")
    assert worker.heard(messages.EXIT) == [(True,)], "others may borrow what the constructor has made"
    node.die(worker)
    assert node.reports == [(messages.ACTOR_PLACED, ACTOR, None, 1, b"error")]
    assert node.resources.available["CPU"] == UNITS


@virtually
async def test_a_worker_that_dies_in_the_constructor_is_reported_with_the_cause() -> None:
    node = await PuppetNode(ready=1).start()
    (worker,) = node.come_up()
    place(node)
    node.die(worker, "out of memory")
    ((kind, actor_id, address, _, error),) = node.reports
    assert (kind, actor_id, address) == (messages.ACTOR_PLACED, ACTOR, None)
    assert "out of memory" in str(load_error(error))


@virtually
async def test_the_death_of_an_actor_is_reported_and_frees_its_resources() -> None:
    node = await PuppetNode(ready=1, CPU=1).start()
    (worker,) = node.come_up()
    place(node, CPU=1)
    created(worker)
    node.die(worker, "signal 9")
    assert node.reports[1:] == [(messages.ACTOR_DIED, ACTOR, "signal 9", None)]
    assert node.resources.available["CPU"] == UNITS


@virtually
async def test_a_stopped_actor_ends_gracefully_or_at_once() -> None:
    node = await PuppetNode(ready=2).start()
    first, second = node.come_up()
    place(node, b"a")
    place(node, b"b")
    created(first, b"a")
    created(second, b"b")
    node.actors.stop_actor(b"a", graceful=True)
    node.actors.stop_actor(b"b", graceful=False)
    node.actors.stop_actor(b"unknown", graceful=False)
    assert first.heard(messages.EXIT) == [(True,)]
    assert node.launches.killed == [second.process_id]


@virtually
async def test_an_actor_that_is_stopped_before_it_has_a_worker_leaves_nothing() -> None:
    node = await PuppetNode(CPU=1).start()
    place(node, CPU=1)
    node.actors.stop_actor(ACTOR, graceful=False)
    (worker,) = node.come_up()
    assert worker.heard(messages.CREATE_ACTOR) == []
    assert node.resources.available["CPU"] == UNITS


@virtually
async def test_an_actor_that_outlives_its_job_stays_and_its_tasks_are_served() -> None:
    node = await PuppetNode(ready=2, CPU=1).start()
    node.driver()
    worker, _ = node.come_up()
    place(node)
    created(worker)
    node.end_job(JOB)
    assert worker.process_id not in node.launches.killed
    worker.ask(1)
    ((_, _, process_id),) = worker.granted()
    assert node.pool.workers[process_id].job == {"namespace": "space"}


@virtually
async def test_an_actor_that_outlives_its_job_is_created_even_if_the_job_ends_before() -> None:
    node = await PuppetNode().start()
    place(node)
    node.end_job(JOB)
    (worker,) = node.come_up()
    assert worker.heard(messages.ASSIGN) == [(JOB, {"namespace": "space"}, {})]
    assert worker.heard(messages.CREATE_ACTOR) == [tuple(creation(ACTOR))]


@virtually
async def test_an_actor_that_blocks_gives_its_cpu_to_the_tasks_that_it_waits_for() -> None:
    node = await PuppetNode(ready=2, CPU=1).start()
    worker, _ = node.come_up()
    place(node, CPU=1)
    created(worker)
    worker.ask(1)
    assert worker.granted() == []
    worker.say(messages.BLOCKED)
    node.leases.pump()
    assert len(worker.granted()) == 1
