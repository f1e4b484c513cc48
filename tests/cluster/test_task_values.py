"""Values of all sizes, as arguments and results: small ones inside of messages, large ones in shared memory."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import asyncray
from asyncray.errors import ObjectStoreFullError

from .conftest import node_status
from .polling import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("shared_cluster")]

INLINE = 100 * 1024
MEGABYTE = 1 << 20

Array = npt.NDArray[np.float64]


@asyncray.remote
def length(*values: Any, **named: Any) -> int:
    return sum(map(len, (*values, *named.values())))


@asyncray.remote
def zeros(size: int) -> bytes:
    return bytes(size)


@asyncray.remote
def total(array: Array) -> float:
    return float(array.sum())


@asyncray.remote
def counting(length: int) -> Array:
    return np.arange(length, dtype=float)


# ---- sizes


@pytest.mark.parametrize("size", [0, 1, INLINE - 100, INLINE - 10, INLINE, INLINE + 1, 3 * MEGABYTE])
async def test_a_value_of_any_size_is_passed_and_returned(size: int) -> None:
    assert await length.remote(bytes(size)) == size
    assert await zeros.remote(size) == bytes(size)
    ref = await asyncray.put(bytes(size))
    assert await ref == bytes(size)
    assert await length.remote(ref, bytes(size), x=bytes(size), y=ref) == 4 * size


async def test_large_arguments_and_references_mix() -> None:
    small, large = await asyncray.put(b"123"), await asyncray.put(bytes(MEGABYTE))
    ref = length.remote(
        small, bytes(MEGABYTE), large, large, a=small, b=bytes(200_000), c=large, d=zeros.remote(200_000)
    )
    assert await ref == 3 + MEGABYTE + 2 * MEGABYTE + 3 + 200_000 + MEGABYTE + 200_000


async def test_twenty_megabytes_go_there_and_back() -> None:
    array = np.arange(20 * MEGABYTE // 8, dtype=float)
    assert await total.remote(array) == array.sum()
    returned = await counting.remote(len(array))
    assert np.array_equal(returned, array)


async def test_a_large_result_goes_from_task_to_task_without_the_driver() -> None:
    ref = counting.remote(MEGABYTE)
    assert await total.remote(ref) == MEGABYTE * (MEGABYTE - 1) / 2
    assert ref._reference.value.pin is None, "nobody here has asked for it"


async def test_several_large_returns_are_separate_objects() -> None:
    @asyncray.remote(num_returns=3)
    def parts() -> tuple[bytes, bytes, bytes]:
        return bytes(MEGABYTE), b"small", bytes(2 * MEGABYTE)

    first, second, third = parts.remote()
    assert (len(await first), await second, len(await third)) == (MEGABYTE, b"small", 2 * MEGABYTE)


async def test_many_tasks_take_the_same_large_argument() -> None:
    ref = await asyncray.put(np.ones(MEGABYTE))
    assert set(await asyncio.gather(*(total.remote(ref) for _ in range(50)))) == {MEGABYTE}


async def test_large_values_of_actors_travel_as_those_of_tasks_do() -> None:
    @asyncray.remote
    class Archive:
        def __init__(self, array: Array) -> None:
            self._array = array

        def sum_with(self, other: Array) -> float:
            return float((self._array + other).sum())

        def array(self) -> Array:
            return self._array

        async def later(self, other: Array) -> Array:
            return other + 1

    ones = np.ones(MEGABYTE)
    archive = Archive.remote(ones)
    assert await archive.sum_with.remote(ones) == 2 * MEGABYTE
    assert await archive.sum_with.remote(archive.array.remote()) == 2 * MEGABYTE
    assert (await archive.later.remote(archive.array.remote())).sum() == 2 * MEGABYTE


# ---- without copies


async def test_large_arrays_are_read_only_views_and_small_ones_are_copies() -> None:
    large, small = counting.remote(MEGABYTE), counting.remote(10)
    first, second = await large, await large
    assert not first.flags.writeable
    assert np.shares_memory(first, second)
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 1
    own = await small
    own[0] = 1
    assert (await small)[0] == 0


async def test_a_task_cannot_change_its_callers_array() -> None:
    @asyncray.remote
    def change(array: Array) -> None:
        array[0] = 1

    ref = await asyncray.put(np.zeros(MEGABYTE))
    with pytest.raises(ValueError, match="read-only"):
        await change.remote(ref)
    assert (await ref)[0] == 0


async def test_a_view_outlives_its_reference() -> None:
    array = await counting.remote(MEGABYTE)
    part = array[1000:2000]
    del array
    others = [await asyncray.put(np.full(MEGABYTE, 7.0)) for _ in range(3)]
    assert np.array_equal(part, np.arange(1000, 2000))
    del part, others
    await eventually(_store_is_empty)


async def _store_is_empty() -> bool:
    status = await node_status()
    return (status.store_objects, status.pins) == (0, 0)


async def test_an_object_leaves_the_store_when_its_last_reference_goes() -> None:
    kept = await asyncray.put(np.ones(MEGABYTE))
    dropped = [counting.remote(MEGABYTE) for _ in range(3)]
    await asyncio.wait(dropped)
    assert (await node_status()).store_objects == 4
    del dropped

    async def one_is_left() -> bool:
        return (await node_status()).store_objects == 1

    await eventually(one_is_left)
    assert (await kept).sum() == MEGABYTE
    del kept
    await eventually(_store_is_empty)


async def test_a_result_that_nobody_wants_does_not_stay_in_the_store() -> None:
    counting.remote(MEGABYTE)
    zeros.options(num_returns=1).remote(MEGABYTE)
    await counting.remote(1)
    await eventually(_store_is_empty)


async def test_what_can_never_fit_is_refused_with_the_sizes() -> None:
    capacity = (await node_status()).store_capacity

    class Huge:
        """Claims to be larger than the store."""

        def __reduce_ex__(self, protocol: int) -> Any:
            import pickle

            return bytes, (pickle.PickleBuffer(huge),)

    huge = np.broadcast_to(np.uint8(0), (capacity + 1,))
    if capacity > 64 * 1024 * MEGABYTE:
        pytest.skip("the store is larger than a test should map")
    import mmap

    huge = mmap.mmap(-1, capacity + 1, prot=mmap.PROT_READ)  # takes address space, but no memory
    with pytest.raises(ObjectStoreFullError, match=rf"cannot fit the node's object store of {capacity} bytes"):
        await asyncray.put(Huge())
