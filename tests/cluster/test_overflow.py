"""More than memory holds, and all of it in use: objects go to disk, and nobody notices but by the time it takes."""

from __future__ import annotations

import asyncio
import gc
import os

import numpy as np
from numpy.typing import NDArray

import asyncray
from asyncray import ObjectRef
from asyncray.testing import Cluster

from .conftest import runtime
from .polling import eventually
from .stores import connected_stores

MEMORY = 32_000_000
SIZE = 2_000_000
FULL = MEMORY // SIZE

Array = NDArray[np.int64]


@asyncray.remote
def make(number: int) -> Array:
    return np.arange(number, number + SIZE // 8)


@asyncray.remote
async def add_to(argument: Array, number: int) -> int:
    """Has its argument pinned while it waits for a task, and that one's output after that."""
    made = await make.remote(number)
    return int((argument + made).sum())


@asyncray.remote
def total(array: Array) -> int:
    return int(array.sum())


def sum_of(number: int) -> int:
    return sum(range(number, number + SIZE // 8))


def overflow_bytes() -> int:
    """What the overflow of the node embedded here takes of the disk."""
    node = os.stat(runtime().nodes.own.arena[3])  # type: ignore[union-attr]
    assert node.st_nlink == 0, "it has a name"
    return node.st_blocks * 512


async def test_tasks_that_hold_their_arguments_while_they_wait_for_others_end() -> None:
    async with asyncray.init(num_cpus=FULL, object_store_memory=MEMORY):
        arguments = [await asyncray.put(np.arange(SIZE // 8)) for _ in range(FULL)]
        sums = await asyncray.get([add_to.remote(ref, number) for number, ref in enumerate(arguments)])
        assert sums == [sum_of(0) + sum_of(number) for number in range(FULL)]
        arguments.clear()
        await eventually(lambda: overflow_bytes() < SIZE // 10)


async def test_a_driver_that_holds_views_of_nearly_all_memory_goes_on() -> None:
    async with Cluster() as cluster:
        nodes = [
            await cluster.add_node(num_cpus=1, object_store_memory=MEMORY),
            await cluster.add_node(num_cpus=1, object_store_memory=MEMORY, resources={"far": 1}),
        ]
        async with asyncray.init(cluster.address), connected_stores(nodes) as stores:
            here = make.options(resources={"far": 0.01})
            held = [await make.remote(number) for number in range(9 * FULL // 10)]
            refs: list[ObjectRef] = []
            for number in range(FULL):
                far, put = here.remote(number), await asyncray.put(np.arange(number, number + SIZE // 8))
                assert int((await far).sum()) == int((await put).sum()) == sum_of(number)
                refs += [far, put]
            sums = [total.options(resources={"far": 0.01}).remote(ref) for ref in refs]
            assert await asyncray.get(sums) == [sum_of(number) for number in range(FULL) for _ in range(2)]
            assert any([status.store_overflow_used for status in await stores.statuses()])
            assert [int(array[0]) for array in held] == list(range(len(held)))
            del held, refs, far, put, sums
            await stores.become_empty()


async def test_values_that_are_waited_for_may_be_more_than_memory_holds() -> None:
    async with asyncray.init(num_cpus=2, object_store_memory=MEMORY):
        refs = [make.remote(number) for number in range(3 * FULL)]
        values = await asyncray.get(refs)
        more = [make.remote(number) for number in range(3 * FULL)]
        done, left = await asyncray.wait(more, num_returns=len(more), timeout=100)
        assert len(done) == len(more) and not left
        for number, (value, ref) in enumerate(zip(values, more, strict=True)):
            assert int(value.sum()) == int((await ref).sum()) == sum_of(number)
        del values, value, refs, more, done, ref
        gc.collect()
        await eventually(lambda: overflow_bytes() < SIZE // 10)


async def test_a_view_into_the_overflow_outlives_the_cluster() -> None:
    async with asyncray.init(num_cpus=1, object_store_memory=MEMORY):
        values = [await make.remote(number) for number in range(2 * FULL)]
        assert overflow_bytes() >= FULL * SIZE // 2
    assert [int(value.sum()) for value in values] == [sum_of(number) for number in range(2 * FULL)]


async def test_views_of_a_driver_that_leaves_keep_what_they_show() -> None:
    async with Cluster() as cluster:
        await cluster.add_node(num_cpus=1, object_store_memory=MEMORY)
        async with asyncray.init(cluster.address):
            values = [await asyncray.put(np.arange(number, number + SIZE // 8)) for number in range(2 * FULL)]
            arrays = await asyncray.get(values)
            del values
        async with asyncray.init(cluster.address):
            others = [await (await asyncray.put(np.full(SIZE, 7, np.uint8))) for _ in range(2 * FULL)]
            await asyncio.sleep(0)
            assert [int(array.sum()) for array in arrays] == [sum_of(number) for number in range(2 * FULL)]
            assert all((other == 7).all() for other in others)
