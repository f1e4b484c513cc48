"""Large values of NumPy, pandas, Arrow and torch: read where they lie, by every process of the node."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import asyncray

from .conftest import node_status
from .polling import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("shared_cluster")]

SIZE = 40 << 20
LENGTH = SIZE // 8
TOTAL = LENGTH * (LENGTH - 1) / 2
ARENA = "memfd:asyncray-arena"
SMALL = SIZE // 4
"""Bytes. What a process may take for itself while it reads `SIZE` of them."""

Make = Callable[[], Any]


def make_numpy() -> Any:
    return np.arange(LENGTH, dtype=float)


def make_dates() -> Any:
    return np.arange(LENGTH).astype("M8[s]")


def make_pandas() -> Any:
    import pandas

    return pandas.DataFrame({"n": np.arange(LENGTH, dtype=float)})


def make_arrow() -> Any:
    import pyarrow

    return pyarrow.table({"n": np.arange(LENGTH, dtype=float)})


def make_torch() -> Any:
    import torch

    return torch.arange(LENGTH, dtype=torch.float64)


def make_nested() -> Any:
    return {"a": [1, (make_numpy(), "text")]}


needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="torch is installed by the extra `torch`"
)
MAKERS = [
    make_numpy,
    make_dates,
    make_pandas,
    make_arrow,
    make_nested,
    pytest.param(make_torch, marks=needs_torch),
]


def numbers(value: Any) -> np.ndarray[Any, Any]:
    """The array that lies in the memory of the value."""
    kind = type(value).__module__.split(".")[0]
    if kind == "pandas":
        found = value["n"].to_numpy()
    elif kind == "pyarrow":
        found = value["n"].chunk(0).to_numpy()
    elif kind == "torch":
        found = value.numpy()
    elif kind == "builtins":
        found = value["a"][1][0]
    else:
        found = value
    return np.asarray(found)


def total(value: Any) -> float:
    return float(numbers(value).view("i8" if numbers(value).dtype.kind == "M" else "f8").sum())


def file_at(address: int) -> str:
    """The file that is mapped there."""
    with open("/proc/self/maps") as maps:
        for line in maps:
            span, *_, name = line.split(maxsplit=5)
            start, end = (int(part, 16) for part in span.split("-"))
            if start <= address < end:
                return name
    return ""


def private_memory() -> int:
    """Bytes that this process has for itself, shared memory not counted."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("RssAnon"))


def lies_in_the_arena(value: Any) -> bool:
    return ARENA in file_at(numbers(value).ctypes.data)


@asyncray.remote
def look(value: Any) -> tuple[float, bool, int]:
    before = private_memory()
    return total(value), lies_in_the_arena(value), private_memory() - before


@asyncray.remote
def run(make: Make) -> Any:
    return make()


@asyncray.remote(num_cpus=0)
class Keeper:
    def __init__(self) -> None:
        self._kept: Any = None

    def keep(self, value: Any) -> None:
        self._kept = value

    def look(self) -> tuple[float, bool]:
        return total(self._kept), lies_in_the_arena(self._kept)

    def give(self) -> Any:
        return self._kept


async def store_is_empty() -> bool:
    gc.collect()
    status = await node_status()
    return (status.store_objects, status.pins) == (0, 0)


@pytest.mark.parametrize("make", MAKERS)
async def test_what_is_put_is_read_where_it_lies(make: Make) -> None:
    original = make()
    ref = await asyncray.put(original)
    assert total(await ref) == TOTAL  # by now, all that it takes has been imported
    before = private_memory()
    values = [await ref for _ in range(5)]
    assert [total(value) for value in values] == [TOTAL] * 5
    assert all(map(lies_in_the_arena, values))
    assert private_memory() - before < SMALL
    assert type(values[0]) is type(original)


