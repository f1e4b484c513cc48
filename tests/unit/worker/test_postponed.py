"""Tasks that wait before they run again, because memory ran short."""

from __future__ import annotations

import asyncio

import pytest

from asyncray.config import Config
from asyncray.worker.postponed import Postponed
from asyncray.worker.reference import Reference
from asyncray.worker.task import PendingTask, Template

CONFIG = Config(memory_retry_delay=0.01, memory_retry_delay_limit=0.05)


def task_after(deaths: int, max_retries: int = 10) -> PendingTask:
    task = PendingTask(b"t" * 16, Template(1, b"f" * 16, "f", 1, max_retries=max_retries), b"", Reference(b"o" * 20))
    task.retries -= deaths
    return task


@pytest.mark.parametrize("max_retries", [10, -1])
async def test_each_death_doubles_the_delay_up_to_the_limit(max_retries: int) -> None:
    postponed = Postponed(asyncio.get_running_loop(), CONFIG, lambda task: None)
    delays = [postponed.add(task_after(deaths, max_retries)) for deaths in (1, 2, 3, 4, 5)]
    assert delays == [0.01, 0.02, 0.04, 0.05, 0.05]
    postponed.close()


async def test_a_task_that_was_not_charged_waits_as_after_the_first_death() -> None:
    postponed = Postponed(asyncio.get_running_loop(), CONFIG, lambda task: None)
    assert postponed.add(task_after(0)) == 0.01
    postponed.close()


async def test_a_million_retries_do_not_make_a_large_number() -> None:
    postponed = Postponed(asyncio.get_running_loop(), CONFIG, lambda task: None)
    assert postponed.add(task_after(1_000_000, -1)) == 0.05
    postponed.close()


async def test_it_goes_on_once_when_its_time_has_come() -> None:
    resumed: asyncio.Queue[PendingTask] = asyncio.Queue()
    postponed = Postponed(asyncio.get_running_loop(), CONFIG, resumed.put_nowait)
    task = task_after(1)
    postponed.add(task)
    assert list(postponed) == [task]
    async with asyncio.timeout(5):
        assert await resumed.get() is task
    assert list(postponed) == []
    assert not postponed.drop(task)


async def test_what_was_cancelled_does_not_go_on() -> None:
    resumed: asyncio.Queue[PendingTask] = asyncio.Queue()
    postponed = Postponed(asyncio.get_running_loop(), CONFIG, resumed.put_nowait)
    dropped, kept = task_after(1), task_after(2)
    postponed.add(dropped)
    postponed.add(kept)
    assert postponed.drop(dropped)
    async with asyncio.timeout(5):
        assert await resumed.get() is kept
    assert resumed.empty()
