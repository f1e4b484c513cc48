"""`kill -9` of each process of a cluster: the others notice, clean up, and say so."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

import asyncray
from asyncray.errors import ActorError, AsyncrayError, NodeDiedError, WorkerCrashedError

from ..conftest import Surroundings
from .daemons import daemon, has_ended
from .gates import busy_until, running
from .polling import eventually

SOON = 5.0
"""Seconds after which nothing of a cluster may be left when its driver has died."""


@asyncray.remote
def identity(value: Any) -> Any:
    return value


@asyncray.remote
class Actor:
    def pid(self) -> int:
        return os.getpid()


@dataclass
class Cluster:
    """The processes of an embedded cluster."""

    daemon: psutil.Process
    zygote: psutil.Process

    @classmethod
    def of_driver(cls, pid: int) -> Cluster:
        children = [child for child in psutil.Process(pid).children() if not has_ended(child)]
        (daemon,) = [child for child in children if "asyncray.daemon" in child.cmdline()]
        (zygote,) = daemon.children()
        return cls(daemon, zygote)

    @property
    def workers(self) -> list[psutil.Process]:
        return self.zygote.children()


async def nothing_is_left(surroundings: Surroundings) -> None:
    """Zombies apart, which wait for whoever adopted them."""
    await eventually(lambda: not surroundings.files() and all(map(has_ended, surroundings.processes())), within=SOON)


# ---- the driver

PROGRAM = """
import asyncio, sys
from pathlib import Path
import numpy as np
import asyncray
from tests.cluster.gates import Gate, busy_until

async def main():
    async with asyncray.init(num_cpus=2):
        large = await asyncray.put(np.ones(1_000_000))
        view = await large
        gate = Gate.remote()
        held = gate.passed.remote(large)
        await asyncray.get([gate.waiting.remote()])
        await busy_until.remote(Path(sys.argv[1]))

asyncio.run(main())
"""

BLOCKING_PROGRAM = """
import os, sys, time
from pathlib import Path
import asyncray.sync as ray
from tests.cluster.gates import busy_until

with ray.init(num_cpus=2):
    if os.fork() == 0:  # a child without part in the cluster, which lives on
        time.sleep(float(sys.argv[2]))
        os._exit(0)
    ray.get(busy_until.remote(Path(sys.argv[1])))
"""


@asynccontextmanager
async def driver(
    path: Path, program: str = PROGRAM, *arguments: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, Cluster]]:
    """A program in the midst of its work: a task runs, an actor lives, a large object is mapped."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, str(path), *arguments), env=environment, stderr=asyncio.subprocess.PIPE
    )
    try:
        await eventually(lambda: running(path))
        yield process, Cluster.of_driver(process.pid)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_nothing_is_left_of_a_driver_that_was_killed(surroundings: Surroundings, tmp_path: Path) -> None:
    async with driver(tmp_path / "never") as (process, _):
        process.kill()
        await process.wait()
        await nothing_is_left(surroundings)


async def test_nothing_is_left_when_the_driver_and_its_daemon_are_killed(
    surroundings: Surroundings, tmp_path: Path
) -> None:
    async with driver(tmp_path / "never") as (process, cluster):
        cluster.daemon.kill()
        process.kill()
        await process.wait()
        await nothing_is_left(surroundings)


async def test_nothing_is_left_when_driver_daemon_and_zygote_are_killed(
    surroundings: Surroundings, tmp_path: Path
) -> None:
    """Only the kernel can end the workers then. The session folder stays until the next cluster starts."""
    async with driver(tmp_path / "never") as (process, cluster):
        for victim in (cluster.daemon, cluster.zygote):
            victim.suspend()
        for victim in (cluster.daemon, cluster.zygote):
            victim.kill()
        process.kill()
        await process.wait()
        await eventually(lambda: all(map(has_ended, surroundings.processes())), within=SOON)
    async with asyncray.init(num_cpus=1):
        assert await identity.remote(1) == 1


async def test_a_driver_that_is_interrupted_takes_its_cluster_along(surroundings: Surroundings, tmp_path: Path) -> None:
    async with driver(tmp_path / "never") as (process, _):
        process.send_signal(2)
        _, complaint = await process.communicate()
        assert b"KeyboardInterrupt" in complaint
        await nothing_is_left(surroundings)


async def test_a_blocking_driver_that_is_interrupted_takes_its_cluster_along(
    surroundings: Surroundings, tmp_path: Path
) -> None:
    async with driver(tmp_path / "never", BLOCKING_PROGRAM, "0") as (process, _):
        process.send_signal(2)
        _, complaint = await process.communicate()
        assert b"KeyboardInterrupt" in complaint
        await nothing_is_left(surroundings)


