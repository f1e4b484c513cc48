"""`asyncray memory`: who holds what, in real processes."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest

import asyncray
from asyncray import ObjectRef
from asyncray.api.connection import require_runtime

from .polling import eventually

SIZE = 300_000


def stay(here: Path, until: Path) -> None:
    here.write_text(str(os.getpid()))
    while not until.exists():
        time.sleep(0.005)


@asyncray.remote
class Keeper:
    def __init__(self) -> None:
        self.kept: list[ObjectRef] = []

    def keep(self, refs: list[ObjectRef]) -> int:
        self.kept += refs
        return os.getpid()


@asyncray.remote
def hold(data: bytes, here: Path, until: Path) -> int:
    stay(here, until)
    return len(data)


@asyncray.remote(num_cpus=0)
class Blocker:
    async def block(self, here: Path, until: Path) -> None:
        stay(here, until)  # on the loop, as no coroutine should


async def memory(address: str, *options: str) -> str:
    """What the command prints."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "asyncray", "memory", "--address", address, *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert (process.returncode, errors) == (0, b""), errors.decode()
    return output.decode()


async def report(address: str, *options: str) -> Any:
    return json.loads(await memory(address, "--format", "json", "--limit", "1000", *options))


def holders(found: Any, ref: ObjectRef) -> dict[int, Any]:
    """The rows of an object, by the pid of who holds it."""
    return {row["holder"]["pid"]: row for row in found["references"] if row["object_id"] == ref.id.hex()}


async def written(path: Path) -> int:
    return int(await eventually(lambda: path.exists() and path.read_text()))


async def test_every_holder_of_an_object_is_shown_with_what_keeps_it(tmp_path: Path) -> None:
    until = tmp_path / "until"
    async with asyncray.init(num_cpus=2) as cluster:
        large = await asyncray.put(os.urandom(SIZE))
        small = await asyncray.put("small")
        outer = await asyncray.put([small])
        keeper = Keeper.remote()
        keeper_pid = await keeper.keep.remote([large])
        task = hold.remote(large, tmp_path / "here", until)
        task_pid = await written(tmp_path / "here")
        me = os.getpid()

        found = await report(cluster.address)
        rows = holders(found, large)
        assert set(rows) == {me, keeper_pid, task_pid}
        assert rows[me]["types"] == ["USED_BY_PENDING_TASK", "BORROWED", "LOCAL_REFERENCE"]
        assert rows[keeper_pid]["types"] == ["BORROWED", "LOCAL_REFERENCE"]
        assert rows[task_pid]["types"] == ["PINNED_IN_MEMORY"]
        assert rows[keeper_pid]["holder"]["name"] == "Keeper"
        assert rows[task_pid]["holder"]["name"] == "hold"
        [node] = found["nodes"]
        for row in rows.values():
            assert SIZE < row["size"] < SIZE + 1000
            assert row["owner"]["pid"] == me
            [copy] = row["copies"]
            assert (copy["node_id"], copy["where"]) == (node["node_id"], ["arena primary"])
        assert node["objects"] == 1
        assert SIZE < node["pinned"] <= node["used"] <= node["capacity"]
        [row] = holders(found, small).values()
        assert (row["types"], row["state"], row["copies"]) == (["CAPTURED_IN_OBJECT", "LOCAL_REFERENCE"], "process", [])
        [row] = holders(found, outer).values()
        assert row["types"] == ["LOCAL_REFERENCE"]
        [row] = holders(found, task).values()
        assert (row["state"], row["types"]) == ("pending", ["LOCAL_REFERENCE"])
        [handle] = [row for row in found["references"] if "ACTOR_HANDLE" in row["types"]]
        assert handle["holder"]["pid"] == me
        assert found["silent"] == []

        table = await memory(cluster.address)
        assert large.id.hex() in table
        assert "arena primary" in table
        until.touch()
        assert await task == SIZE


async def test_a_process_whose_loop_is_blocked_does_not_hinder_the_others(tmp_path: Path) -> None:
    until = tmp_path / "until"
    async with asyncray.init(num_cpus=1) as cluster:
        ref = await asyncray.put(os.urandom(SIZE))
        blocker = Blocker.remote()
        blocked = blocker.block.remote(tmp_path / "here", until)
        pid = await written(tmp_path / "here")
        found = await report(cluster.address)
        [silent] = found["silent"]
        assert (silent["pid"], silent["name"]) == (pid, "Blocker")
        assert os.getpid() in holders(found, ref)
        assert f"pid {pid}" in await memory(cluster.address)
        until.touch()
        await blocked


async def test_call_sites_are_shown_where_they_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASYNCRAY_RECORD_CALL_SITES", "1")

    async def sites(address: str, *refs: ObjectRef) -> list[str]:
        found = await report(address, "--group-by", "call-site")
        return [row["call_site"] for ref in refs for row in holders(found, ref).values()]

    async with asyncray.init(num_cpus=1) as cluster:
        keeper = Keeper.remote()
        results: list[Awaitable[Any]] = [keeper.keep.remote([])]
        put = await asyncray.put("value")
        await asyncio.gather(*results)
        [site] = await sites(cluster.address, put)
        assert site.startswith(f"{__file__}:")
        assert site.endswith(" in test_call_sites_are_shown_where_they_are_recorded()")
        [called] = await sites(cluster.address, results[0])  # type: ignore[arg-type]
        assert called.startswith(f"{__file__}:")
        assert int(called.split(":")[1].split()[0]) + 1 == int(site.split(":")[1].split()[0])
        assert "references" in await memory(cluster.address, "--group-by", "call-site")


async def test_without_that_no_call_site_is_recorded() -> None:
    async with asyncray.init(num_cpus=1) as cluster:
        ref = await asyncray.put("value")
        [row] = holders(await report(cluster.address), ref).values()
        assert row["call_site"] == ""
        assert "unknown: set" in await memory(cluster.address, "--group-by", "call-site")


async def test_a_process_tells_of_its_largest_objects_and_counts_the_others() -> None:
    async with asyncray.init(num_cpus=1):
        refs = [await asyncray.put("x" * (100 * number)) for number in range(1, 8)]
        rows, left_out = await require_runtime().memory_rows.largest(3)
        assert [row[0] for row in rows] == [ref.id for ref in refs[:3:-1]]
        assert left_out == 4
