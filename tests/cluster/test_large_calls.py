"""Calls whose arguments or results are small each, and too large together for one message."""

from __future__ import annotations

from typing import Any

import pytest

import asyncray

from .conftest import node_status
from .polling import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("shared_cluster")]


@asyncray.remote
def lengths(*values: Any) -> list[int]:
    return list(map(len, values))


@asyncray.remote
def pieces(count: int, size: int) -> list[bytes]:
    return [bytes(size)] * count


@asyncray.remote
class Keeper:
    def __init__(self, *values: bytes) -> None:
        self.total = sum(map(len, values))

    async def add(self, *values: bytes) -> int:
        self.total += sum(map(len, values))
        return self.total


@asyncray.remote
def relayed(refs: list[asyncray.ObjectRef]) -> list[int]:
    result: list[int] = asyncray.sync.get(lengths.remote(*refs))
    return result


@pytest.mark.parametrize(("count", "size"), [(40, 90_000), (10_000, 5_000)])
async def test_arguments_that_are_too_large_together_arrive_all_the_same(count: int, size: int) -> None:
    refs = [await asyncray.put(bytes(size)) for _ in range(count)]
    assert await lengths.remote(*refs) == [size] * count


async def test_some_of_them_come_several_times_or_are_in_the_store() -> None:
    refs = [await asyncray.put(bytes(90_000)) for _ in range(20)]
    large = await asyncray.put(bytes(300_000))
    many = [90_000] * 20
    assert await lengths.remote(*refs, large, *refs, b"1", large) == [*many, 300_000, *many, 1, 300_000]


async def test_actors_take_them_too() -> None:
    refs = [await asyncray.put(bytes(90_000)) for _ in range(30)]
    keeper = Keeper.remote(*refs)
    assert await keeper.add.remote(*refs) == 60 * 90_000


async def test_a_borrower_can_pass_them_on() -> None:
    refs = [await asyncray.put(bytes(90_000)) for _ in range(30)]
    assert await relayed.remote(refs) == [90_000] * 30


async def test_references_inside_of_them_are_kept() -> None:
    inner = [await asyncray.put(bytes(10)) for _ in range(20)]
    outer = [await asyncray.put([ref, bytes(90_000)]) for ref in inner]

    @asyncray.remote
    def inside(*values: Any) -> int:
        return sum(map(len, asyncray.sync.get([ref for ref, _ in values])))

    del inner
    assert await inside.remote(*outer) == 200


async def test_one_that_has_failed_fails_the_call() -> None:
    @asyncray.remote
    def fails() -> bytes:
        raise ValueError("no value")

    refs = [await asyncray.put(bytes(90_000)) for _ in range(30)]
    with pytest.raises(ValueError, match="no value"):
        await lengths.remote(*refs, fails.remote())


@pytest.mark.parametrize(("count", "size"), [(3_000, 10), (3_000, 1_000), (40, 90_000)])
async def test_results_that_are_too_large_together_arrive_all_the_same(count: int, size: int) -> None:
    refs = pieces.options(num_returns=count).remote(count, size)
    assert list(map(len, await asyncray.get(refs))) == [size] * count
    del refs
    await eventually(store_is_empty)


async def store_is_empty() -> bool:
    return (await node_status()).store_used == 0
