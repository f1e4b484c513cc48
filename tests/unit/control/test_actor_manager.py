from __future__ import annotations

from typing import Any

import msgpack
import pytest

from asyncray.control.actor_lifecycle import ALIVE, DEAD, PENDING
from asyncray.ids import ActorId, JobId, NodeId, ProcessId
from asyncray.messages import (
    ACTOR_DIED,
    ACTOR_PLACED,
    ACTOR_RELEASED,
    ACTOR_STATE,
    PLACE_ACTOR,
    PROCESS_DIED,
    RESOURCES,
    STOP_ACTOR,
    WARNING,
)
from asyncray.proto import ActorName, Empty, KillActorRequest
from asyncray.serialization import load_error


async def state(process: Any) -> tuple[str, list[Any] | None, str]:
    """The next actor state that a subscriber is told: state, address, text of the cause."""
    _, _, name, address, cause = await process.next(ACTOR_STATE)
    return name, address, str(load_error(cause)) if cause is not None else ""


async def live_actor(cluster: Any, node: Any, owner: Any, /, **fields: Any) -> tuple[ActorId, list[Any]]:
    actor_id = await cluster.create(owner, **fields)
    started, address = await node.start_actor()
    assert started == actor_id
    return actor_id, address


async def test_an_actor_is_placed_and_its_subscribers_follow_it(cluster: Any) -> None:
    node, driver = await cluster.node(), await cluster.driver()
    spec = cluster.actor(driver, resources={"GPU": 0.0}, max_concurrency=3)
    driver.subscribe(spec.actor_id)
    assert await state(driver) == (PENDING, None, "")
    assert (await cluster.calls.create_actor(spec)).created
    placement = await node.next(PLACE_ACTOR)
    creation = [spec.actor_id, spec.class_id, "Counter", spec.creation_task_id, b"arguments", None, 3, spec.owner]
    job = {"pid": 5, "entrypoint": "app.py", "sys_path": ["/app"]}
    assert placement[1:] == [spec.actor_id, driver.job_id, job, {}, {"CPU": 10_000}, creation]
    address = node.worker()
    node.deliver(ACTOR_PLACED, spec.actor_id, address, 99, None)
    assert await state(driver) == (ALIVE, address, "")
    node.deliver(ACTOR_DIED, spec.actor_id, "signal 11", None)
    name, gone, cause = await state(driver)
    assert (name, gone) == (DEAD, None)
    assert "Counter" in cause and "signal 11" in cause


async def test_a_late_subscriber_gets_the_state_and_a_very_late_one_the_cause(cluster: Any) -> None:
    node, driver, other = await cluster.node(), await cluster.driver(), cluster.process()
    actor_id, address = await live_actor(cluster, node, driver)
    other.subscribe(actor_id)
    assert await state(other) == (ALIVE, address, "")
    node.deliver(ACTOR_DIED, actor_id, "signal 11", None)
    assert (await state(other))[0] == DEAD
    driver.subscribe(actor_id)
    assert "signal 11" in (await state(driver))[2]


async def test_of_an_actor_that_is_long_dead_it_is_known_that_it_is(cluster: Any) -> None:
    node, driver = await cluster.node(), await cluster.driver()
    actor_id, _ = await live_actor(cluster, node, driver)
    node.deliver(ACTOR_DIED, actor_id, "signal 11", None)
    cluster.control.actors.table._dead.clear()
    driver.subscribe(actor_id)
    assert "so long ago" in (await state(driver))[2]


async def test_registering_twice_is_registering_once(cluster: Any) -> None:
    node, driver = await cluster.node(), await cluster.driver()
    spec = cluster.actor(driver, name="one")
    assert (await cluster.calls.create_actor(spec)).created
    assert (await cluster.calls.create_actor(spec)).created
    await node.start_actor()
    assert PLACE_ACTOR not in node.kinds()


async def test_a_name_belongs_to_one_actor_of_a_namespace(cluster: Any) -> None:
    node, driver = await cluster.node(), await cluster.driver()
    actor_id, address = await live_actor(cluster, node, driver, name="one", namespace="here")
    clash = await cluster.calls.create_actor(cluster.actor(driver, name="one", namespace="here"))
    assert not clash.created
    assert "the name 'one' is taken in namespace 'here'" in clash.error
    assert clash.existing.actor_id == actor_id
    await cluster.create(driver, name="one", namespace="there")
    found = await cluster.calls.get_actor(ActorName(name="one", namespace="here"))
    assert found.actor.actor_id == actor_id
    assert found.actor.state == ALIVE
    assert msgpack.unpackb(found.actor.address) == address
    assert (found.actor.pid, found.actor.node_id) == (99, node.node_id)


