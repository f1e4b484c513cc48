"""`asyncray.testing.Cluster`: nodes of real processes, which share no more than machines do."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

import asyncray
from asyncray.errors import ActorDiedError, AsyncrayError, AuthenticationError, WorkerCrashedError
from asyncray.testing import Cluster, Node

from ..conftest import SETTLE, Surroundings
from .certificates import cluster_certificates
from .daemons import has_ended
from .gates import busy_until, running
from .polling import eventually


@asyncray.remote(num_cpus=0)
def here() -> str:
    return asyncray.get_runtime_context().get_node_id()


@asyncray.remote
class Resident:
    def pid(self) -> int:
        return os.getpid()

    def start_program(self) -> int:
        return subprocess.Popen(["sleep", "1000"], start_new_session=True).pid


async def alive() -> list[str]:
    return [node["NodeID"] for node in await asyncray.nodes() if node["Alive"]]


def processes(node: Node) -> list[psutil.Process]:
    manager = psutil.Process(node.pid)
    return [manager, *manager.children(recursive=True)]


# ---- what it starts


async def test_a_cluster_begins_without_a_node() -> None:
    async with Cluster() as cluster:
        assert cluster.nodes == []
        with pytest.raises(AsyncrayError, match=re.escape(f"no node of a cluster at {cluster.address}")):
            await asyncray.init(address=cluster.address)


async def test_nodes_have_what_they_were_given() -> None:
    async with Cluster() as cluster:
        store = 100 * 1024 * 1024
        first = await cluster.add_node(num_cpus=3, object_store_memory=store)
        second = await cluster.add_node(num_gpus=2, memory=10**9, resources={"disk": 2}, labels={"zone": "b"})
        assert cluster.nodes == [first, second]
        async with asyncray.init(address=cluster.address):
            nodes = {node["NodeID"]: node for node in await asyncray.nodes()}
            assert set(nodes) == {first.node_id, second.node_id}
            resources = nodes[first.node_id]["Resources"]
            assert (resources["CPU"], resources["object_store_memory"]) == (3, store)
            resources = nodes[second.node_id]["Resources"]
            assert (resources["CPU"], resources["GPU"], resources["memory"], resources["disk"]) == (1, 2, 10**9, 2)
            assert nodes[second.node_id]["Labels"] == {"zone": "b"}
            assert await here.options(resources={"disk": 1}).remote() == second.node_id


async def test_a_driver_joins_the_oldest_node() -> None:
    async with Cluster() as cluster:
        first, second, _ = [await cluster.add_node() for _ in range(3)]
        for node in (first, second):
            async with asyncray.init(address=cluster.address):
                assert asyncray.get_runtime_context().get_node_id() == node.node_id
            await cluster.kill_node(node)


async def test_nodes_can_be_added_at_the_same_time_and_while_a_driver_runs() -> None:
    async with Cluster() as cluster:
        await asyncio.gather(*(cluster.add_node() for _ in range(3)))
        async with asyncray.init(address=cluster.address):
            ref = here.options(resources={"late": 1}).remote()
            late = await cluster.add_node(resources={"late": 1})
            assert await ref == late.node_id
            await eventually(alive_are(cluster))


def alive_are(cluster: Cluster) -> Any:
    async def condition() -> bool:
        return set(await alive()) == {node.node_id for node in cluster.nodes}

    return condition


async def test_the_token_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASYNCRAY_TOKEN", "given-by-the-environment")
    async with Cluster() as cluster:
        await cluster.add_node()
        async with asyncray.init(address=cluster.address):
            assert await here.remote() == cluster.nodes[0].node_id
        with pytest.raises(AuthenticationError):
            await asyncray.init(address=cluster.address, token="another")


async def test_its_token_is_no_argument_of_a_process() -> None:
    async with Cluster() as cluster:
        node = await cluster.add_node()
        token = (node.directory / "token").read_text()
        for process in processes(node):
            assert token not in " ".join(process.cmdline())


async def test_with_certificates_all_is_by_tls(tmp_path: Path) -> None:
    async with Cluster(**cluster_certificates(tmp_path)) as cluster:
        await cluster.add_node()
        second = await cluster.add_node(resources={"second": 1})
        async with asyncray.init(address=cluster.address):
            assert await here.options(resources={"second": 1}).remote() == second.node_id
        host, _, port = cluster.address.rpartition(":")
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):  # gRPC in the clear
            reader, writer = await asyncio.open_connection(host, int(port))
            try:
                writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
                await reader.readexactly(9)
                raise AssertionError("it answered in the clear")
            finally:
                writer.close()


async def test_programs_that_look_for_any_cluster_do_not_find_it() -> None:
    async with Cluster() as cluster:
        await cluster.add_node()
        with pytest.raises(AsyncrayError, match="no cluster runs on this machine"):
            await asyncray.init("auto")


# ---- as if on different machines


def arenas(processes: Iterable[psutil.Process]) -> set[int]:
    """The inodes of the object stores that they have mapped."""
    maps = "".join(Path(f"/proc/{process.pid}/maps").read_text() for process in processes)
    return {int(inode) for inode in re.findall(r" (\d+) +/memfd:asyncray\S*", maps)}


async def test_nodes_share_no_memory_and_no_socket_files() -> None:
    async with Cluster() as cluster:
        first, second = [await cluster.add_node(resources={name: 1}) for name in ("first", "second")]
        async with asyncray.init(address=cluster.address):
            residents = [Resident.options(resources={name: 0.1}).remote() for name in ("first", "second")]
            pids = await asyncray.get([resident.pid.remote() for resident in residents])
            ones = [asyncray.remote(resources={name: 0.1})(np.ones).remote(200_000) for name in ("first", "second")]
            await asyncray.wait(ones, num_returns=2, fetch_local=False)
            for node, pid in zip((first, second), pids, strict=True):
                assert pid in {process.pid for process in node.workers()}
            assert arenas(processes(first)) and arenas(processes(second))
            assert not arenas(processes(first)) & arenas(processes(second))
            assert first.directory != second.directory
            for own, other in ((first, second), (second, first)):
                for process in processes(own):
                    names = {connection.laddr for connection in process.net_connections("unix")}
                    assert not [name for name in names if str(other.directory) in name]


# ---- how nodes leave


async def test_a_removed_node_ends_in_order() -> None:
    async with Cluster() as cluster:
        first, second = await cluster.add_node(), await cluster.add_node(resources={"second": 1})
        async with asyncray.init(address=cluster.address):
            assert await here.options(resources={"second": 1}).remote() == second.node_id
            family = processes(second)
            await cluster.remove_node(second)
            assert all(map(has_ended, family))
            assert not second.directory.exists()
            assert cluster.nodes == [first]
            await eventually(alive_are(cluster))
            assert await here.remote() == first.node_id


async def test_all_of_a_killed_node_ends_at_once(tmp_path: Path) -> None:
    async with Cluster() as cluster:
        first, second = await cluster.add_node(), await cluster.add_node(2, resources={"second": 2})
        async with asyncray.init(address=cluster.address):
            resident = Resident.options(resources={"second": 1}).remote()
            program = psutil.Process(await resident.start_program.remote())
            ref = busy_until.options(resources={"second": 1}, max_retries=0).remote(tmp_path / "never")
            await eventually(lambda: running(tmp_path / "never"))
            family = processes(second)
            assert program in family and len(family) > 4
            start = time.monotonic()
            await cluster.kill_node(second)
            assert time.monotonic() - start < 1
            assert all(map(has_ended, family))
            assert not second.directory.exists()
            with pytest.raises(WorkerCrashedError):
                await ref
            with pytest.raises(ActorDiedError):
                while True:  # its process may have answered once more
                    await resident.pid.remote()
            await eventually(alive_are(cluster))
            assert await here.remote() == first.node_id


async def test_a_killed_worker_is_replaced() -> None:
    async with Cluster() as cluster:
        node = await cluster.add_node()
        async with asyncray.init(address=cluster.address):
            assert await here.remote() == node.node_id
            before = node.workers()
            for worker in before:
                worker.kill()
            assert await here.remote() == node.node_id
            assert not {worker.pid for worker in before} & {worker.pid for worker in node.workers()}


async def test_the_end_of_the_control_plane_ends_its_nodes() -> None:
    async with Cluster() as cluster:
        family = [process for _ in range(2) for process in processes(await cluster.add_node())]
        await cluster.kill_control()
        await eventually(lambda: all(map(has_ended, family)))


async def test_a_control_plane_that_is_started_again_has_the_same_address_and_knows_nothing() -> None:
    async with Cluster() as cluster:
        before, address = await cluster.add_node(), cluster.address
        with pytest.raises(RuntimeError, match="still runs"):
            await cluster.restart_control()
        await cluster.kill_control()
        with pytest.raises(RuntimeError, match="does not run"):
            await cluster.kill_control()
        await cluster.restart_control()
        assert cluster.address == address
        assert cluster.nodes == []
        node = await cluster.add_node()
        async with asyncray.init(address=address):
            assert await here.remote() == node.node_id != before.node_id
            assert [one["NodeID"] for one in await asyncray.nodes() if one["Alive"]] == [node.node_id]


# ---- nothing is left: the fixture of this folder looks after each test


async def test_a_driver_that_has_not_left_is_disconnected() -> None:
    async with Cluster() as cluster:
        await cluster.add_node()
        await asyncray.init(address=cluster.address)
        assert await here.remote() == cluster.nodes[0].node_id
    assert not asyncray.is_initialized()


async def test_a_driver_of_another_cluster_stays() -> None:
    async with asyncray.init(num_cpus=1):
        async with Cluster() as cluster:
            await cluster.add_node()
        assert asyncray.is_initialized()
        await here.remote()


async def test_an_exception_in_the_block_comes_out_and_leaves_nothing() -> None:
    family: list[psutil.Process] = []
    with pytest.raises(ZeroDivisionError):
        async with Cluster() as cluster:
            family += processes(await cluster.add_node())
            await asyncray.init(address=cluster.address)
            await asyncray.remote(lambda: 1 / 0).remote()
    assert all(map(has_ended, family))


async def test_a_cancelled_start_leaves_nothing() -> None:
    async with Cluster() as cluster:
        for delay in (0, 0.02, 0.1, 0.2):
            adding = asyncio.create_task(cluster.add_node())
            await asyncio.wait([adding], timeout=delay)
            adding.cancel()
            await asyncio.wait([adding])
        nodes = list(cluster.nodes)
        await cluster.add_node()
        async with asyncray.init(address=cluster.address):
            await eventually(alive_are(cluster))
        assert len(cluster.nodes) == len(nodes) + 1


PROGRAM = """
import asyncio, sys
from pathlib import Path
import asyncray
from asyncray.testing import Cluster
from tests.cluster.gates import busy_until

