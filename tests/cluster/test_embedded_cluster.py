"""`init()` without an address: a cluster that belongs to this process."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path
from typing import Any

import psutil
import pytest

import asyncray
from asyncray.errors import AsyncrayError

from ..conftest import Surroundings
from .conftest import runtime


@asyncray.remote
def identity(value: Any) -> Any:
    return value


def sessions(surroundings: Surroundings) -> list[Path]:
    return list(surroundings.temporary.glob("asyncray-*/*"))


async def test_init_starts_a_cluster_and_shutdown_ends_it(surroundings: Surroundings) -> None:
    assert not asyncray.is_initialized()
    connection = await asyncray.init(num_cpus=3, resources={"disk": 2}, labels={"zone": "a"})
    assert asyncray.is_initialized()
    host, _, port = connection.address.rpartition(":")
    assert host == "127.0.0.1" and int(port) > 0
    assert await identity.remote(1) == 1
    (node,) = await asyncray.nodes()
    assert node["Alive"] and node["IsHead"]
    assert (node["Resources"]["CPU"], node["Resources"]["disk"], node["Labels"]) == (3, 2, {"zone": "a"})
    assert (await asyncray.cluster_resources())["CPU"] == 3
    assert node["NodeID"] == asyncray.get_runtime_context().get_node_id()
    (daemon,) = (child for child in psutil.Process().children() if child.pid not in surroundings.pids)
    await asyncray.shutdown()
    assert not asyncray.is_initialized()
    assert not daemon.is_running()
    assert sessions(surroundings) == []


async def test_a_cluster_can_be_started_again_and_again() -> None:
    for number in range(3):
        async with asyncray.init(num_cpus=1):
            assert await identity.remote(number) == number


async def test_shutdown_without_init_does_nothing() -> None:
    await asyncray.shutdown()
    await asyncray.shutdown()


async def test_init_twice_is_refused_unless_that_is_wanted() -> None:
    async with asyncray.init(num_cpus=1) as first:
        with pytest.raises(
            AsyncrayError, match=r"initialised already: call shutdown\(\) first, or init\(ignore_reinit"
        ):
            await asyncray.init()
        again = await asyncray.init(ignore_reinit_error=True)
        assert again.address == first.address
        assert await identity.remote(1) == 1


async def test_init_refuses_settings_that_make_no_sense() -> None:
    for settings in ({"num_cpus": -1}, {"resources": {"CPU": 1}}, {"num_cpus": "many"}):
        with pytest.raises((AsyncrayError, ValueError)) as caught:
            await asyncray.init(**settings)
        assert "\n" not in str(caught.value)
    assert not asyncray.is_initialized()


async def test_only_the_owner_can_read_the_session(surroundings: Surroundings) -> None:
    async with asyncray.init(num_cpus=1):
        await identity.remote(1)
        (session,) = sessions(surroundings)
        found = {path.relative_to(session) for path in session.rglob("*")}
        assert {Path("token"), Path("session.json"), Path("s/control"), Path("s/node")} <= found
        sockets = {path for path in session.rglob("*") if path.is_socket()}
        assert len(sockets) >= 4, "control plane, node, driver, worker"
        for folder in (session.parent, session, session / "s", session / "logs"):
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700, folder
        for file in (session / "token", session / "session.json", *sockets):
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
        token = (session / "token").read_text()
        assert len(token) >= 32
        for process in psutil.process_iter(["cmdline"]):
            assert not any(token in argument for argument in process.info["cmdline"] or ())


async def test_a_working_directory_that_is_gone_does_not_matter_to_the_cluster(tmp_path: Path) -> None:
    before = os.getcwd()
    gone = tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)
    try:
        gone.rmdir()
        async with asyncray.init(num_cpus=1):
            assert await identity.remote(1) == 1
    finally:
        os.chdir(before)


async def test_what_is_pending_fails_when_the_driver_leaves() -> None:
    async with asyncray.init(num_cpus=1):
        ref = identity.options(resources={"nowhere": 1}).remote(1)
        waiter = asyncio.create_task(asyncray.get(ref))
        await asyncio.sleep(0)
    with pytest.raises((AsyncrayError, asyncio.CancelledError)):
        async with asyncio.timeout(5):
            await waiter
    with pytest.raises(AsyncrayError):
        async with asyncio.timeout(5):
            await ref


async def test_leaving_is_gone_through_with_when_it_is_cancelled() -> None:
    await asyncray.init(num_cpus=1)
    here = runtime()
    ref = identity.options(resources={"nowhere": 1}).remote(1)
    here.spawn(asyncio.sleep(60), name="what leaving waits for")
    host, port = here.address[3].rsplit(":", 1)
    leaving = asyncio.create_task(asyncray.shutdown())
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    with pytest.raises(AsyncrayError):
        async with asyncio.timeout(5):
            await ref
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(host, int(port))


async def test_values_that_are_here_can_be_read_after_shutdown() -> None:
    import numpy as np

    async with asyncray.init(num_cpus=1):
        small, large = await asyncray.put([1]), await asyncray.put(np.arange(1_000_000))
        view = await large
    assert await small == [1]
    assert view.sum() == 499_999_500_000
    part = view[10:20].copy()
    del view, large
    assert part.sum() == 145


async def test_a_remote_call_after_shutdown_starts_a_new_cluster() -> None:
    async with asyncray.init(num_cpus=1):
        handle = await asyncray.put(1)
        first = runtime().job_id
    assert await identity.remote(2) == 2
    assert runtime().job_id != first
    assert await handle == 1
    await asyncray.shutdown()