@pytest.mark.parametrize("make", MAKERS)
async def test_arguments_and_results_are_read_where_they_lie(make: Make) -> None:
    result = run.remote(make)
    await look.remote(result)
    sum_there, in_arena, grown = await look.remote(result)
    assert (sum_there, in_arena) == (TOTAL, True)
    assert grown < SMALL
    value = await result
    assert total(value) == TOTAL
    assert lies_in_the_arena(value)


@pytest.mark.parametrize("make", MAKERS)
async def test_an_actor_keeps_a_view_for_longer_than_the_object_lives(make: Make) -> None:
    keeper = Keeper.remote()
    await keeper.keep.remote(make())
    gc.collect()
    others = [await asyncray.put(np.full(LENGTH, n)) for n in range(3)]
    assert await keeper.look.remote() == (TOTAL, True)
    assert total(await keeper.give.remote()) == TOTAL
    del others, keeper
    await eventually(store_is_empty)


@pytest.mark.parametrize("make", MAKERS)
async def test_a_view_keeps_its_block_when_the_object_is_freed_and_others_come(make: Make) -> None:
    ref = await asyncray.put(make())
    value = await ref
    mine = numbers(value)
    del value, ref
    gc.collect()
    await asyncray.put(0)
    others = []
    for n in range(4):  # each as large, so that the block would do
        other = await asyncray.put(np.full(LENGTH, -1 - n, dtype=float))
        others.append((other, await other))
    assert float(mine.view("i8" if mine.dtype.kind == "M" else "f8").sum()) == TOTAL
    assert not any(np.shares_memory(mine, array) for _, array in others)
    del mine, other, others
    await eventually(store_is_empty)


async def test_writing_to_a_view_raises_and_to_a_copy_does_not() -> None:
    import pandas
    import pyarrow

    array, frame, table, view = await asyncio.gather(
        asyncray.put(make_numpy()),
        asyncray.put(make_pandas()),
        asyncray.put(pyarrow.table({"n": np.arange(LENGTH, dtype=float)})),
        asyncray.put(memoryview(bytearray(SIZE))),
    )
    read, columns, arrow, bytes_there = await asyncray.get([array, frame, table, view])
    with pytest.raises(ValueError, match="read-only"):
        read[0] = 1
    with pytest.raises(ValueError, match="read-only"):
        np.add(read, 1, out=read)
    with pytest.raises(ValueError, match="read-only"):
        columns.loc[0, "n"] = 1
    with pytest.raises(ValueError, match="read-only"):
        arrow["n"].chunk(0).to_numpy()[0] = 1
    with pytest.raises(TypeError, match="read-only"):
        bytes_there[0] = 1
    own = read.copy()
    own[0] = 1
    frame_of_own = columns.copy()
    frame_of_own.loc[0, "n"] = 1
    assert isinstance(columns, pandas.DataFrame)
    assert (await array)[0] == (await frame).loc[0, "n"] == 0


async def test_an_error_from_a_task_that_writes_to_its_argument_says_how_to_get_a_copy() -> None:
    @asyncray.remote
    def change(array: Any) -> None:
        array[0] = 1

    with pytest.raises(ValueError, match="read-only") as raised:
        await change.remote(make_numpy())
    assert "copy()" in str(raised.value.__cause__)
    with pytest.raises(TypeError, match="read-only") as other:
        await change.remote(memoryview(bytearray(SIZE)))
    assert "copy()" in str(other.value.__cause__)


@needs_torch
async def test_a_tensor_that_is_written_to_becomes_the_writers_own() -> None:
    @asyncray.remote
    def change(tensor: Any) -> float:
        tensor += 1
        return float(tensor.sum())

    ref = await asyncray.put(make_torch())
    first, second = await ref, await ref
    before = private_memory()
    first[5] = -1
    assert private_memory() - before < 1 << 20
    assert (first[5], second[5], (await ref)[5]) == (-1, 5, 5)
    assert await change.remote(ref) == TOTAL + LENGTH
    assert total(await ref) == total(second) == TOTAL
