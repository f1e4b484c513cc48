"""Objects of all sizes under load on two nodes with small stores while workers die: `make soak`, not of `make test`.

Two drivers and two actors put, get, pass and drop objects, up to 200 MB each and several times what fits in memory
together, so that they are evicted, spilled, and moved between the nodes. Every byte that is read is checked. In the end
nothing may be left. `SOAK_SECONDS` (600) and `SOAK_SEED` (random, printed) set how long, and which choices.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

import asyncray
from asyncray.errors import ActorError
from asyncray.proto import NodeStatus
from asyncray.testing import Cluster

from ..cluster.stores import Stores, connected_stores
from .client import ACTOR, SLICE, Client

pytestmark = pytest.mark.usefixtures("leaves_nothing_behind")

ROOT = Path(__file__).parents[2]
SECONDS = float(os.environ.get("SOAK_SECONDS", "600"))
SEED = int(os.environ.get("SOAK_SEED", random.randrange(1 << 32)))
STORE = 640 * 1024 * 1024
PLACES = ["place 1", "place 2"]
KILL_EVERY = 3.0
REPORT_EVERY = 10.0
LAST_STEPS = 120.0
"""Seconds that the clients may take to end what they have begun."""


@pytest.fixture(autouse=True)
def workers_can_import_test_modules() -> Iterator[None]:
    sys.path.insert(0, str(ROOT))
    yield
    sys.path.remove(str(ROOT))


class Soak:
    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.total: Counter[str] = Counter()
        self.fragmentation: list[float] = []
        self._start = time.monotonic()
        self._reported = self._start
        self._last: Counter[str] = Counter()

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._start

    # ------------------------------------------------------------------- clients

    async def driver_of_this_process(self) -> None:
        client = Client(SEED, PLACES)
        while self.elapsed < SECONDS:
            self.total += await client.run(SLICE)
        await client.leave()

    async def driver_of_its_own(self) -> None:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.soak.client"),
            *(self.cluster.address, str(SEED + 1), ",".join(PLACES), str(SECONDS - self.elapsed)),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            assert process.stdout is not None
            async for line in process.stdout:
                self.total += Counter(json.loads(line))
            assert await process.wait() == 0
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def actor(self, number: int) -> None:
        """The client in an actor; when it is killed, what it owned is lost, and another one takes its place."""
        seed = SEED + 2 + number
        while self.elapsed < SECONDS:
            client = ACTOR.options(resources={PLACES[number]: 0.001}).remote(seed, PLACES)
            try:
                while self.elapsed < SECONDS:
                    self.total += await client.run.remote(SLICE)
                await client.leave.remote()
            except ActorError:
                self.total["actors lost"] += 1
                seed += 1000

    # ---------------------------------------------------------------- around them

    async def killer(self) -> None:
        choose = random.Random(SEED)
        while True:
            await asyncio.sleep(KILL_EVERY)
            workers = [worker for node in self.cluster.nodes for worker in node.workers()]
            if workers:
                with suppress(psutil.NoSuchProcess):
                    choose.choice(workers).kill()
                self.total["kills"] += 1

    async def reporter(self, stores: Stores) -> None:
        while True:
            await asyncio.sleep(REPORT_EVERY)
            await self.report(stores)

    async def report(self, stores: Stores) -> None:
        now = time.monotonic()
        done, seconds = self.total - self._last, now - self._reported
        self._last, self._reported = self.total.copy(), now
        statuses = await stores.statuses()
        self.fragmentation += [fragmentation(status) for status in statuses]
        rates = f"{done['written'] / seconds / 1e6:.0f} MB/s written, {done['read'] / seconds / 1e6:.0f} MB/s read"
        stored = ", ".join(
            f"{status.store_used / 1e6:.0f} MB in {status.store_objects} ({fragmentation(status):.0%} fragmented)"
            for status in statuses
        )
        print(
            f"{self.elapsed:4.0f} s  {done['steps'] / seconds:.1f} steps/s, {rates}; {stored};"
            f" {stores.spilled_bytes() / 1e6:.0f} MB on disk; {self.total['kills']} kills",
            flush=True,
        )

    def summary(self) -> str:
        total = self.total
        actions = {name: count for name, count in sorted(total.items()) if name not in ("written", "read", "steps")}
        return (
            f"{total['steps']} steps in {self.elapsed:.0f} s: {total['written'] / 1e9:.1f} GB written,"
            f" {total['read'] / 1e9:.1f} GB read and found right; {actions};"
            f" fragmentation {sum(self.fragmentation) / len(self.fragmentation):.0%} on average,"
            f" {max(self.fragmentation):.0%} at most"
        )


def fragmentation(status: NodeStatus) -> float:
    """How much of the free memory is not in one piece."""
    free = status.store_capacity - status.store_used
    return 1 - status.store_largest_free / free if free else 0.0


@pytest.mark.timeout(SECONDS + 300)
async def test_objects_of_all_sizes_stay_whole_and_nothing_leaks() -> None:
    print(f"SOAK_SEED={SEED}")
    async with Cluster() as cluster:
        for place in PLACES:
            await cluster.add_node(2, resources={place: 1}, object_store_memory=STORE)
        async with asyncray.init(address=cluster.address), connected_stores(cluster.nodes) as stores:
            soak = Soak(cluster)
            async with asyncio.timeout(SECONDS + LAST_STEPS), asyncio.TaskGroup() as around:
                besides = [around.create_task(soak.killer()), around.create_task(soak.reporter(stores))]
                async with asyncio.TaskGroup() as clients:
                    clients.create_task(soak.driver_of_this_process())
                    clients.create_task(soak.driver_of_its_own())
                    for number in range(len(PLACES)):
                        clients.create_task(soak.actor(number))
                for task in besides:
                    task.cancel()
            gc.collect()
            await soak.report(stores)
            print(soak.summary(), flush=True)
            async with asyncio.timeout(30):
                while not await stores.are_empty():
                    await asyncio.sleep(0.1)
