"""Pins of objects in the node's store, over a node that grants everything at once."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from asyncray import messages
from asyncray.worker.store_client import StoreClient

OBJECT = bytes(36), 8, [], messages.FOR_GET


class Node:
    """Counts the pins of the process, as the node's table does."""

    lost = False
    arena_path = ""
    arena_capacity = 0

    def __init__(self) -> None:
        self.pins = 0

    async def request(self, kind: int, key: bytes, size: int, sources: list[Any], priority: int) -> list[Any]:
        assert kind == messages.PIN
        await asyncio.sleep(0)
        self.pins += 1
        return [0, 8, 0, ""]

    def send(self, kind: int, key: bytes) -> None:
        assert kind == messages.UNPIN
        self.pins -= 1


def client_of(node: Node) -> StoreClient:
    def spawn(coroutine: Any, *, name: str) -> asyncio.Task[Any]:
        return asyncio.get_running_loop().create_task(coroutine)

    runtime: Any = SimpleNamespace(nodes=SimpleNamespace(own=node, handlers={}), spawn=spawn)
    client = StoreClient(runtime)
    client._arena = SimpleNamespace(view=lambda offset, size: memoryview(bytearray(size)))  # type: ignore[assignment]
    return client


async def test_requests_that_cross_end_as_one_pin() -> None:
    node = Node()
    client = client_of(node)
    first, second = await asyncio.gather(client.pin(*OBJECT), client.pin(*OBJECT))
    assert first is second and first.holders == 2 and node.pins == 1
    client.unhold(first)
    client.sweep()
    assert node.pins == 1
    client.unhold(first)
    client.sweep()
    assert node.pins == 0 and client.pinned(OBJECT[0]) is None


async def test_a_pin_whose_request_was_cancelled_is_given_back() -> None:
    node = Node()
    client = client_of(node)
    waiting = asyncio.create_task(client.pin(*OBJECT))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    for _ in range(5):
        await asyncio.sleep(0)
    assert waiting.cancelled() and node.pins == 0


async def test_an_object_taken_again_and_again_while_a_view_of_it_lives_costs_nothing_more() -> None:
    node = Node()
    client = client_of(node)
    pin = await client.pin(*OBJECT)
    view = pin.view.acquire()
    client.unhold(pin)
    for _ in range(1000):
        again = client.pinned(OBJECT[0])
        assert again is pin
        client.unhold(pin)
    client.sweep()
    assert len(client._unused) == 1 and node.pins == 1
    del view
    client.sweep()
    assert not client._unused and node.pins == 0
