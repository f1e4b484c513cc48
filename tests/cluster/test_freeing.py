"""`asyncray.util.free`, and what becomes of objects whose node dies, on real processes."""

from __future__ import annotations

from typing import Any

import pytest

import asyncray
import asyncray.sync
import asyncray.util
from asyncray.errors import ObjectFreedError, ObjectLostError
from asyncray.testing import Cluster

from .conftest import node_status
from .polling import eventually

MEGABYTE = 1 << 20


@asyncray.remote
class Keeper:
    def __init__(self, refs: list[asyncray.ObjectRef]) -> None:
        self.refs = refs

    async def lengths(self) -> list[int]:
        return [len(await ref) for ref in self.refs]

    def free(self) -> None:
        asyncray.sync.free(self.refs)


@asyncray.remote
def zeros(size: int) -> bytes:
    return bytes(size)


@asyncray.remote
def length(value: Any) -> int:
    return len(value)


@asyncray.remote
def frees_its_own() -> str:
    ref = asyncray.sync.put(bytes(MEGABYTE))
    asyncray.sync.free(ref)
    try:
        asyncray.sync.get(ref)
    except ObjectFreedError:
        return "freed"
    return "there"


async def store_is_empty() -> bool:
    status = await node_status()
    return not (status.store_objects or status.pins)


@pytest.mark.parametrize("size", [10, MEGABYTE])
async def test_what_is_freed_is_gone_for_owner_borrowers_and_tasks(size: int) -> None:
    async with asyncray.init(num_cpus=2):
        ref = await asyncray.put(bytes(size))
        keeper = Keeper.remote([ref])
        assert await keeper.lengths.remote() == [size]
        await asyncray.util.free(ref)
        for read in (ref, keeper.lengths.remote(), length.remote(ref)):
            with pytest.raises(ObjectFreedError, match="was freed"):
                await read
        await eventually(store_is_empty)


async def test_a_borrower_frees_for_all() -> None:
    async with asyncray.init(num_cpus=2):
        refs = [await asyncray.put(bytes(MEGABYTE)), zeros.remote(MEGABYTE)]
        await asyncray.wait(refs, num_returns=2)
        await Keeper.remote(refs).free.remote()
        await eventually(store_is_empty)
        for ref in refs:
            with pytest.raises(ObjectFreedError):
                await ref
        assert await frees_its_own.remote() == "freed"


async def test_what_is_read_already_stays_valid() -> None:
    import numpy as np

    async with asyncray.init(num_cpus=1):
        ref = await asyncray.put(np.arange(MEGABYTE))
        array = await ref
        await asyncray.util.free([ref])
        others = [await asyncray.put(np.zeros(MEGABYTE)) for _ in range(3)]
        assert array[-1] == MEGABYTE - 1
        del others


async def test_only_references_of_this_cluster_are_freed() -> None:
    with pytest.raises(TypeError, match="ObjectRef"):
        await asyncray.util.free("reference")  # type: ignore[arg-type]
    await asyncray.util.free([])


async def test_a_copy_takes_over_when_the_node_of_the_only_other_dies() -> None:
    async with Cluster() as cluster:
        await cluster.add_node(num_cpus=1)
        first = await cluster.add_node(num_cpus=1, resources={"first": 1})
        await cluster.add_node(num_cpus=1, resources={"second": 1})
        async with asyncray.init(address=cluster.address):
            copied, alone = (zeros.options(resources={"first": 0.1}).remote(MEGABYTE) for _ in range(2))
            await asyncray.wait([copied, alone], num_returns=2, fetch_local=False)
            assert await length.options(resources={"second": 1}).remote(copied) == MEGABYTE
            await cluster.kill_node(first)
            assert await copied == bytes(MEGABYTE)
            assert await length.options(resources={"second": 1}).remote(copied) == MEGABYTE
            with pytest.raises(ObjectLostError, match=r"returned by zeros\(\)"):
                await alone
