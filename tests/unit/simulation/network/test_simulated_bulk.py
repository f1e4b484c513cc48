"""The bulk channel of simulated nodes: virtual time, and what ends a transfer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from asyncray.config import DEFAULT
from asyncray.errors import ConnectionFailed, ObjectLostError, ProtocolError
from asyncray.platform import Platform
from asyncray.simulation.network import Conditions, Latency
from asyncray.simulation.process import Process
from asyncray.simulation.world import World
from asyncray.store.bulk import Bulk
from asyncray.store.source import Source

KEY = b"k" * 36
SIZE = 10_000_000
CONTENT = bytes(range(250)) * (SIZE // 250)
STEADY = Conditions(local=Latency(0.001), remote=Latency(0.001), bandwidth=1e7)
"""A transfer takes a second, and a few milliseconds."""


class Pair:
    """A process that has an object, and one on another machine that fetches it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.server, self.client = world.process("node 1", "10.0.0.1"), world.process("node 2", "10.0.0.2")
        self.open = 0
        self.file: tuple[str, int] | None = None
        self.progress = 0
        self.into = bytearray()
        self.target = ""

    async def start(self) -> Bulk:
        """Returns the client's bulk channel."""
        platform = self.world.platform(self.server)
        arena = platform.arenas.create(SIZE + 4096)
        arena.view(4096, SIZE)[:] = CONTENT
        server = await self.run(self.server, bulk_of(platform).serve("10.0.0.1", self.source, arena))
        self.target = f"10.0.0.1:{server.port}"
        return bulk_of(self.world.platform(self.client))

    def source(self, key: bytes) -> Source | None:
        if key != KEY:
            return None
        self.open += 1
        return Source(SIZE, None if self.file else 4096, self.file, 5, self._closed)

    def _closed(self) -> None:
        self.open -= 1

    async def run(self, process: Process, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return await process.spawn(coroutine, "test")

    def fetch(self, bulk: Bulk, offset: int = 0, *, key: bytes = KEY, size: int = SIZE) -> asyncio.Task[int | None]:
        self.into = bytearray(size - offset)

        def progress(count: int) -> None:
            self.progress = count

        return self.client.spawn(bulk.fetch(self.target, key, offset, memoryview(self.into), progress), "fetch")


def bulk_of(platform: Platform) -> Bulk:
    assert platform.bulk is not None
    return platform.bulk


def run(program: Callable[[Pair], Coroutine[Any, Any, None]]) -> None:
    world = World(1, DEFAULT, STEADY, horizon=1000)
    pair = Pair(world)
    world.run(program(pair))


def now() -> float:
    return asyncio.get_running_loop().time()


def test_it_takes_as_long_as_the_network_needs_for_so_many_bytes() -> None:
    async def program(pair: Pair) -> None:
        bulk = await pair.start()
        begun = now()
        assert await pair.fetch(bulk) == 5
        assert bytes(pair.into) == CONTENT and pair.progress == SIZE
        assert 1.0 < now() - begun < 1.02
        begun = now()
        await pair.fetch(bulk, SIZE // 2)
        assert bytes(pair.into) == CONTENT[SIZE // 2 :]
        assert 0.5 < now() - begun < 0.52
        await asyncio.sleep(1)
        assert pair.open == 0

    run(program)


def test_a_file_is_read_from_the_disk_of_its_machine() -> None:
    async def program(pair: Pair) -> None:
        bulk = await pair.start()
        disk = pair.world.disk("10.0.0.1")
        await pair.run(pair.server, disk.write("/spilled", [b"before", CONTENT[::-1]]))
        pair.file = ("/spilled", 6)
        await pair.fetch(bulk, 100)
        assert bytes(pair.into) == CONTENT[::-1][100:]
        await pair.run(pair.server, disk.remove("/spilled"))
        with pytest.raises(ConnectionFailed, match="lost after 0 of"):
            await pair.fetch(bulk)

    run(program)


def test_what_is_not_there_or_has_another_size_is_said_so() -> None:
    async def program(pair: Pair) -> None:
        bulk = await pair.start()
        with pytest.raises(ObjectLostError):
            await pair.fetch(bulk, key=b"x" * 36)
        with pytest.raises(ProtocolError, match="has 10000000 bytes of an object of 10000001"):
            await pair.fetch(bulk, size=SIZE + 1)
        await asyncio.sleep(30)
        assert pair.open == 0

    run(program)


def test_a_partition_delays_it_or_is_given_up_after_ten_seconds() -> None:
    async def program(pair: Pair) -> None:
        bulk, network = await pair.start(), pair.world.network
        begun, fetch = now(), pair.fetch(bulk)
        await asyncio.sleep(0.5)
        network.partition("10.0.0.1", "10.0.0.2")
        await asyncio.sleep(5)
        network.heal_all()
        await fetch
        assert 6.0 < now() - begun < 6.1 and bytes(pair.into) == CONTENT
        begun, fetch = now(), pair.fetch(bulk)
        await asyncio.sleep(0.5)
        network.partition("10.0.0.1", "10.0.0.2")
        with pytest.raises(ConnectionFailed, match=r"lost after \d+ of 10000000 bytes: nothing came for 10 s"):
            await fetch
        assert 10 < now() - begun < 21
        assert bytes(pair.into[: pair.progress]) == CONTENT[: pair.progress] and pair.progress > SIZE // 3
        network.heal_all()
        await asyncio.sleep(60)
        assert pair.open == 0

    run(program)


@pytest.mark.parametrize("how", ["cut", "killed", "machine"])
def test_an_end_in_the_middle_says_how_far_it_got(how: str) -> None:
    async def program(pair: Pair) -> None:
        bulk, network = await pair.start(), pair.world.network
        begun, fetch = now(), pair.fetch(bulk)
        await asyncio.sleep(0.5)
        if how == "cut":
            network.cut("10.0.0.1", "10.0.0.2")
        elif how == "killed":
            pair.server.kill("killed by SIGKILL")
        else:
            network.host_died("10.0.0.1")
            pair.server.kill("its machine lost power")
        with pytest.raises(ConnectionFailed, match=r"lost after \d{7} of 10000000 bytes"):
            await fetch
        assert now() - begun < (21 if how == "machine" else 0.6)
        assert bytes(pair.into[: pair.progress]) == CONTENT[: pair.progress]
        await asyncio.sleep(1)
        assert pair.open == (0 if how == "cut" else 1)  # the dead close nothing

    run(program)


def test_a_fetch_that_is_cancelled_gets_no_more() -> None:
    async def program(pair: Pair) -> None:
        bulk = await pair.start()
        fetch = pair.fetch(bulk)
        await asyncio.sleep(0.5)
        fetch.cancel()
        await asyncio.wait([fetch])
        reached = pair.progress
        await asyncio.sleep(1)
        assert pair.progress == reached and pair.open == 0

    run(program)
