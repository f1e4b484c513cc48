"""Rows: objects, small and large."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncray
from asyncray import sync
from asyncray.benchmark.row import Calls, Throughput
from asyncray.benchmark.workloads import (
    list_of_references,
    put_arrays,
    put_arrays_blocking,
    put_small,
    put_small_blocking,
    size_of,
)

BATCH = 100
"""Operations in a row without a wait; then the loop has its turn, as in any program that does something else."""
LARGE = 100 * 1024 * 1024
"""Length of the array of 0.8 GB (as Ray counts it) that is put at once."""
MEDIUM = 50_000_000
"""Bytes."""
REFERENCES = 10_000
TASKS = 10


class GetSmall(Throughput):
    name = "single client get calls (Plasma Store)"
    goal = 200_000
    amount = BATCH

    async def prepare(self, blocking: bool) -> None:
        self._ref = await asyncray.put(0)

    async def run(self) -> None:
        for _ in range(BATCH):
            await asyncray.get(self._ref)
        await asyncio.sleep(0)

    def run_blocking(self) -> None:
        for _ in range(BATCH):
            sync.get(self._ref)


class PutSmall(Throughput):
    name = "single client put calls (Plasma Store)"
    goal = 50_000
    amount = BATCH

    async def run(self) -> None:
        for _ in range(BATCH):
            await asyncray.put(0)
        await asyncio.sleep(0)

    def run_blocking(self) -> None:
        for _ in range(BATCH):
            sync.put(0)


class MultiClientPutSmall(Calls):
    name = "multi client put calls (Plasma Store)"
    goal = 40_000
    amount = TASKS * BATCH

    async def prepare(self, blocking: bool) -> None:
        self._function = put_small_blocking if blocking else put_small

    def submit(self) -> Any:
        return [self._function.remote(BATCH) for _ in range(TASKS)]


class PutLarge(Throughput):
    name = "single client put gigabytes"
    unit = "GB/s"
    goal = 6
    amount = 8 * 0.1
    needs_numpy = True

    async def prepare(self, blocking: bool) -> None:
        import numpy

        self._array = numpy.zeros(LARGE, dtype=numpy.int64)

    async def run(self) -> None:
        await asyncray.put(self._array)

    def run_blocking(self) -> None:
        sync.put(self._array)


class MultiClientPutLarge(Calls):
    name = "multi client put gigabytes"
    unit = "GB/s"
    goal = 10
    amount = TASKS * 8 * 0.1
    needs_numpy = True

    async def prepare(self, blocking: bool) -> None:
        self._function = put_arrays_blocking if blocking else put_arrays

    def submit(self) -> Any:
        return [self._function.remote(10, LARGE // 10) for _ in range(TASKS)]


class PutAndGetMedium(Throughput):
    name = "put + get of 50 MB"
    unit = "GB/s"
    goal = 6
    amount = MEDIUM / 1e9
    needs_numpy = True

    async def prepare(self, blocking: bool) -> None:
        import numpy

        self._array = numpy.ones(MEDIUM // 8)

    async def run(self) -> None:
        await asyncray.get(await asyncray.put(self._array))

    def run_blocking(self) -> None:
        sync.get(sync.put(self._array))


class TasksWithMediumObject(Calls):
    name = "500 tasks that take one 50 MB object"
    goal = 5_000
    amount = 500
    needs_numpy = True

    async def prepare(self, blocking: bool) -> None:
        import numpy

        self._ref = await asyncray.put(numpy.ones(MEDIUM // 8))

    def submit(self) -> Any:
        return [size_of.remote(self._ref) for _ in range(500)]


class GetReferences(Throughput):
    name = "single client get object containing 10k refs"
    goal = 30

    async def prepare(self, blocking: bool) -> None:
        self._ref = list_of_references.remote(REFERENCES)
        await asyncray.wait([self._ref])

    async def run(self) -> None:
        await asyncray.get(self._ref)

    def run_blocking(self) -> None:
        sync.get(self._ref)


class GetManyObjects(Calls):
    name = "get of 10,000 objects"
    unit = "objects/s"
    amount = REFERENCES

    async def prepare(self, blocking: bool) -> None:
        self._refs = [await asyncray.put(number) for number in range(REFERENCES)]

    def submit(self) -> Any:
        return self._refs


ROWS = (
    GetSmall,
    PutSmall,
    MultiClientPutSmall,
    PutLarge,
    MultiClientPutLarge,
    GetReferences,
    PutAndGetMedium,
    TasksWithMediumObject,
    GetManyObjects,
)
