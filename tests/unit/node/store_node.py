"""A node's real store, whose processes are puppets, and whose disk is simulated."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from itertools import count
from typing import Any

from asyncray import messages
from asyncray.config import DEFAULT, Config
from asyncray.ids import store_key
from asyncray.node.sessions import Sessions
from asyncray.node.store_manager import StoreManager
from asyncray.platform import Platform
from asyncray.simulation.disk import SimulatedDisk
from asyncray.simulation.invariants.node_memory import table_inconsistencies
from asyncray.simulation.memory import SimulatedArenas

from .puppet_node import JOB, Puppet

MIB = 1 << 20
OWNER = b"d" * 16
HERE, THERE = [b"n" * 16, "here:1"], [b"m" * 16, "there:1"]


def key(number: int) -> bytes:
    return store_key(number.to_bytes(20, "big"), OWNER)


class Node:
    """A store of 8 MiB, one driver that owns everything, and workers."""

    def __init__(self, config: Config = DEFAULT) -> None:
        self.sessions = Sessions(b"n" * 16, lambda: "here:1")
        self.disk = SimulatedDisk(random.Random(0))
        self.living = {1}
        """Pids."""
        platform = Platform(
            None,  # type: ignore[arg-type]
            arenas=SimulatedArenas(self.disk),
            disk=self.disk,
            is_running=lambda pid: pid in self.living,
        )
        self.store = StoreManager(self.sessions, platform, 8 * MIB, config, b"n" * 16, ["/spilled"], "/session")
        self.dropped: list[bytes] = []
        self.freed: list[bytes] = []
        self.store.on_dropped.append(self.dropped.append)
        self.store.on_freed.append(self.freed.extend)
        self._numbers = count(1)

    async def start(self) -> Node:
        await self.store.start()
        self.running = asyncio.ensure_future(self.store._background.run())
        self.driver, self.worker = Puppet(self, OWNER, JOB), Puppet(self, b"w" * 16, None)  # type: ignore[arg-type]
        return self

    async def stop(self) -> None:
        assert not self.running.done(), "what fails in the background ends the node"
        self.running.cancel()
        await self.store.stop()
        assert list(table_inconsistencies("node", self.store.table)) == []

    def create(self, puppet: Puppet, number: int, size: int) -> int:
        request = next(self._numbers)
        puppet.say(messages.CREATE, request, key(number), size)
        return request

    def put(self, number: int, size: int, byte: int | None = None) -> None:
        request = self.create(self.driver, number, size)
        ((answered, offset, _, _),) = self.driver.heard(messages.CREATED)
        assert answered == request and offset >= 0
        self.store.arena.view(offset, size)[:] = bytes([byte if byte is not None else number]) * size
        self.driver.say(messages.SEAL, key(number))

    def pin(self, puppet: Puppet, number: int, *sources: list[Any], priority: int = messages.FOR_GET) -> int:
        request = next(self._numbers)
        puppet.say(messages.PIN, request, key(number), MIB, list(sources), priority)
        return request

    def copy(self, number: int, size: int, *, backup: bool = False) -> Coroutine[Any, Any, None]:
        async def pull() -> None:
            await self.store.create_copy(key(number), size)
            self.store.seal_copy(key(number), backup=backup)

        return pull()

    async def until_idle(self) -> None:
        while len(self.store._background):
            await asyncio.sleep(0.01)
