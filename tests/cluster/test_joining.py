"""Drivers and nodes that join a cluster which others have started."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

import asyncray
from asyncray.errors import AsyncrayError, AuthenticationError
from asyncray.testing import Cluster, Node

from ..conftest import Surroundings
from .daemons import daemon, descendants, has_ended, start
from .gates import busy_until, running
from .polling import eventually


@asyncray.remote
def identity(value: Any) -> Any:
    return value


@asyncray.remote
def pid() -> int:
    return os.getpid()


# ---- drivers


async def test_a_driver_joins_by_address_by_environment_or_by_auto(monkeypatch: pytest.MonkeyPatch) -> None:
    async with daemon() as head:
        workers = {process.pid for process in descendants(head.process.pid)}
        for address in (head.address, head.address.replace("127.0.0.1", "localhost"), "auto"):
            async with asyncray.init(address) as connection:
                assert connection.address == head.address
                assert await pid.remote() in workers | {process.pid for process in descendants(head.process.pid)}
        for address in (head.address, "auto"):
            monkeypatch.setenv("ASYNCRAY_ADDRESS", address)
            async with asyncray.init() as connection:
                assert connection.address == head.address
                assert await identity.remote(1) == 1
        assert head.process.returncode is None, "it does not belong to its drivers"


async def test_auto_does_not_find_the_clusters_of_others() -> None:
    async with asyncray.init(num_cpus=1):
        program = "import asyncray.sync as ray; ray.init('auto')"
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stderr=asyncio.subprocess.PIPE)
        _, complaint = await process.communicate()
        assert b"ConnectionFailed: no cluster runs on this machine" in complaint


async def test_auto_is_refused_when_it_is_ambiguous() -> None:
    async with daemon() as one, daemon() as other:
        with pytest.raises(AsyncrayError, match="several clusters run on this machine, name one: ") as caught:
            await asyncray.init("auto")
        assert one.address in str(caught.value) and other.address in str(caught.value)


async def test_two_clusters_on_one_machine_do_not_meet() -> None:
    async with daemon(resources={"first": 1}) as first, daemon(resources={"second": 1}) as second:
        for own, other, resource in ((first, second, "first"), (second, first, "second")):
            async with asyncray.init(own.address):
                assert [node["Resources"].get(resource) for node in await asyncray.nodes()] == [1]
                assert await identity.options(resources={resource: 1}).remote("mine") == "mine"
                workers = {process.pid for process in descendants(own.process.pid)}
                assert await pid.remote() in workers
            with pytest.raises(AuthenticationError):
                await asyncray.init(own.address, token=other.token)


async def test_several_drivers_share_a_cluster_and_keep_apart(tmp_path: Path) -> None:
    program = """
import os, sys
import asyncray.sync as ray
ray.init(sys.argv[1])
marker = sys.argv[2]
@ray.remote
def work(number):
    module = sys.modules.setdefault("of one job only", sys.argv)
    module.append(marker) if marker not in module else None
    return number, [text for text in module if text.startswith("job ")], os.getpid()
results = ray.get([work.remote(number) for number in range(200)])
assert [number for number, _, _ in results] == list(range(200))
assert all(seen == [marker] for _, seen, _ in results), results[0]
ray.shutdown()
print("done")
"""
    async with daemon() as head:
        drivers = [
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", program, head.address, f"job {number}"), stdout=asyncio.subprocess.PIPE
            )
            for number in range(3)
        ]
        async with asyncray.init(head.address):
            assert await asyncio.gather(*(identity.remote(n) for n in range(100))) == list(range(100))
            for driver in drivers:
                output, _ = await driver.communicate()
                assert output == b"done\n"
            assert await identity.remote(1) == 1


async def test_the_end_of_one_driver_ends_its_work_and_nobody_elses(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
import asyncray.sync as ray
from tests.cluster.gates import busy_until
ray.init(sys.argv[1])
ray.get(busy_until.remote(Path(sys.argv[2])))
"""
    async with daemon() as head:
        theirs, ours = tmp_path / "theirs", tmp_path / "ours"
        driver = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", program, head.address, str(theirs)),
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        async with asyncray.init(head.address):
            ref = busy_until.remote(ours, "mine")
            await eventually(lambda: running(theirs) and running(ours))
            (worker,) = running(theirs)
            driver.kill()
            await driver.wait()
            await eventually(lambda: not psutil.pid_exists(worker), within=5)
            ours.touch()
            assert await ref == "mine"


async def test_a_wrong_address_is_one_clear_message() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
    for wrong, message in (
        (address, f"no node of a cluster at {address} runs on this machine"),
        ("auto", "no cluster runs on this machine: start one with `asyncray node --head`"),
        ("nonsense", "address 'nonsense' is neither 'auto' nor host:port"),
    ):
        with pytest.raises(AsyncrayError, match=message) as caught:
            await asyncray.init(wrong)
        assert "\n" not in str(caught.value)
    assert not asyncray.is_initialized()


