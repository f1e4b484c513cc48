"""The control plane's tables, right and spoiled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from asyncray.config import Config
from asyncray.control.actor_lifecycle import Phase
from asyncray.control.actor_table import ActorRecord
from asyncray.control.placement import Demand
from asyncray.control.service import ControlPlane
from asyncray.ids import ActorId, NodeId
from asyncray.messages import ACTOR_PLACED, PLACE_ACTOR, RESOURCES
from asyncray.simulation.invariants import ClusterState, consistency, quiescence

from ...control.conftest import Cluster, FakeNetwork

NODE = NodeId(b"n" * 16)


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    """One node; a driver with an actor that lives, one that is being placed, and one that waits."""
    network = FakeNetwork()
    control = ControlPlane(network, Config(resource_report_interval=0.01), unix_path="/c.sock")  # type: ignore[arg-type]
    ready = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(control.serve(on_ready=ready.set))
        await ready.wait()
        cluster = Cluster(control, network)
        node = await cluster.node(NODE, CPU=4)
        driver = await cluster.driver()
        driver.subscribe(await cluster.create(driver, actor_id=ActorId(b"a" * 16), name="first"))
        await node.start_actor()
        await cluster.create(driver, actor_id=ActorId(b"b" * 16), resources={"CPU": 1.0})
        await node.next(PLACE_ACTOR)
        driver.subscribe(await cluster.create(driver, actor_id=ActorId(b"c" * 16), placement={"GPU": 1.0}))
        yield cluster
        control.request_stop("the test is over")


def actor(control: ControlPlane, letter: str) -> ActorRecord:
    record = control.actors.table.living(letter.encode() * 16)
    assert record is not None
    return record


def test_all_phases_are_there(cluster: Cluster) -> None:
    phases = [actor(cluster.control, letter).life.phase for letter in "abc"]
    assert phases == [Phase.ALIVE, Phase.PLACING, Phase.WAITING]
    assert consistency(ClusterState(cluster.control, [], [])) == []


def disorder_nodes(control: ControlPlane) -> None:
    control.nodes.table._order.append(NodeId(b"m" * 16))


def promise_too_much(control: ControlPlane) -> None:
    record = control.nodes.table.get(NODE)
    assert record is not None
    record.promised["CPU"] += 10_000


def lose_a_nodes_session(control: ControlPlane) -> None:
    del control.nodes._sessions[NODE]


def lose_a_node(control: ControlPlane) -> None:
    control.nodes.table.leave(NODE, "a test")


def declare_a_living_process_dead(control: ControlPlane) -> None:
    control.processes._dead[next(iter(control.processes._living))] = "a test"


def lose_a_driver(control: ControlPlane) -> None:
    job = next(iter(control.jobs._running.values()))
    del control.processes._living[job.driver]


def end_a_job_only_here(control: ControlPlane) -> None:
    control.jobs._running.clear()


def lose_a_host(control: ControlPlane) -> None:
    process_id = actor(control, "a").process_id
    assert process_id is not None
    del control.processes._living[process_id]


def forget_the_address(control: ControlPlane) -> None:
    actor(control, "a").life.address = None


def go_elsewhere(control: ControlPlane) -> None:
    actor(control, "b").node_id = b"m" * 16


def leave_the_queue(control: ControlPlane) -> None:
    control.scheduler.discard(ActorId(b"c" * 16))


def queue_the_dead(control: ControlPlane) -> None:
    control.scheduler._queue.add(ActorId(b"x" * 16), Demand({}, {}))


def spoil_the_queue(control: ControlPlane) -> None:
    control.scheduler._queue._groups.clear()


def lose_a_name(control: ControlPlane) -> None:
    control.actors.table._by_name.clear()


def keep_a_dead_actors_entry(control: ControlPlane) -> None:
    control.actors.table._by_owner.add(b"x" * 16, actor(control, "a"))


def forget_the_owner(control: ControlPlane) -> None:
    record = actor(control, "a")
    control.actors.table._by_owner.discard(record.owner, record)


def half_a_subscription(control: ControlPlane) -> None:
    control.actors._subscriptions._by_session.clear()


def subscribe_to_the_dead(control: ControlPlane) -> None:
    control.actors.table._dead_ids[b"c" * 16] = None


def wait_for_a_second_death(control: ControlPlane) -> None:
    control.processes._dead[b"d" * 16] = "signal 9"
    control.processes._holders[b"d" * 16] = {NODE: None}


def hold_on_a_stranger(control: ControlPlane) -> None:
    control.processes._holders[b"e" * 16] = {NodeId(b"m" * 16): None}


PLANTED = [
    (disorder_nodes, "control plane: the order of the nodes is not that of the ids of the living"),
    (promise_too_much, "node 6e6e6e6e has 2 CPU promised to actors, and 1 CPU is reserved for them"),
    (lose_a_nodes_session, "control plane: node 6e6e6e6e is alive, and has no session"),
    (lose_a_node, "control plane: actor Counter 61616161 is ALIVE on node 6e6e6e6e, which is not a living member"),
    (lose_a_node, "control plane: node 6e6e6e6e has a session, and is no member"),
    (declare_a_living_process_dead, "is alive, and was declared dead"),
    (lose_a_driver, "does not"),
    (end_a_job_only_here, "control plane: actor Counter 62626262 is PLACING, and its job"),
    (lose_a_host, "which is not known to live"),
    (forget_the_address, "control plane: actor Counter 61616161 is ALIVE, and lacks an address"),
    (go_elsewhere, "actor Counter 62626262 is PLACING, on node 6e6e6e6e, and listed on node 6d6d6d6d"),
    (leave_the_queue, "actor Counter 63636363 is WAITING, and is not in the queue for a node"),
    (queue_the_dead, "control plane: actor 78787878 waits for a node, and is not alive"),
    (spoil_the_queue, "actor 63636363 waits for a node in one table of the queue only"),
    (lose_a_name, "actor Counter 61616161 is not found by its name 'first'"),
    (keep_a_dead_actors_entry, "control plane: actors are found under an owner that is not theirs"),
    (forget_the_owner, "actor Counter 61616161 is not found by its owner"),
    (half_a_subscription, "as a subscriber, which is not listed as one"),
    (wait_for_a_second_death, "process 64646464 was declared dead, and nodes are still to be told of that"),
    (hold_on_a_stranger, "process 65656565 owns objects on node 6d6d6d6d, which is no member"),
    (subscribe_to_the_dead, "control plane: actor 63636363 is dead, and there are subscribers to it"),
]


@pytest.mark.parametrize(("plant", "sentence"), PLANTED, ids=[plant.__name__ for plant, _ in PLANTED])
def test_what_is_wrong_in_the_control_plane_is_named(
    cluster: Cluster, plant: Callable[[ControlPlane], None], sentence: str
) -> None:
    plant(cluster.control)
    found = consistency(ClusterState(cluster.control, [], []))
    assert any(sentence in text for text in found), found
    cluster.control.jobs._running.clear()  # what was spoiled must not fail on the way out


async def test_what_is_left_in_the_control_plane_is_named(cluster: Cluster) -> None:
    found = quiescence(ClusterState(cluster.control, [], []))
    for sentence in (
        "control plane: actor Counter 61616161 is ALIVE, and nobody has a handle of it",
        "control plane: node 6e6e6e6e is to take actor 62626262, and will not report it",
        "control plane: node 6e6e6e6e is a member, and does not live",
        "is known as living, and does not",
    ):
        assert any(sentence in text for text in found), (sentence, found)
    assert any(text.startswith("control plane: job ") and text.endswith("does not live") for text in found), found


async def test_a_subscription_to_what_was_never_registered_is_left(cluster: Cluster) -> None:
    driver = await cluster.driver()
    driver.subscribe(b"z" * 16)
    found = quiescence(ClusterState(cluster.control, [], []))
    assert any("is subscribed to actor 7a7a7a7a, which is not there" in text for text in found), found


async def test_a_detached_actor_may_stay(cluster: Cluster) -> None:
    driver = await cluster.driver()
    actor_id = await cluster.create(driver, detached=True)
    record = actor(cluster.control, "a")
    found = quiescence(ClusterState(cluster.control, [], []))
    assert not any(actor_id.hex()[:8] in text and "nobody has a handle" in text for text in found), found
    assert any(record.actor_id.hex()[:8] in text and "nobody has a handle" in text for text in found), found


async def test_a_reservation_that_the_nodes_report_cannot_clear_is_left(cluster: Cluster) -> None:
    """The actor took what a lease gave back since the last report: the node has no change to tell."""
    control = cluster.control
    (session,) = control.nodes._sessions.values()
    node_stream = session._stream
    session.on_message(node_stream, [ACTOR_PLACED, b"b" * 16, [b"w" * 16, bytes(NODE), "/w", ""], 1, None])
    session.on_message(node_stream, [RESOURCES, {}, []])
    assert consistency(ClusterState(control, [], [])) == []
    found = quiescence(ClusterState(control, [], []))
    assert "control plane: node 6e6e6e6e is to take actor 62626262, and will not report it" in found