async def main():
    async with Cluster() as cluster:
        await asyncio.gather(cluster.add_node(), cluster.add_node())
        async with asyncray.init(address=cluster.address):
            await busy_until.remote(Path(sys.argv[1]))

asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
async def test_it_ends_with_the_process_that_started_it(
    number: signal.Signals, surroundings: Surroundings, tmp_path: Path
) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, str(tmp_path / "never")), env=environment, stderr=asyncio.subprocess.PIPE
    )
    await eventually(lambda: running(tmp_path / "never"))
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) >= 1 + 2 * 2 + 1  # the control plane, two nodes with their zygotes, a worker
    process.send_signal(number)
    await process.communicate()
    await eventually(lambda: all(map(has_ended, family)) and not surroundings.files(), within=SETTLE)


# ---- what fails says why


async def test_a_node_that_cannot_start_says_why() -> None:
    async with Cluster() as cluster:
        with pytest.raises(AsyncrayError, match=r"^the node did not start: .*resource 'CPU' has an option of its own"):
            await cluster.add_node(resources={"CPU": 1})
        assert cluster.nodes == []
        await cluster.add_node()


async def test_a_daemon_that_ends_at_once_is_quoted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "uvloop.py"
    broken.write_text("raise ImportError('this uvloop is broken')")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    with pytest.raises(AsyncrayError) as caught:
        async with Cluster():
            raise AssertionError("it cannot have started")
    assert "the control plane ended at once. It said:\nTraceback" in str(caught.value)
    assert "ImportError: this uvloop is broken" in str(caught.value)


async def test_what_a_node_printed_before_it_ended_by_itself_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with Cluster() as cluster:
        node = await cluster.add_node()
        os.kill(node.pid, signal.SIGKILL)
        await eventually(lambda: has_ended(psutil.Process(node.pid)))
    assert f"{node!r} had ended before it was stopped" in caplog.text


async def test_the_address_of_a_cluster_that_was_not_started_is_refused() -> None:
    with pytest.raises(RuntimeError, match="has not been started"):
        _ = Cluster().address
