"""An object on its way to a node, whose neighbours are stand-ins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from asyncray import messages
from asyncray.errors import ObjectLostError
from asyncray.node.incoming import Grant, Incoming, Requests
from asyncray.store.pulls import Pull
from asyncray.store.sources import Sources

KEY = b"k" * 36
THERE = b"m" * 16


class Surroundings:
    """Store, exchange with one link, and bulk channel, as far as an Incoming uses them."""

    lost = False

    def __init__(self) -> None:
        self.arena = self
        self.requests = Requests()
        self.on_last_byte: Callable[[], None] = lambda: None
        self.sealed = self.aborted = False
        self.told: list[tuple[Any, ...]] = []

    def link(self, node_id: bytes, address: str) -> Surroundings:
        return self

    def find(self, node_id: bytes) -> Surroundings:
        return self

    def is_dead(self, node_id: bytes) -> bool:
        return False

    def send(self, *message: Any) -> None:
        self.told.append(message)
        if message[0] == messages.PULL:
            self.requests.answered(message[1], Grant("there:2", 0, []))

    async def create_copy(self, key: bytes, size: int) -> int:
        return 0

    def writable(self, offset: int, size: int) -> memoryview:
        return memoryview(bytearray(size))

    def seal_copy(self, key: bytes, *, backup: bool) -> None:
        self.sealed = True

    def abort_copy(self, key: bytes) -> None:
        self.aborted = True

    async def fetch(
        self, target: str, key: bytes, offset: int, into: memoryview, progress: Callable[[int], None]
    ) -> int | None:
        progress(into.nbytes)
        self.on_last_byte()
        return None


@pytest.mark.parametrize("end", ["", "it is dead", "its owner has freed it"])
async def test_what_is_freed_when_its_last_byte_has_come_leaves_no_copy(end: str) -> None:
    around: Any = Surroundings()
    pull = Pull(KEY, 1000, Sources([[THERE, "there:1"]], b"n" * 16), 1)
    incoming = Incoming(pull, around, around, around, around.requests)
    freed = "freed" in end
    if end:
        around.on_last_byte = lambda: incoming.give_up_source(THERE, end, useless=freed)
    if not freed:
        node, number = await incoming.run()
        assert (node.node_id, number) == (THERE, 0)
    else:
        with pytest.raises(ObjectLostError, match="its owner has freed it"):
            await incoming.run()
    assert (around.sealed, around.aborted) == (not freed, freed)