async def test_a_name_is_free_as_soon_as_its_actor_is_asked_to_end(cluster: Any) -> None:
    node, driver = await cluster.node(), await cluster.driver()
    actor_id, _ = await live_actor(cluster, node, driver, name="one")
    driver.deliver(ACTOR_RELEASED, actor_id)
    assert await node.next(STOP_ACTOR) == [STOP_ACTOR, actor_id, True]
    assert not (await cluster.calls.get_actor(ActorName(name="one"))).found
    await cluster.create(driver, name="one")


async def test_a_released_actor_dies_when_its_calls_are_answered(cluster: Any) -> None:
    node, driver = await cluster.node(), await cluster.driver()
    actor_id, address = await live_actor(cluster, node, driver)
    driver.deliver(ACTOR_RELEASED, actor_id)
    driver.subscribe(actor_id)
    assert await state(driver) == (ALIVE, address, "")
    node.deliver(ACTOR_DIED, actor_id, "exited with status 0", None)
    assert "its last handle is gone" in (await state(driver))[2]


async def test_only_its_owner_releases_an_actor(cluster: Any) -> None:
    node, driver, other = await cluster.node(), await cluster.driver(), cluster.process()
    actor_id, _ = await live_actor(cluster, node, driver)
    other.deliver(ACTOR_RELEASED, actor_id)
    assert STOP_ACTOR not in node.kinds()


async def test_a_killed_actor_is_dead_at_once(cluster: Any) -> None:
    node, driver = await cluster.node(), await cluster.driver()
    actor_id, _ = await live_actor(cluster, node, driver)
    driver.subscribe(actor_id)
    await state(driver)
    await cluster.calls.kill_actor(KillActorRequest(actor_id=actor_id, cause="it was killed by `kill`"))
    assert await node.next(STOP_ACTOR) == [STOP_ACTOR, actor_id, False]
    assert "killed by `kill`" in (await state(driver))[2]
    node.deliver(ACTOR_DIED, actor_id, "signal 9", None)
    assert ACTOR_STATE not in driver.kinds()


async def test_killing_nobody_is_no_error(cluster: Any) -> None:
    await cluster.calls.kill_actor(KillActorRequest(actor_id=ActorId.random()))


async def test_the_error_of_a_constructor_reaches_the_subscribers_untouched(cluster: Any) -> None:
    node, driver = await cluster.node(), await cluster.driver()
    actor_id = await cluster.create(driver)
    driver.subscribe(actor_id)
    await driver.next(ACTOR_STATE)
    await node.next(PLACE_ACTOR)
    node.deliver(ACTOR_PLACED, actor_id, None, 0, b"what the constructor raised")
    assert await driver.next(ACTOR_STATE) == [ACTOR_STATE, actor_id, DEAD, None, b"what the constructor raised"]


async def test_an_actor_whose_node_dies_before_it_lives_is_placed_elsewhere(cluster: Any) -> None:
    nodes = [await cluster.node() for _ in range(2)]
    nodes.sort(key=lambda node: node.node_id)
    driver = await cluster.driver()
    actor_id = await cluster.create(driver)
    await nodes[0].next(PLACE_ACTOR)
    nodes[0].close()
    started, _ = await nodes[1].start_actor()
    assert started == actor_id


async def test_an_actor_that_lives_dies_with_its_node(cluster: Any) -> None:
    node, driver = await cluster.node(), await cluster.driver()
    actor_id, _ = await live_actor(cluster, node, driver)
    driver.subscribe(actor_id)
    await state(driver)
    node.close()
    name, _, cause = await state(driver)
    assert name == DEAD and "its node died" in cause


async def test_a_refused_actor_is_placed_again_without_any_news_from_the_node(cluster: Any) -> None:
    node, driver = await cluster.node(), await cluster.driver()
    actor_id = await cluster.create(driver)
    await node.next(PLACE_ACTOR)
    node.deliver(ACTOR_PLACED, actor_id, None, 0, None)
    assert (await node.start_actor())[0] == actor_id


