"""Objects that do not fit into memory together: on disk, and back."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import asyncray
from asyncray import ObjectRef
from asyncray.errors import AsyncrayError, ObjectStoreFullError
from asyncray.testing import Cluster

from .polling import eventually

MEMORY = 32_000_000
SIZE = 2_000_000
COUNT = 5 * MEMORY // SIZE

Array = NDArray[np.int64]


@asyncray.remote
def make(number: int) -> Array:
    return np.arange(number, number + SIZE // 8)


@asyncray.remote
def add(left: Array, right: Array) -> Array:
    return left + right


async def check(ref: ObjectRef, first: int, step: int = 1) -> None:
    value = await ref
    assert value[0] == first and value[-1] == first + step * (SIZE // 8 - 1)
    assert int(value.sum()) == (int(value[0]) + int(value[-1])) * value.size // 2


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_outputs_of_five_times_the_memory_are_kept_and_read(tmp_path: Path) -> None:
    async with asyncray.init(num_cpus=2, object_store_memory=MEMORY, object_spilling_directory=str(tmp_path)):
        refs = [make.remote(number) for number in range(COUNT)]
        for turn in range(2):
            for number in range(COUNT):
                await check(refs[(number * 7) % COUNT], (number * 7) % COUNT)
            assert files(tmp_path), f"nothing was spilled in turn {turn}"
        assert {path.stat().st_mode & 0o777 for path in files(tmp_path)} == {0o600}
        refs.clear()
        await eventually(lambda: not files(tmp_path))
    assert os.listdir(tmp_path) == []


async def test_tasks_read_two_spilled_objects_each() -> None:
    async with asyncray.init(num_cpus=4, object_store_memory=MEMORY):
        refs = [make.remote(number) for number in range(COUNT)]
        sums = [add.remote(refs[number], refs[-1 - number]) for number in range(COUNT)]
        for ref in sums:
            await check(ref, COUNT - 1, step=2)


async def test_several_directories_take_turns(tmp_path: Path) -> None:
    """One that is still writing when it has its turn is passed over."""
    folders = [tmp_path / "one", tmp_path / "two"]
    async with asyncray.init(
        num_cpus=1, object_store_memory=MEMORY, object_spilling_directory=[str(folder) for folder in folders]
    ):
        refs = [await asyncray.put(np.full(SIZE, number % 251, np.uint8)) for number in range(COUNT)]
        counts = [len(files(folder)) for folder in folders]
        assert 3 * min(counts) >= sum(counts)
        for number, ref in enumerate(refs):
            assert (await ref == number % 251).all()


@pytest.mark.parametrize("scheme", ["file", "memory"])
async def test_objects_are_spilled_to_an_external_store(scheme: str, tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    url = f"file://{tmp_path}" if scheme == "file" else "memory://spilled"
    async with asyncray.init(num_cpus=1, object_store_memory=MEMORY, object_spilling_directory=url):
        refs = [make.remote(number) for number in range(COUNT)]
        for number, ref in enumerate(refs):
            await check(ref, number)
        assert bool(files(tmp_path)) == (scheme == "file")
    assert files(tmp_path) == []


async def test_a_node_without_room_reads_what_another_one_has_spilled() -> None:
    async with Cluster() as cluster:
        await cluster.add_node(num_cpus=1, object_store_memory=MEMORY, resources={"maker": 1})
        await cluster.add_node(num_cpus=1, object_store_memory=MEMORY, resources={"reader": 1})
        async with asyncray.init(cluster.address):
            refs = [make.options(resources={"maker": 0.01}).remote(number) for number in range(COUNT)]
            sums = [
                add.options(resources={"reader": 0.01}).remote(refs[number], refs[-1 - number])
                for number in range(COUNT // 2)
            ]
            for ref in sums:
                await check(ref, COUNT - 1, step=2)


async def test_what_is_larger_than_the_memory_says_so_at_once() -> None:
    async with asyncray.init(num_cpus=1, object_store_memory=MEMORY):
        with pytest.raises(ObjectStoreFullError, match=rf"640001\d\d bytes .* {MEMORY} bytes"):
            await asyncio.wait_for(asyncray.put(np.zeros(2 * MEMORY, np.uint8)), 10)


async def test_an_unusable_directory_is_an_error_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AsyncrayError, match="cannot be spilled"):
        await asyncray.init(object_spilling_directory=os.fspath(tmp_path / "file"))
    with pytest.raises(AsyncrayError, match="cannot be spilled"):
        await asyncray.init(object_spilling_directory="nowhere://bucket")