async def test_settings_of_a_cluster_that_exists_already_are_refused() -> None:
    with pytest.raises(ValueError, match=r"num_cpus, resources can only be set for a new cluster"):
        await asyncray.init("127.0.0.1:1", num_cpus=1, resources={"disk": 1})


async def test_a_wrong_token_is_one_clear_message(monkeypatch: pytest.MonkeyPatch) -> None:
    async with daemon() as head:
        with pytest.raises(AuthenticationError, match=r"ASYNCRAY_TOKEN") as caught:
            await asyncray.init(head.address, token="wrong")
        assert "\n" not in str(caught.value)
        assert not asyncray.is_initialized()
        monkeypatch.setenv("ASYNCRAY_TOKEN", "wrong-too")
        with pytest.raises(AuthenticationError):
            await asyncray.init(head.address)
        monkeypatch.delenv("ASYNCRAY_TOKEN")
        async with asyncray.init(head.address):
            assert await identity.remote(1) == 1


# ---- daemons


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_daemon_stops_in_order_on_a_signal(number: signal.Signals, surroundings: Surroundings) -> None:
    async with daemon() as head:
        async with asyncray.init(head.address):
            await identity.remote(1)
        below = descendants(head.process.pid)
        assert len(below) >= 2
        assert await head.end(number) == 0
        assert os.listdir(surroundings.temporary) == []
        await eventually(lambda: all(map(has_ended, below)), within=1)


async def test_a_port_in_use_is_one_clear_message() -> None:
    async with daemon() as head:
        port = int(head.address.rpartition(":")[2])
        refusal = await start(port=port)
        assert isinstance(refusal, str)
        assert f"127.0.0.1:{port}" in refusal and "is taken" in refusal
        assert "\n" not in refusal


async def test_a_node_with_a_wrong_token_or_address_refuses_to_start() -> None:
    async with daemon() as head:
        refusal = await start(role="node", address=head.address, token="wrong")
        assert isinstance(refusal, str) and "ASYNCRAY_TOKEN" in refusal and "\n" not in refusal
    refusal = await start(role="node", address=head.address, token="any")
    assert isinstance(refusal, str) and head.address in refusal and "\n" not in refusal


async def test_a_second_node_gets_the_tasks_that_only_it_can_run() -> None:
    async with Cluster() as cluster:
        first, second = await cluster.add_node(2), await cluster.add_node(2, resources={"special": 2})
        async with asyncray.init(cluster.address):
            await eventually(lambda: _knows_nodes(2))
            special = pid.options(resources={"special": 1})
            workers = await asyncio.gather(*(special.remote() for _ in range(20)))
            assert set(workers) <= _worker_pids(second)
            assert await pid.remote() in _worker_pids(first)
            with pytest.raises(ZeroDivisionError):
                await asyncray.remote(resources={"special": 1})(lambda: 1 / 0).remote()
            remote = identity.options(resources={"special": 1})
            assert await identity.remote(remote.remote(identity.remote("there and back"))) == "there and back"
            assert await (await remote.remote([identity.remote("inner")]))[0] == "inner"


async def test_a_task_waits_for_a_node_that_can_run_it() -> None:
    async with Cluster() as cluster:
        await cluster.add_node(2)
        async with asyncray.init(cluster.address):
            ref = identity.options(resources={"special": 1}).remote("ran")
            actor = asyncray.remote(resources={"special": 1})(Actor).remote()
            call = actor.where.remote()
            assert await asyncray.wait([ref, call], timeout=0.1) == ([], [ref, call])
            node = await cluster.add_node(2, resources={"special": 2})
            assert await ref == "ran"
            assert await call in _worker_pids(node)
            del actor


async def test_the_death_of_a_node_ends_what_ran_there(tmp_path: Path) -> None:
    async with Cluster() as cluster:
        await cluster.add_node(2)
        node = await cluster.add_node(2, resources={"special": 2})
        async with asyncray.init(cluster.address):
            actor = asyncray.remote(resources={"special": 1})(Actor).remote()
            await actor.where.remote()
            ref = busy_until.options(resources={"special": 1}, max_retries=0).remote(tmp_path / "never")
            await eventually(lambda: running(tmp_path / "never"))
            await cluster.kill_node(node)
            with pytest.raises(asyncray.errors.WorkerCrashedError):
                await ref
            await eventually(lambda: _is_dead(actor))  # its process may answer once more before it notices
            await eventually(lambda: _knows_nodes(1))
            assert await identity.remote(1) == 1


def _worker_pids(node: Node) -> set[int]:
    return {worker.pid for worker in node.workers()}


async def _is_dead(actor: Any) -> bool:
    try:
        await actor.where.remote()
    except asyncray.errors.ActorError:
        return True
    return False


class Actor:
    def where(self) -> int:
        return os.getpid()


async def _knows_nodes(count: int) -> bool:
    return sum(node["Alive"] for node in await asyncray.nodes()) == count
