"""What all nodes are told, when much happens at once."""

from __future__ import annotations

import asyncio
from typing import Any

from asyncray.messages import RESOURCES, VIEW


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
