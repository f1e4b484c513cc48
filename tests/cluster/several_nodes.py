"""A cluster of several nodes, and what runs on a node of one's choice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

import asyncray
from asyncray import ObjectRef
from asyncray.testing import Cluster, Node

from .polling import eventually
from .stores import Stores, connected_stores

MB = 1_000_000


@asyncray.remote(num_cpus=0)
def numbers(size: int, first: int = 0) -> Any:
    """An array of so many bytes, whose sum is `sum_of(size, first)`."""
    return np.arange(first, first + size // 8)


def sum_of(size: int, first: int = 0) -> int:
    count = size // 8
    return first * count + count * (count - 1) // 2


@asyncray.remote(num_cpus=0)
def total(*arrays: Any) -> int:
    return int(sum(array.sum() for array in arrays))


@asyncray.remote(num_cpus=0)
async def total_inside(holder: dict[str, Any]) -> int:
    return int((await holder["inner"][0]).sum())


@asyncray.remote(num_cpus=0)
class Reader:
    """Keeps what it has read."""

    def __init__(self) -> None:
        self._array: Any = None

    async def read(self, holder: list[ObjectRef]) -> int:
        self._array = await holder[0]
        return int(self._array.sum())

    def total(self) -> int:
        """Of what it has read before."""
        return int(self._array.sum())

    def forget(self) -> None:
        self._array = None


@dataclass
class Nodes:
    """The driver's node, and others, on which things run when they are told to."""

    cluster: Cluster
    stores: Stores
    others: list[Node]

    def on(self, number: int, target: Any, **options: Any) -> Any:
        """A remote function or class for the node: 0 is the driver's."""
        return target.options(resources={f"node {number}": 0.001}, **options)

    async def kill(self, number: int) -> None:
        node = self.node(number)
        self.stores.forget(node)
        await self.cluster.kill_node(node)

    def node(self, number: int) -> Node:
        """0 is the driver's."""
        return self.others[number - 1] if number else self.cluster.nodes[0]

    async def has_begun_to_receive(self, number: int, size: int) -> None:
        """Returns when there is a block for the object."""

        async def has_room() -> bool:
            return (await self.stores.status(self.node(number))).store_used >= size

        await eventually(has_room)


@asynccontextmanager
async def nodes(count: int, store: int = 1000 * MB, **settings: Any) -> AsyncIterator[Nodes]:
    """So many besides the driver's. Whatever happens, in the end nothing is in any store."""
    async with Cluster(**settings) as cluster:
        first, *others = [
            await cluster.add_node(object_store_memory=store, resources={f"node {number}": 1})
            for number in range(count + 1)
        ]
        async with asyncray.init(address=cluster.address), connected_stores([first, *others]) as stores:
            yield Nodes(cluster, stores, others)
            await stores.become_empty()
