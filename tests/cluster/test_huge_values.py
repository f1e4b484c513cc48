"""A value of more bytes than a signed 32-bit length can say. Takes its size in memory, and seconds."""

from __future__ import annotations

from typing import Any

import numpy as np
import psutil
import pytest

import asyncray

from .conftest import node_status
from .polling import eventually

SIZE = (1 << 31) + (100 << 20)
ROOM = SIZE + (1 << 28)

pytestmark = [
    pytest.mark.skipif(psutil.virtual_memory().available < 2 * ROOM, reason="needs 5 GB of free memory"),
    pytest.mark.timeout(180),
]


@asyncray.remote
def ends(value: dict[str, Any]) -> tuple[int, list[int], bool]:
    array = value["array"]
    return array.nbytes, array[[0, SIZE // 2, 1 << 31, -1]].tolist(), array.flags.writeable


async def test_an_array_of_more_than_2_gib_goes_through_the_store() -> None:
    array = np.zeros(SIZE, "u1")  # of which the pages that nobody writes to take no memory
    array[[0, SIZE // 2, 1 << 31, -1]] = 1, 2, 3, 4
    async with asyncray.init(num_cpus=1, object_store_memory=ROOM):
        ref = await asyncray.put({"array": array, "after": [b"x" * 100_000]})
        value = await ref
        assert value["array"][[0, SIZE // 2, 1 << 31, -1]].tolist() == [1, 2, 3, 4]
        assert value["after"] == [b"x" * 100_000]
        assert await ends.remote(ref) == (SIZE, [1, 2, 3, 4], False)
        del value, ref

        async def is_empty() -> bool:
            return (await node_status()).store_objects == 0

        await eventually(is_empty)