async def test_a_cluster_ends_with_its_driver_though_a_forked_child_lives_on(tmp_path: Path) -> None:
    async with driver(tmp_path / "never", BLOCKING_PROGRAM, "60") as (process, cluster):
        (child,) = [child for child in psutil.Process(process.pid).children() if child != cluster.daemon]
        process.kill()
        await eventually(lambda: has_ended(cluster.daemon) and has_ended(cluster.zygote), within=SOON)
        assert not has_ended(child)
        child.kill()


# ---- workers and the zygote


async def test_all_workers_can_be_killed_at_once() -> None:
    async with asyncray.init(num_cpus=2):
        actor = Actor.remote()
        await actor.pid.remote()
        refs = [identity.remote(number) for number in range(500)]
        for worker in Cluster.of_driver(os.getpid()).workers:
            worker.kill()
        assert await asyncio.gather(*refs) == list(range(500))
        with pytest.raises(ActorError, match="killed by SIGKILL"):
            await actor.pid.remote()


async def test_a_new_zygote_takes_the_place_of_one_that_was_killed(tmp_path: Path) -> None:
    async with asyncray.init(num_cpus=2):
        done = tmp_path / "done"
        retried, lost = busy_until.remote(done, "again"), busy_until.options(max_retries=0).remote(tmp_path / "never")
        actor = Actor.remote()
        await actor.pid.remote()
        large = await asyncray.put(np.ones(1_000_000))
        await eventually(lambda: running(done) and running(tmp_path / "never"))
        cluster = Cluster.of_driver(os.getpid())
        workers = cluster.workers
        cluster.zygote.kill()
        with pytest.raises(WorkerCrashedError, match="its zygote died"):
            await lost
        with pytest.raises(ActorError):
            await actor.pid.remote()
        done.touch()
        assert await retried == "again"
        assert all(map(has_ended, workers))
        assert (await large).sum() == 1_000_000
        assert await Actor.remote().pid.remote() not in {worker.pid for worker in workers}


# ---- the daemon


@pytest.fixture(params=["daemon", "daemon and zygote"])
def victims(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def kill(victims: str) -> None:
    cluster = Cluster.of_driver(os.getpid())
    for victim in (cluster.daemon, cluster.zygote) if "zygote" in victims else (cluster.daemon,):
        victim.suspend()
    if "zygote" in victims:
        cluster.zygote.kill()
    cluster.daemon.kill()


async def test_a_driver_whose_head_was_killed_gets_errors_and_can_leave(victims: str, tmp_path: Path) -> None:
    async with asyncray.init(num_cpus=2):
        actor, broken = Actor.remote(), Actor.options(num_cpus=50).remote()
        await actor.pid.remote()
        running_task = busy_until.remote(tmp_path / "never")
        await eventually(lambda: running(tmp_path / "never"))
        queued = [identity.options(num_cpus=2).remote(number) for number in range(5)]
        dependent = identity.remote(running_task)
        waiting = asyncio.create_task(asyncray.wait([running_task], timeout=2 * SOON))
        small, large = await asyncray.put("small"), await asyncray.put(np.ones(1_000_000))
        view = await large
        kill(victims)
        async with asyncio.timeout(SOON):
            for ref in (running_task, *queued, dependent):
                with pytest.raises((NodeDiedError, WorkerCrashedError)):
                    await ref
            assert await waiting == ([running_task], [])
            for call in (actor.pid.remote(), broken.pid.remote(), Actor.remote().pid.remote()):
                with pytest.raises(AsyncrayError):
                    await call
            with pytest.raises(AsyncrayError):
                await identity.remote(1)
            with pytest.raises(AsyncrayError):
                await asyncray.put(bytes(1_000_000))
            with pytest.raises(AsyncrayError):
                await asyncray.nodes()
        assert await small == "small"
        assert view.sum() == 1_000_000
        assert (await large).sum() == 1_000_000
    assert not asyncray.is_initialized()
    async with asyncray.init(num_cpus=1):
        assert await identity.remote(1) == 1


async def test_a_driver_that_only_waits_learns_of_the_death_of_its_head(tmp_path: Path) -> None:
    async with asyncray.init(num_cpus=1):
        ref = busy_until.remote(tmp_path / "never")
        await eventually(lambda: running(tmp_path / "never"))
        kill("daemon")
        with pytest.raises((NodeDiedError, WorkerCrashedError)):
            async with asyncio.timeout(SOON):
                await ref


async def test_nothing_is_left_of_a_daemon_that_was_killed(surroundings: Surroundings) -> None:
    async with daemon() as head:
        async with asyncray.init(head.address):
            await identity.remote(1)
        head.process.kill()
        await head.process.wait()
        await nothing_is_left(surroundings)