async def test_an_actor_waits_until_a_node_has_what_it_holds(cluster: Any) -> None:
    node, driver = await cluster.node(CPU=1), await cluster.driver()
    await live_actor(cluster, node, driver, resources={"CPU": 1.0})
    waiting = await cluster.create(driver, resources={"CPU": 1.0})
    node.deliver(RESOURCES, {"CPU": 0}, [])
    node.deliver(RESOURCES, {"CPU": 10_000}, [])
    assert (await node.start_actor())[0] == waiting


async def test_an_actor_that_nobody_can_take_is_warned_of_and_waits(cluster: Any) -> None:
    await cluster.node(CPU=4)
    driver = await cluster.driver()
    actor_id = await cluster.create(driver, placement={"CPU": 1.0, "GPU": 2.0}, resources={"GPU": 2.0})
    _, text = await driver.next(WARNING)
    assert "no node has enough GPU (needs 2, the largest node has 0)" in text
    assert "Counter" in text
    large = await cluster.node(CPU=4, GPU=2)
    assert (await large.start_actor())[0] == actor_id


async def test_a_driver_is_warned_for_workers_that_do_not_listen(cluster: Any) -> None:
    node, driver = await cluster.node(CPU=1), await cluster.driver()
    owner = ProcessId(node.worker()[0])
    for _ in range(3):
        await cluster.create(driver, owner=owner, placement={"TPU": 1.0})
    _, text = await driver.next(WARNING)
    assert "and 2 more like it" in text
    assert WARNING not in driver.kinds()


async def test_the_end_of_a_job_ends_its_actors_but_the_detached(cluster: Any) -> None:
    node, driver = await cluster.node(), await cluster.driver()
    actor_id, _ = await live_actor(cluster, node, driver)
    waiting = await cluster.create(driver, placement={"GPU": 1.0})
    detached, address = await live_actor(cluster, node, driver, detached=True, name="d")
    driver.close()
    assert await node.next(STOP_ACTOR) == [STOP_ACTOR, actor_id, False]
    assert STOP_ACTOR not in node.kinds()
    states = {info.actor_id: info.state for info in (await cluster.calls.list_actors(Empty())).actors}
    assert states == {actor_id: DEAD, waiting: DEAD, detached: ALIVE}
    child = cluster.actor(driver, owner=address[0])
    assert (await cluster.calls.create_actor(child)).created, "what a detached actor makes outlives the job, too"
    grandchild, _ = await node.start_actor()
    assert grandchild == child.actor_id
    node.deliver(PROCESS_DIED, address[0], "signal 9")
    assert await node.next(STOP_ACTOR) == [STOP_ACTOR, grandchild, False]


async def test_an_actor_ends_with_the_process_that_owns_it(cluster: Any) -> None:
    node, other, driver = await cluster.node(GPU=1), await cluster.node(CPU=1), await cluster.driver()
    owner = cluster.process(node.worker())
    actor_id, _ = await live_actor(cluster, other, driver, owner=owner.process_id)
    driver.subscribe(actor_id)
    await state(driver)
    node.deliver(PROCESS_DIED, owner.process_id, "signal 9")
    assert await other.next(STOP_ACTOR) == [STOP_ACTOR, actor_id, False]
    assert "its owner died: signal 9" in (await state(driver))[2]


async def test_an_actor_ends_with_its_owners_node(cluster: Any) -> None:
    node, other, driver = await cluster.node(GPU=1), await cluster.node(CPU=1), await cluster.driver()
    owner = cluster.process(node.worker())
    actor_id, _ = await live_actor(cluster, other, driver, owner=owner.process_id)
    owner.close()
    node.close()
    assert await other.next(STOP_ACTOR) == [STOP_ACTOR, actor_id, False]


async def test_what_an_actor_made_ends_with_it(cluster: Any) -> None:
    node, driver = await cluster.node(), await cluster.driver()
    parent, address = await live_actor(cluster, node, driver)
    child, _ = await live_actor(cluster, node, driver, owner=address[0])
    node.deliver(ACTOR_DIED, parent, "signal 11", None)
    assert await node.next(STOP_ACTOR) == [STOP_ACTOR, child, False]


