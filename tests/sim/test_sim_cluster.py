"""The real daemons, workers and drivers on virtual time."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import socket
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

import asyncray
from asyncray import sync
from asyncray.errors import ActorDiedError, AsyncrayError, NodeDiedError, TaskError, WorkerCrashedError
from asyncray.simulation.loop import HorizonReached
from asyncray.simulation.world import SimulationFailed
from asyncray.testing import SimCluster, simulated, sleep

# ---- what runs on the clusters


@asyncray.remote
def double(number: int) -> int:
    return 2 * number


@asyncray.remote
def nested(depth: int) -> int:
    return 1 if depth == 0 else sum(sync.get([nested.remote(depth - 1) for _ in range(2)]))


@asyncray.remote
async def nap(seconds: float, result: Any = None) -> Any:
    await asyncio.sleep(seconds)
    return result


@asyncray.remote
def plain_nap(seconds: float) -> float:
    sleep(seconds)
    return seconds


@asyncray.remote
def call(name: str) -> Any:
    return FORBIDDEN[name]()


@asyncray.remote
def leave(code: int) -> None:
    sys.exit(code)


@asyncray.remote
def large(size: int) -> bytes:
    return bytes(size)


@asyncray.remote
class Counter:
    def __init__(self, start: int = 0) -> None:
        if start < 0:
            raise ValueError("cannot count from there")
        self.count = start

    def add(self, amount: int = 1) -> int:
        self.count += amount
        return self.count


@asyncray.remote
class Keeper:
    """An async actor."""

    def __init__(self) -> None:
        self.kept: Any = None

    async def keep(self, refs: list[Any]) -> None:
        self.kept = refs

    async def give_back(self) -> Any:
        await asyncio.sleep(1)
        return await self.kept[0]


FORBIDDEN = {
    "time.sleep": lambda: time.sleep(1),
    "thread": lambda: threading.Thread(target=print).start(),
    "socket": lambda: socket.socket(),
    "process": lambda: subprocess.Popen(["true"]),
    "fork": lambda: os.fork(),
}


# ---- tests


@simulated(seeds=3)
async def test_tasks_actors_and_objects_work_as_on_a_real_cluster(cluster: SimCluster) -> None:
    for _ in range(2):
        await cluster.add_node(num_cpus=2)
    async with asyncray.init():
        assert await double.remote(21) == 42
        assert await nested.remote(4) == 16
        assert await asyncio.gather(*(double.remote(number) for number in range(500))) == list(range(0, 1000, 2))
        counter = Counter.remote(10)
        assert await asyncio.gather(*(counter.add.remote() for _ in range(5))) == [11, 12, 13, 14, 15]
        keeper = Keeper.remote()
        await keeper.keep.remote([await asyncray.put("kept")])
        assert await keeper.give_back.remote() == "kept"
        with pytest.raises(ActorDiedError, match=r"constructor Counter\.__init__ raised"):
            await Counter.remote(-1).add.remote()


@simulated(seeds=2)
async def test_large_objects_are_in_the_memory_of_their_machine(cluster: SimCluster) -> None:
    node = await cluster.add_node(num_cpus=2)
    async with asyncray.init():
        ref = large.remote(1_000_000)
        assert len(await ref) == 1_000_000
        assert node.manager.store.table.used >= 1_000_000
        del ref
        await asyncio.sleep(2)
        assert node.manager.store.table.used == 0


@simulated(seeds=2)
async def test_time_is_virtual_for_coroutines_and_for_plain_functions(cluster: SimCluster) -> None:
    await cluster.add_node(num_cpus=4)
    async with asyncray.init():
        begun = asyncio.get_running_loop().time()
        assert await asyncio.gather(nap.remote(100, "a"), plain_nap.remote(200)) == ["a", 200]
        assert 200 < asyncio.get_running_loop().time() - begun < 201


@simulated(seeds=3)
async def test_a_task_whose_worker_is_killed_runs_again_elsewhere(cluster: SimCluster) -> None:
    await cluster.add_node(num_cpus=1)
    async with asyncray.init():
        ref = nap.remote(5, "done")
        await asyncio.sleep(1)
        (worker,) = cluster.workers()
        cluster.kill_worker(worker)
        assert await ref == "done"
        assert asyncio.get_running_loop().time() > 6
        hopeless = nap.options(max_retries=0).remote(5)
        await asyncio.sleep(1)
        (worker,) = cluster.workers()
        cluster.kill_worker(worker)
        with pytest.raises(WorkerCrashedError):
            await hopeless


@simulated(seeds=2)
async def test_a_frozen_worker_is_late_and_not_dead(cluster: SimCluster) -> None:
    await cluster.add_node(num_cpus=1)
    async with asyncray.init():
        ref = nap.remote(1, "done")
        await asyncio.sleep(0.5)
        (worker,) = cluster.workers()
        cluster.freeze(worker)
        await asyncio.sleep(60)
        cluster.thaw(worker)
        assert await ref == "done"
        assert 60.5 < asyncio.get_running_loop().time() < 62


@simulated(seeds=2)
async def test_a_task_that_exits_ends_its_worker_only(cluster: SimCluster) -> None:
    await cluster.add_node(num_cpus=1)
    async with asyncray.init():
        with pytest.raises(WorkerCrashedError, match="exit code 7"):
            await leave.options(max_retries=0).remote(7)
        assert await double.remote(1) == 2


@simulated(seeds=2)
async def test_a_lost_machine_is_found_by_its_silence(cluster: SimCluster) -> None:
    await cluster.add_node(num_cpus=1)
    other = await cluster.add_node(num_cpus=1, resources={"disk": 1})
    async with asyncray.init():
        ref = nap.options(resources={"disk": 1}, max_retries=0).remote(1000)
        await asyncio.sleep(1)
        lost_at = asyncio.get_running_loop().time()
        cluster.lose_machine(other)
        with pytest.raises((WorkerCrashedError, NodeDiedError)):
            await ref
        assert 3 < asyncio.get_running_loop().time() - lost_at < 8


@simulated(seeds=2)
async def test_several_drivers_share_a_cluster_and_one_dies(cluster: SimCluster) -> None:
    node = await cluster.add_node(num_cpus=2)

    async def other() -> str:
        async with asyncray.init():
            return str(await nap.remote(3, "other"))

    async def doomed() -> None:
        async with asyncray.init():
            await nap.remote(1000)

    result, death = cluster.driver(other(), node), cluster.driver(doomed(), node)
    await asyncio.sleep(1)
    next(process for process in cluster.world.processes if process.name == "driver 3").kill("SIGKILL")
    with pytest.raises(AsyncrayError, match="driver 3 died: SIGKILL"):
        await death
    assert await result == "other"
    async with asyncray.init():
        assert await asyncio.gather(double.remote(1), double.remote(2)) == [2, 4]


@simulated(seeds=2)
async def test_a_node_that_is_stopped_leaves_and_its_driver_learns_of_it(cluster: SimCluster) -> None:
    node = await cluster.add_node(num_cpus=1)
    async with asyncray.init():
        assert await double.remote(1) == 2
        await cluster.remove_node(node)
        with pytest.raises(NodeDiedError):
            await double.remote(2)
    assert cluster.nodes == []


@pytest.mark.parametrize("name", FORBIDDEN)
def test_what_would_leave_the_simulation_is_an_error_that_names_the_place(name: str) -> None:
    async def main(cluster: SimCluster) -> None:
        await cluster.add_node(num_cpus=1)
        async with asyncray.init():
            with pytest.raises(TaskError) as caught:
                await call.remote(name)
        assert f"{Path(__file__).name}:" in str(caught.value)
        assert "in a simulation" in str(caught.value)

    SimCluster().run(main)


def test_real_threads_and_sockets_are_free_again_after_a_simulation() -> None:
    async def main(cluster: SimCluster) -> None:
        await cluster.add_node()

    SimCluster().run(main)
    for name in ("thread", "socket"):
        FORBIDDEN[name]()


def test_the_story_tells_who_printed_and_what_the_daemons_logged() -> None:
    async def main(cluster: SimCluster) -> None:
        await cluster.add_node(num_cpus=1)
        async with asyncray.init():
            print("hello\nthere")

    cluster = SimCluster()
    cluster.run(main)
    story = str(cluster.world.transcript)
    assert "driver 1     prints: hello\n" in story
    assert "node 1       starts at 10.0.0.2 with 1 CPUs" in story
    assert "control      info: node " in story


def test_a_failure_tells_its_seed_and_how_the_story_ended() -> None:
    async def main(cluster: SimCluster) -> None:
        await cluster.add_node()
        print("so far so good")
        raise KeyError("lost")

    with pytest.raises(KeyError) as caught:
        SimCluster(seed=7).run(main)
    (note,) = caught.value.__notes__
    assert "seed 7" in note
    assert "prints: so far so good" in note


def test_an_exception_that_nobody_handles_fails_the_simulation() -> None:
    async def main(cluster: SimCluster) -> None:
        asyncio.get_running_loop().call_soon(lambda: [][1])
        await asyncio.sleep(1)

    with pytest.raises(SimulationFailed, match="IndexError"):
        SimCluster().run(main)


def test_a_program_that_waits_for_ever_reaches_the_horizon() -> None:
    async def main(cluster: SimCluster) -> None:
        await cluster.add_node(num_cpus=1)
        async with asyncray.init():
            await double.options(num_cpus=2).remote(1)

    with pytest.raises(HorizonReached):
        SimCluster(horizon=100).run(main)


@simulated(seeds=1)
async def test_init_needs_a_node_and_takes_no_settings_of_one(cluster: SimCluster) -> None:
    with pytest.raises(AsyncrayError, match=r"cluster\.add_node"):
        await asyncray.init()
    await cluster.add_node()
    with pytest.raises(AsyncrayError, match="num_cpus"):
        await asyncray.init(num_cpus=2)
    assert await double.remote(4) == 8, "joined by itself"
    await asyncray.shutdown()


@simulated(seeds=5)
async def test_a_control_plane_that_is_started_again_has_the_same_address_and_knows_nothing(
    cluster: SimCluster,
) -> None:
    before, address = await cluster.add_node(), cluster.address
    with pytest.raises(RuntimeError, match="still runs"):
        await cluster.restart_control()
    await cluster.kill_control()
    with pytest.raises(RuntimeError, match="does not run"):
        await cluster.kill_control()
    while before in cluster.nodes:
        await asyncio.sleep(1)
    await cluster.restart_control()
    assert cluster.address == address
    node = await cluster.add_node()
    async with asyncray.init():
        assert await double.remote(4) == 8
        assert [one["NodeID"] for one in await asyncray.nodes()] == [node.node_id.hex()]


# ---- the same seed, the same run


async def busy(cluster: SimCluster) -> None:
    """Something of everything, with faults."""
    nodes = [await cluster.add_node(num_cpus=2) for _ in range(3)]
    async with asyncray.init():
        counters = [Counter.remote() for _ in range(4)]
        refs = [nested.remote(3), *(nap.remote(random.random(), uuid.uuid4().hex) for _ in range(20))]
        await asyncio.sleep(0.2)
        cluster.kill_worker(cluster.workers()[0])
        cluster.world.network.partition(nodes[0].host, nodes[1].host)
        await asyncio.sleep(1)
        cluster.world.network.heal_all()
        await cluster.kill_node(nodes[2])
        calls = [counter.add.remote() for counter in counters for _ in range(3)]
        results = await asyncio.gather(*refs, *calls, return_exceptions=True)
        print([result if isinstance(result, int | str) else type(result).__name__ for result in results])


def fingerprint(seed: int) -> str:
    cluster = SimCluster(seed)
    cluster.world.network.watchers.append(cluster.world.transcript.delivered)
    cluster.run(busy)
    return cluster.world.transcript.fingerprint


def test_a_seed_gives_the_same_run_again_and_another_seed_another() -> None:
    assert fingerprint(1) == fingerprint(1) != fingerprint(2)


def test_a_seed_gives_the_same_run_in_another_process_whatever_its_hash_seed() -> None:
    program = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import {Path(__file__).stem} as t; "
    program += "print(t.fingerprint(3))"
    runs = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("0", "1", "2")
    ]
    assert runs[0] == runs[1] == runs[2] != ""


# ---- what users have at hand


@simulated
async def test_the_decorator_needs_no_arguments(cluster: SimCluster) -> None:
    await cluster.add_node()
    async with asyncray.init():
        assert await double.remote(2) == 4


@simulated(seeds=2)
async def test_clocks_and_random_numbers_of_user_code_are_of_the_seed(cluster: SimCluster) -> None:
    await cluster.add_node(num_cpus=1)
    begun = time.time(), time.monotonic(), time.perf_counter()
    async with asyncray.init():
        assert await plain_nap.remote(100) == 100
    for before, after in zip(begun, (time.time(), time.monotonic(), time.perf_counter()), strict=True):
        assert 100 < after - before < 101


def test_what_user_code_draws_is_the_same_for_the_same_seed() -> None:
    drawn: list[list[object]] = []

    async def main(cluster: SimCluster) -> None:
        drawn.append([random.random(), uuid.uuid4(), secrets.token_hex(), random.SystemRandom().random()])

    for seed in (1, 1, 2):
        SimCluster(seed).run(main)
    assert drawn[0] == drawn[1] != drawn[2]


def test_the_story_can_be_followed_while_it_happens(capsys: pytest.CaptureFixture[str]) -> None:
    async def main(cluster: SimCluster) -> None:
        cluster.world.transcript.echo = sys.stdout
        await cluster.add_node()
        print("unfinished", end="")

    cluster = SimCluster()
    cluster.run(main)
    assert "node 1       starts at" in capsys.readouterr().out
    assert "prints: unfinished" in str(cluster.world.transcript)


@simulated(seeds=3)
async def test_a_short_partition_is_only_late_and_a_long_one_ends_the_node(cluster: SimCluster) -> None:
    near = await cluster.add_node(num_cpus=1)
    far = await cluster.add_node(num_cpus=1, resources={"disk": 1})
    async with asyncray.init():
        assert await double.options(resources={"disk": 1}).remote(1) == 2
        ref = nap.options(resources={"disk": 1}, max_retries=0).remote(1, "late")
        await asyncio.sleep(0.5)
        cluster.partition(near, far)
        await asyncio.sleep(3)
        cluster.heal()
        assert await ref == "late"
        cluster.partition(None, far)
        await asyncio.sleep(10)
        assert far not in cluster.nodes
        cluster.heal()
        assert near in cluster.nodes
