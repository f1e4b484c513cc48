"""Values that were read make room for others when memory is short, but for those that somebody counts on."""

from __future__ import annotations

import asyncio
import gc

import asyncray
from asyncray.errors import ObjectStoreFullError
from asyncray.testing import SimCluster, simulated

MIB = 1 << 20


async def late(seconds: float) -> bytes:
    await asyncio.sleep(seconds)
    return bytes(MIB)


@simulated(seeds=2)
async def test_what_gather_has_been_told_of_is_there_when_it_has_all(cluster: SimCluster) -> None:
    await cluster.add_node(num_cpus=2, object_store_memory=8 * MIB)
    async with asyncray.init():
        read = await asyncray.put(bytes(5 * MIB))
        assert len(await read) == 5 * MIB
        both = asyncio.gather(read, asyncray.remote(late).remote(5))
        await asyncio.sleep(1)
        await read
        await asyncio.sleep(1)
        other = await asyncray.put(bytes(4 * MIB))  # for which what was read would have to go
        assert [len(value) for value in await asyncio.wait_for(both, 60)] == [5 * MIB, MIB]
        del both
        gc.collect()
        third = await asyncray.put(bytes(4 * MIB))
        await asyncio.sleep(1)
        assert not read.done() and len(await third) == len(await other) == 4 * MIB


@asyncray.remote
def large() -> bytes:
    return bytes(20 * MIB)


@simulated(seeds=2)
async def test_gather_is_told_in_the_end_that_there_was_no_room_for_a_value(cluster: SimCluster) -> None:
    await cluster.add_node(num_cpus=1, object_store_memory=8 * MIB)
    await cluster.add_node(num_cpus=1, object_store_memory=64 * MIB, resources={"room": 1})
    async with asyncray.init():
        there = large.options(resources={"room": 1}).remote()
        both = asyncio.gather(there, asyncray.remote(late).remote(10), return_exceptions=True)
        failure, value = await asyncio.wait_for(both, 60)
        assert isinstance(failure, ObjectStoreFullError) and len(value) == MIB
        del both
        gc.collect()
        await asyncio.sleep(5)
        assert not there.done()  # there may be room now: it is asked for again