async def test_a_released_actor_on_its_way_is_dead_at_once(cluster: Any) -> None:
    node, driver = await cluster.node(), await cluster.driver()
    actor_id = await cluster.create(driver)
    driver.subscribe(actor_id)
    await state(driver)
    await node.next(PLACE_ACTOR)
    driver.deliver(ACTOR_RELEASED, actor_id)
    node.deliver(ACTOR_PLACED, actor_id, node.worker(), 99, None)
    assert await node.next(STOP_ACTOR) == [STOP_ACTOR, actor_id, True]
    assert (await state(driver))[0] == DEAD
    assert ACTOR_STATE not in driver.kinds()


async def test_a_release_that_overtakes_the_registration_counts(cluster: Any) -> None:
    driver, other = await cluster.driver(), await cluster.driver()
    for releaser, fate in [(driver, DEAD), (other, PENDING)]:
        actor_id = ActorId.random()
        releaser.deliver(ACTOR_RELEASED, actor_id)
        await cluster.create(driver, actor_id=actor_id)
        driver.subscribe(actor_id)
        assert (await state(driver))[0] == fate


async def test_a_subscription_ends_with_its_session(cluster: Any) -> None:
    node, driver, other = await cluster.node(), await cluster.driver(), cluster.process()
    actor_id = await cluster.create(driver)
    other.subscribe(actor_id)
    other.close()
    await other.ended()
    await node.start_actor()
    subscriptions = cluster.control.actors._subscriptions
    assert actor_id not in subscriptions and not subscriptions._by_session


async def test_nothing_is_left_of_actors_that_have_ended(cluster: Any) -> None:
    node, driver = await cluster.node(), await cluster.driver()
    for _ in range(3):
        actor_id, _ = await live_actor(cluster, node, driver, name="one", resources={"CPU": 1.0})
        driver.subscribe(actor_id)
        node.deliver(ACTOR_DIED, actor_id, "done", None)
    table = cluster.control.actors.table
    indexes = [table._living, table._by_name, table._by_process]
    indexes += [index._actors for index in (table._by_owner, table._by_job, table._by_node)]
    assert not any(indexes)
    record = cluster.control.nodes.table.get(node.node_id)
    assert not record.reserved and not any(record.promised.values()) and not any(record.pressure.values())
    assert not cluster.control.actors._subscriptions._by_actor


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"actor_id": b"short"}, "ActorId takes 16 bytes"),
        ({"job_id": JobId(b"none")}, "there is no job"),
        ({"arguments": msgpack.packb([1])}, "arguments must be [payload, references]"),
        ({"arguments": msgpack.packb(1)}, "arguments must be [payload, references]"),
        ({"arguments": bytes(40_000_000)}, "put() large values first"),
        ({"arguments": b""}, "arguments must be [payload, references]"),
        ({"placement": {"CPU": -1.0}}, "cannot be negative"),
    ],
)
async def test_a_wrong_specification_is_refused_with_its_reason(cluster: Any, fields: Any, reason: str) -> None:
    driver = await cluster.driver()
    reply = await cluster.calls.create_actor(cluster.actor(driver, **fields))
    assert not reply.created and reason in reply.error
    assert not list(cluster.control.actors.table)


async def test_the_dead_create_nothing(cluster: Any) -> None:
    node, driver, other = await cluster.node(), await cluster.driver(), await cluster.driver()
    worker = ProcessId(node.worker()[0])
    node.deliver(PROCESS_DIED, worker, "signal 9")
    reply = await cluster.calls.create_actor(cluster.actor(driver, owner=worker))
    assert "its owner is dead: signal 9" in reply.error
    driver.close()
    await cluster.ended(driver)
    reply = await cluster.calls.create_actor(cluster.actor(driver, owner=other.process_id))
    assert "has ended" in reply.error


async def test_an_answer_from_another_node_than_asked_is_ignored(cluster: Any) -> None:
    nodes = sorted([await cluster.node() for _ in range(2)], key=lambda node: NodeId(node.node_id))
    driver = await cluster.driver()
    actor_id = await cluster.create(driver)
    await nodes[0].next(PLACE_ACTOR)
    nodes[1].deliver(ACTOR_PLACED, actor_id, nodes[1].worker(), 1, None)
    nodes[1].deliver(ACTOR_DIED, actor_id, "signal 9", None)
    (info,) = (await cluster.calls.list_actors(Empty())).actors
    assert info.state == PENDING
