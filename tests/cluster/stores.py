"""What the object stores of a cluster hold, asked of the nodes themselves."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncray
from asyncray.proto import Empty, NodeStatus, NodeStub
from asyncray.rpc.network import Channel
from asyncray.testing import Node

from .conftest import runtime
from .polling import eventually


class Stores:
    """Connections to living nodes."""

    def __init__(self, channels: dict[Node, Channel]) -> None:
        self._channels = channels

    async def status(self, node: Node) -> NodeStatus:
        return await self._channels[node].stub(NodeStub).status(Empty())

    async def statuses(self) -> list[NodeStatus]:
        return [await self.status(node) for node in self._channels]

    async def objects(self) -> list[int]:
        """How many each node has in memory, in the order of the nodes."""
        return [status.store_objects for status in await self.statuses()]

    def spill_files(self) -> list[Path]:
        """Those that are there, of all nodes."""
        return [
            Path(folder, name)
            for node in self._channels
            for folder, _, names in os.walk(node.directory / "spilled")
            for name in names
        ]

    def spilled_bytes(self) -> int:
        return sum(_size(path) for path in self.spill_files())

    async def are_empty(self) -> bool:
        return not self.spill_files() and not any(
            status.store_objects or status.store_used or status.store_overflow_used or status.pins
            for status in await self.statuses()
        )

    async def become_empty(self) -> None:
        await eventually(self.are_empty)

    def forget(self, node: Node) -> None:
        """It was killed."""
        self._channels.pop(node).close()

    def close(self) -> None:
        for node in list(self._channels):
            self.forget(node)


@asynccontextmanager
async def connected_stores(nodes: list[Node]) -> AsyncIterator[Stores]:
    """For a driver of their cluster."""
    addresses = {
        entry["NodeID"]: f"{entry['NodeManagerAddress']}:{entry['NodeManagerPort']}" for entry in await asyncray.nodes()
    }
    stores = Stores({})
    try:
        for node in nodes:
            stores._channels[node] = await runtime().platform.network.connect(addresses[node.node_id])
        yield stores
    finally:
        stores.close()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # removed at this moment
        return 0
