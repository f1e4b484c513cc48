"""Arrays from shared memory in a driver that has left a cluster which goes on: their memory is given to others."""

from __future__ import annotations

import numpy as np

import asyncray
from asyncray.testing import Cluster

STORE = 32 * 1024 * 1024
LENGTH = 500_000
SUM = LENGTH * (LENGTH - 1) // 2


@asyncray.remote
def numbers() -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.arange(LENGTH)


async def overwrite_all(address: str) -> None:
    """Fills the store until it is full of other values."""
    async with asyncray.init(address=address):
        refs = [await asyncray.put(np.full(LENGTH, 7)) for _ in range(STORE // (9 * LENGTH))]
        assert len({(await ref).ctypes.data for ref in refs}) == len(refs)


async def test_arrays_and_references_of_a_driver_that_has_left_keep_their_values() -> None:
    async with Cluster() as cluster:
        await cluster.add_node(object_store_memory=STORE)
        async with asyncray.init(address=cluster.address):
            result, put = numbers.remote(), await asyncray.put(np.arange(LENGTH))
            array, _ = await asyncray.get([result, put])
        for _ in range(2):
            await overwrite_all(cluster.address)
            assert array.sum() == SUM
            assert (await put).sum() == SUM
