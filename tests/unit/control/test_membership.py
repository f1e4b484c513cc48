from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from asyncray.config import Config
from asyncray.errors import ProtocolError
from asyncray.ids import NodeId
from asyncray.messages import NODE_ACCEPTED, REGISTER_NODE, RESOURCES, VIEW
from asyncray.proto import Empty


async def views(node: Any, *node_ids: NodeId) -> dict[bytes, list[Any]]:
    """Reads VIEWs until all of these nodes were in one; the last entry of each."""
    entries: dict[bytes, list[Any]] = {}
    while not entries.keys() >= set(node_ids):
        entries.update((entry[0], entry) for entry in (await node.next(VIEW))[1])
    return entries


async def test_a_new_node_gets_the_full_view_and_the_others_get_it(cluster: Any) -> None:
    first = await cluster.node(CPU=2)
    joined = await cluster.node(CPU=3, GPU=1)
    entry = (await views(first, joined.node_id))[joined.node_id]
    assert entry == [joined.node_id, "127.0.0.1:1", joined.total, joined.total, {"zone": "a"}, True]


async def test_a_node_is_told_of_all_members_when_it_joins(cluster: Any) -> None:
    members = [(await cluster.node()).node_id for _ in range(3)]
    late, late_id = cluster.stream("NodeSession"), NodeId.random()
    late.deliver(REGISTER_NODE, late_id, "host:1", {"total": {}})
    accepted, view = late.inbox
    assert accepted == [NODE_ACCEPTED, cluster.control.cluster_id]
    assert {entry[0] for entry in view[1]} == {*members, late_id}


async def test_only_changed_nodes_are_broadcast(cluster: Any) -> None:
    nodes = [await cluster.node() for _ in range(3)]
    await views(nodes[0], *(node.node_id for node in nodes[1:]))
    nodes[2].deliver(RESOURCES, {"CPU": 5000}, [])
    _, entries = await nodes[0].next(VIEW)
    assert entries == [[nodes[2].node_id, {"CPU": 5000}]], "what cannot change is not told again"


async def test_changes_within_an_interval_leave_together(cluster: Any) -> None:
    nodes = [await cluster.node() for _ in range(2)]
    await views(nodes[0], nodes[1].node_id)
    nodes[1].deliver(RESOURCES, {"CPU": 1}, [])
    await views(nodes[0], nodes[1].node_id)
    for amount in range(100):
        nodes[1].deliver(RESOURCES, {"CPU": amount}, [])
    _, entries = await nodes[0].next(VIEW)
    assert entries == [[nodes[1].node_id, {"CPU": 99}]]
    assert VIEW not in nodes[0].kinds()


async def test_a_heartbeat_changes_nothing(cluster: Any) -> None:
    nodes = [await cluster.node() for _ in range(2)]
    await views(nodes[0], nodes[1].node_id)
    nodes[1].deliver(RESOURCES, {}, [])
    assert cluster.control.nodes.table.take_changes() == []


async def test_the_end_of_its_session_is_the_death_of_a_node(cluster: Any) -> None:
    node, other = await cluster.node(), await cluster.node()
    await views(other, other.node_id)
    node.close()
    entries = await views(other, node.node_id)
    assert entries[node.node_id][5] is False
    listed = {info.node_id: info for info in (await cluster.calls.list_nodes(Empty())).nodes}
    assert listed[other.node_id].alive and listed[other.node_id].available == {"CPU": 4.0}
    assert not listed[node.node_id].alive
    assert listed[node.node_id].death_cause == "it has left the cluster"


class TestSilence:
    @pytest.fixture
    def config(self) -> Config:
        return Config(resource_report_interval=0.01, node_silence_timeout=0.2)

    async def test_a_silent_node_is_dead_and_one_that_says_anything_is_not(self, cluster: Any) -> None:
        silent, chatty = await cluster.node(), await cluster.node()

        async def chat() -> None:
            while not silent.closed:
                chatty.deliver(RESOURCES, {}, [])
                await asyncio.sleep(0.02)

        async with asyncio.timeout(5):
            await chat()
        assert str(silent.error) == "declared dead: nothing was heard from it for 0.2 s"
        assert not chatty.closed

    async def test_nodes_are_not_blamed_when_the_control_plane_itself_did_not_run(self, cluster: Any) -> None:
        node = await cluster.node()
        await asyncio.sleep(0)  # lets the watch compute when the node is due
        time.sleep(0.5)  # noqa: ASYNC251 - the whole process stands still
        resumed = asyncio.get_running_loop().time()
        assert "nothing was heard" in str(await node.ended())
        assert asyncio.get_running_loop().time() >= resumed + 0.15, "it had another chance to be heard"


async def test_a_node_id_lives_once(cluster: Any) -> None:
    node = await cluster.node()
    with pytest.raises(AssertionError, match="is a member of the cluster already"):
        await cluster.node(node.node_id)
    node.close()
    await cluster.lost(node)
    with pytest.raises(AssertionError, match="was declared dead"):
        await cluster.node(node.node_id)


@pytest.mark.parametrize(
    "message",
    [
        (RESOURCES, {}, []),
        (REGISTER_NODE, b"short", "host:1", {}),
        (REGISTER_NODE, b"n" * 16, "host:1", {"total": {"CPU": 1.5}}),
        (REGISTER_NODE, b"n" * 16, "host:1", {"total": [1]}),
        (REGISTER_NODE, b"n" * 16, "host:1", {"total": {}, "pid": "none"}),
        (REGISTER_NODE, b"n" * 16, "host:1", {"total": {}, "labels": {"zone": 1}}),
        (VIEW, []),
    ],
)
async def test_a_malformed_registration_closes_its_stream_and_harms_nothing(cluster: Any, message: Any) -> None:
    stream = cluster.stream("NodeSession")
    stream.deliver(*message)
    assert isinstance(stream.error, ProtocolError)
    assert len(cluster.control.nodes.table) == 0
