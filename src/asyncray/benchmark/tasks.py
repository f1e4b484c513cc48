"""Rows: tasks."""

from __future__ import annotations

from typing import Any

import asyncray
from asyncray import sync
from asyncray.benchmark.row import Calls, Throughput
from asyncray.benchmark.workloads import client_class, number_of, small_value

CLIENTS = 4
TASKS_OF_CLIENT = 10_000
ARGUMENTS = 10_000
RETURNS = 3_000


class TasksAndGetBatch(Calls):
    name = "single client tasks and get batch"

    def submit(self) -> Any:
        return [small_value.remote() for _ in range(1000)]


class TasksSync(Calls):
    name = "single client tasks sync"
    goal = 2_500

    def submit(self) -> Any:
        return small_value.remote()


class TasksAsync(Calls):
    name = "single client tasks async"
    goal = 25_000
    amount = 1000

    def submit(self) -> Any:
        return [small_value.remote() for _ in range(1000)]


class MultiClientTasksAsync(Calls):
    name = "multi client tasks async"
    goal = 20_000
    amount = CLIENTS * TASKS_OF_CLIENT

    async def prepare(self, blocking: bool) -> None:
        self._clients = [client_class(blocking).remote() for _ in range(CLIENTS)]

    def submit(self) -> Any:
        return [client.tasks.remote(TASKS_OF_CLIENT) for client in self._clients]


class WaitOneByOne(Throughput):
    name = "single client wait 1k refs"
    goal = 20

    async def run(self) -> None:
        left = [small_value.remote() for _ in range(1000)]
        while left:
            _, left = await asyncray.wait(left)

    def run_blocking(self) -> None:
        left = [small_value.remote() for _ in range(1000)]
        while left:
            _, left = sync.wait(left)


class ManyArguments(Calls):
    name = "10,000 object arguments to a task"
    unit = "args/s"
    amount = ARGUMENTS

    async def prepare(self, blocking: bool) -> None:
        self._arguments = [await asyncray.put(number) for number in range(ARGUMENTS)]

    def submit(self) -> Any:
        return number_of.remote(*self._arguments)


class ManyReturns(Calls):
    name = "3,000 returns of a task"
    unit = "returns/s"
    amount = RETURNS

    async def prepare(self, blocking: bool) -> None:
        self._function = asyncray.remote(num_returns=RETURNS)(lambda: range(RETURNS))

    def submit(self) -> Any:
        return self._function.remote()


ROWS = (
    TasksAndGetBatch,
    WaitOneByOne,
    TasksSync,
    TasksAsync,
    MultiClientTasksAsync,
    ManyArguments,
    ManyReturns,
)
