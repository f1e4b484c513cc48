"""The processes that run tasks: started ahead, noticed when they die, replaced."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

import asyncray
from asyncray.errors import WorkerCrashedError

from .conftest import node_status
from .gates import busy_until, running
from .polling import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("shared_cluster")]


@asyncray.remote
def pid() -> int:
    return os.getpid()


@asyncray.remote
def identity(value: Any) -> Any:
    return value


async def test_as_many_workers_are_started_ahead_as_there_are_cpus() -> None:
    async def all_are_idle() -> bool:
        status = await node_status()
        return (status.workers, status.idle_workers) == (2, 2)

    await eventually(all_are_idle)


async def test_tasks_use_the_workers_that_are_there() -> None:
    pids = set(await asyncio.gather(*(pid.remote() for _ in range(100))))
    assert len(pids) <= 2
    assert os.getpid() not in pids


async def test_workers_are_named_descendants_of_the_driver() -> None:
    worker = psutil.Process(await pid.remote())
    assert psutil.Process() in worker.parents()


async def test_no_more_tasks_run_at_a_time_than_there_are_cpus(tmp_path: Path) -> None:
    done = tmp_path / "done"
    refs = [busy_until.remote(done, number) for number in range(4)]
    await eventually(lambda: len(running(done)) == 2)
    status = await node_status()
    assert (status.leases, status.node.available.get("CPU", 0)) == (2, 0)
    assert len(running(done)) == 2
    done.touch()
    assert await asyncio.gather(*refs) == [0, 1, 2, 3]


@pytest.mark.parametrize("cpus", [0.5, 0.25])
async def test_shares_of_a_cpu_add_up(tmp_path: Path, cpus: float) -> None:
    done = tmp_path / "done"
    room = int(2 / cpus)
    refs = [busy_until.options(num_cpus=cpus).remote(done) for _ in range(room + 1)]
    await eventually(lambda: len(running(done)) == room)
    assert len(running(done)) == room
    done.touch()
    await asyncio.gather(*refs)


async def test_one_slow_task_does_not_hold_up_the_quick_ones_behind_it(tmp_path: Path) -> None:
    done = tmp_path / "done"
    done.touch()
    await asyncio.gather(*(busy_until.remote(done) for _ in range(50)))  # known to be quick: sent ahead in batches
    slow = tmp_path / "slow"
    refs = [busy_until.remote(slow if number == 7 else done, number) for number in range(100)]
    quick = [ref for number, ref in enumerate(refs) if number != 7]
    assert await asyncio.gather(*quick) == [number for number in range(100) if number != 7]
    assert not refs[7].done()
    slow.touch()
    assert await refs[7] == 7


@pytest.mark.parametrize("retries", [0, 1])
async def test_the_death_of_a_worker_is_noticed_at_once(tmp_path: Path, retries: int) -> None:
    done = tmp_path / "done"
    ref = busy_until.options(max_retries=retries).remote(done)
    for attempt in range(retries + 1):
        await eventually(lambda attempt=attempt: len(running(done)) == attempt + 1)
        (victim,) = [pid for pid in running(done) if psutil.pid_exists(pid)]
        killed = time.monotonic()
        os.kill(victim, 9)
    with pytest.raises(WorkerCrashedError, match="killed by SIGKILL"):
        await ref
    assert time.monotonic() - killed < 1


async def test_a_dead_worker_is_replaced() -> None:
    os.kill(await pid.remote(), 9)

    async def all_are_there() -> bool:
        status = await node_status()
        return status.idle_workers >= 2 and status.node.available.get("CPU") == 2

    await eventually(all_are_there)
    assert await asyncio.gather(*(identity.remote(number) for number in range(20))) == list(range(20))


async def test_an_idle_worker_that_dies_harms_nobody() -> None:
    pids = set(await asyncio.gather(*(pid.remote() for _ in range(20))))

    async def is_idle() -> bool:
        return (await node_status()).leases == 0

    await eventually(is_idle)
    for worker in pids:
        os.kill(worker, 9)
    assert pids.isdisjoint(await asyncio.gather(*(pid.remote() for _ in range(20))))


async def test_resources_that_nobody_has_are_waited_for() -> None:
    ref = identity.options(resources={"moonstone": 1}).remote(1)
    too_many = identity.options(num_cpus=3).remote(1)
    assert await identity.remote(2) == 2
    assert await asyncray.wait([ref, too_many], timeout=0.05) == ([], [ref, too_many])
    await asyncray.cancel(ref)
    await asyncray.cancel(too_many)
