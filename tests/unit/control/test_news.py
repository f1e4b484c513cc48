"""What all nodes are told, when much happens at once."""

from __future__ import annotations

import asyncio
from typing import Any

from asyncray.messages import PROCESS_DIED, RESOURCES, VIEW


async def test_deaths_that_follow_each_other_closely_are_told_together(cluster: Any) -> None:
    node, other = await cluster.node(), await cluster.node()
    process_ids = [node.worker()[0] for _ in range(11)]
    node.deliver(PROCESS_DIED, process_ids[0], "signal 9")
    await other.next(PROCESS_DIED)
    for process_id in process_ids[1:]:
        node.deliver(PROCESS_DIED, process_id, "signal 9")
        await asyncio.sleep(0)
    assert PROCESS_DIED not in other.kinds()
    told = [await other.next(PROCESS_DIED)]
    assert other.kinds().count(PROCESS_DIED) == 9
    told += [await other.next(PROCESS_DIED) for _ in range(9)]
    assert [message[1] for message in told] == process_ids[1:]


async def test_the_death_of_a_node_does_not_wait_until_all_changes_were_told(cluster: Any) -> None:
    nodes = [await cluster.node() for _ in range(120)]
    dead, listener = nodes[0], nodes[40]
    async with asyncio.timeout(10):
        while VIEW in listener.kinds() or len(cluster.control.nodes.table) < len(nodes):
            listener.inbox.clear()
            await asyncio.sleep(0.3)
    for node in nodes[1:]:
        node.deliver(RESOURCES, {"CPU": 1}, [])
    dead.close()
    told = 0
    while True:
        _, entries = await listener.next(VIEW)
        if any(not alive for *_, alive in entries):
            break
        told += len(entries)
    assert [(entry[0], entry[5]) for entry in entries] == [(dead.node_id, False)]
    assert told < len(nodes) / 2
