"""Pins and blocks of the node's store, over a node that answers when the test says so."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from asyncray import messages
from asyncray.errors import AsyncrayError, NodeDiedError, ObjectLostError, ObjectStoreFullError, OutOfDiskError
from asyncray.messages import FOR_ARGUMENTS, FOR_GET, FOR_WAIT
from asyncray.serialization import Serialized
from asyncray.worker import store_client
from asyncray.worker.store_client import Pin, StoreClient

KEY = bytes(36)
PLACE = [b"n" * 16, "10.0.0.1:1"]
GRANTED = [0, 8, 0, ""]
LOST = [0, messages.PIN_LOST, 0, "is nowhere"]


class Node:
    """Keeps requests until they are answered, and counts the pins and blocks of the process, as a node's table does."""

    lost = False
    arena = ("", 0, 0, "")

    def __init__(self) -> None:
        self.pins = self.blocks = self.sealed = 0
        self.requests: dict[int, tuple[list[Any], asyncio.Future[list[Any]]]] = {}
        self._number = 0

    def ask(self, kind: int, *fields: Any) -> tuple[int, asyncio.Future[list[Any]]]:
        self._number += 1
        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self.requests[self._number] = [kind, *fields], future
        return self._number, future

    def priorities(self) -> list[int]:
        return [fields[-1] for fields, _ in self.requests.values()]

    def answer(self, *answer: Any) -> None:
        """Answers the oldest request."""
        self._answer(next(iter(self.requests)), list(answer))

    def _answer(self, number: int, answer: list[Any]) -> None:
        (kind, *_), future = self.requests.pop(number)
        if kind == messages.PIN:
            self.pins += answer[1] >= 0
        else:
            self.blocks += answer[0] >= 0
        future.set_result(answer)

    def send(self, kind: int, field: Any) -> None:
        if kind == messages.CANCEL:
            if field in self.requests:
                pin = self.requests[field][0][0] == messages.PIN
                self._answer(field, LOST if pin else [-1, "lost", "is not wanted any more"])
        elif kind == messages.UNPIN:
            self.pins -= 1
        elif kind == messages.SEAL:
            self.sealed += 1
        else:
            assert kind == messages.ABORT
            self.blocks -= 1

    def die(self) -> None:
        requests, self.requests = self.requests, {}
        for _, future in requests.values():
            future.set_exception(NodeDiedError("the node is gone"))


class Process:
    """A store client and its surroundings."""

    def __init__(self) -> None:
        self.node = Node()
        self.told: list[tuple[bytes, Any]] = []

        async def joined() -> None: ...

        reader = SimpleNamespace(tell_of_copy=lambda object_id, owner: self.told.append((object_id, owner)))
        runtime: Any = SimpleNamespace(nodes=SimpleNamespace(own=self.node, handlers={}), reader=reader, joined=joined)
        self.client = StoreClient(runtime)
        arena: Any = SimpleNamespace(
            view=lambda offset, size: memoryview(bytearray(size)),
            writable=lambda offset, size: memoryview(bytearray(size)),
        )
        self.client._arena = arena

    def read(self, priority: int = FOR_GET, owner: Any = None) -> asyncio.Task[Pin]:
        return asyncio.create_task(self.client.pin(KEY, 8, [PLACE], priority, owner))

    def assert_nothing_held(self) -> None:
        self.client.sweep()
        assert self.node.pins == self.node.blocks == 0 and not self.node.requests
        assert not self.client._pins and not self.client._unused and not self.client._requests


@pytest.fixture
async def process() -> Process:
    return Process()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    await settle()


async def test_readers_of_one_object_share_a_pin(process: Process) -> None:
    readers = [process.read(), process.read()]
    await settle()
    assert process.node.priorities() == [FOR_GET]
    process.node.answer(*GRANTED)
    first, second = await asyncio.gather(*readers)
    assert first is second and first.holders == 2 and process.node.pins == 1
    assert process.client.pinned(KEY) is first
    for _ in range(3):
        process.client.sweep()
        assert process.node.pins == 1
        process.client.unhold(first)
    process.assert_nothing_held()


async def test_a_reader_in_a_greater_hurry_has_the_node_hurry(process: Process) -> None:
    readers = [process.read(FOR_WAIT)]
    await settle()
    readers.append(process.read(FOR_ARGUMENTS))
    await settle()
    assert process.node.priorities() == [FOR_ARGUMENTS], "one request is left, the later one"
    readers.append(process.read(FOR_GET))
    process.client.hasten(KEY, FOR_WAIT)
    await settle()
    assert process.node.priorities() == [FOR_ARGUMENTS]
    process.node.answer(*GRANTED)
    pins = await asyncio.gather(*readers)
    assert pins[0].holders == 3 and process.node.pins == 1
    for pin in pins:
        process.client.unhold(pin)
    process.assert_nothing_held()


async def test_what_is_granted_to_a_superseded_request_is_enough(process: Process) -> None:
    reader = process.read(FOR_WAIT)
    await settle()
    process.node.answer(*GRANTED)  # before the second request has reached the node
    process.client.hasten(KEY, FOR_GET)
    process.node.answer(*GRANTED)
    process.client.unhold(await reader)
    await settle()
    process.assert_nothing_held()


async def test_a_reader_that_gives_up_leaves_the_others_their_request(process: Process) -> None:
    impatient, patient = process.read(), process.read()
    await settle()
    await cancelled(impatient)
    assert len(process.node.requests) == 1
    process.node.answer(*GRANTED)
    process.client.unhold(await patient)
    process.assert_nothing_held()


async def test_a_request_that_nobody_waits_for_is_taken_back(process: Process) -> None:
    reader = process.read()
    await settle()
    await cancelled(reader)
    process.assert_nothing_held()


async def test_a_pin_that_was_granted_when_its_reader_gave_up_is_given_back(process: Process) -> None:
    reader = process.read()
    await settle()
    process.node.answer(*GRANTED)
    await cancelled(reader)
    process.assert_nothing_held()


async def test_a_reader_that_comes_after_all_have_given_up_asks_anew(process: Process) -> None:
    first = process.read()
    await settle()
    process.node.answer(*GRANTED)  # on its way
    first.cancel()
    second = process.read()
    await settle()
    if process.node.requests:
        process.node.answer(*GRANTED)
    process.client.unhold(await second)
    await settle()
    process.assert_nothing_held()


async def test_the_owner_hears_of_a_copy_even_if_its_reader_has_given_up(process: Process) -> None:
    reader = process.read(owner="owner")
    await settle()
    process.node.answer(0, 8, 2, "")
    await cancelled(reader)
    assert process.told == [(KEY[:20], "owner")]
    process.assert_nothing_held()


@pytest.mark.parametrize(
    ("size", "kind"),
    [
        (messages.PIN_LOST, ObjectLostError),
        (messages.PIN_FULL, ObjectStoreFullError),
        (messages.PIN_NO_DISK, OutOfDiskError),
    ],
)
async def test_a_pin_that_is_refused_says_why(process: Process, size: int, kind: type[AsyncrayError]) -> None:
    readers = [process.read(), process.read()]
    await settle()
    process.node.answer(0, size, 0, "is far too large")
    outcomes = await asyncio.gather(*readers, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [kind, kind]
    assert outcomes[0] is not outcomes[1] and "is far too large" in str(outcomes[0])
    process.assert_nothing_held()


async def test_readers_learn_of_the_death_of_their_node(process: Process) -> None:
    reader = process.read()
    await settle()
    process.node.die()
    with pytest.raises(NodeDiedError, match="gone"):
        await reader
    await settle()
    process.assert_nothing_held()


@pytest.mark.parametrize(
    ("kind", "error"), [("full", ObjectStoreFullError), ("disk", OutOfDiskError), ("lost", ObjectLostError)]
)
async def test_a_creation_that_is_refused_says_why(process: Process, kind: str, error: type[AsyncrayError]) -> None:
    creation = asyncio.create_task(process.client.create(KEY, 8))
    await settle()
    process.node.answer(-1, kind, "there is no room")
    with pytest.raises(error, match="there is no room"):
        await creation


async def test_a_creation_that_is_cancelled_is_taken_back(process: Process) -> None:
    waiting = asyncio.create_task(process.client.create(KEY, 8))
    await settle()
    await cancelled(waiting)
    process.assert_nothing_held()
    granted = asyncio.create_task(process.client.create(KEY, 8))
    await settle()
    process.node.answer(64, "", "")
    await cancelled(granted)
    process.assert_nothing_held()


async def test_an_object_taken_again_and_again_while_a_view_of_it_lives_costs_nothing_more(process: Process) -> None:
    reader = process.read()
    await settle()
    process.node.answer(*GRANTED)
    pin = await reader
    view = pin.view.acquire()
    process.client.unhold(pin)
    for _ in range(1000):
        again = process.client.pinned(KEY)
        assert again is pin
        process.client.unhold(pin)
    process.client.sweep()
    assert len(process.client._unused) == 1 and process.node.pins == 1
    del view
    process.assert_nothing_held()


async def test_memory_that_cannot_be_attached_fails_who_asked_and_nobody_waits_for_ever(process: Process) -> None:
    def fails(*_: Any) -> memoryview:
        raise OSError(24, "Too many open files")

    process.client._arena = cast(Any, SimpleNamespace(view=fails, writable=fails))
    reader = process.read()
    await settle()
    process.node.answer(*GRANTED)
    with pytest.raises(ObjectLostError, match="Too many open files"):
        await reader
    creation = asyncio.create_task(process.client.create(KEY, 8))
    await settle()
    process.node.answer(64, "", "")
    with pytest.raises(OSError, match="Too many open files"):
        await creation
    process.assert_nothing_held()


async def test_others_have_their_turn_while_a_large_value_is_written(process: Process, monkeypatch: Any) -> None:
    monkeypatch.setattr(store_client, "_WRITTEN_AT_ONCE", 1024 * 1024)
    written = bytearray(8 * 1024 * 1024)
    process.client._arena = cast(Any, SimpleNamespace(writable=lambda offset, size: memoryview(written)))
    process.client._runtime = runtime = cast(Any, SimpleNamespace(**vars(process.client._runtime), stopping=False))
    value = Serialized.of_bytes(bytes(range(256)) * 4 * 1024 * 8)
    assert value.size == 8 * 1024 * 1024
    for interrupt in (None, "cancel", "stop"):
        written[:] = bytes(len(written))
        put = asyncio.create_task(process.client.put(KEY, value))
        await settle()
        process.node.answer(64, "", "")
        turns = 0
        while written[0] == written[1]:
            await asyncio.sleep(0)
        if interrupt == "cancel":
            put.cancel()
        runtime.stopping = interrupt == "stop"
        while not put.done():
            await asyncio.sleep(0)
            turns += 1
        if interrupt is None:
            assert turns > 5 and written == value.to_bytes() and process.node.sealed == 1
        else:
            kind = asyncio.CancelledError if interrupt == "cancel" else AsyncrayError
            with pytest.raises(kind):
                await put
    assert process.node.blocks == process.node.sealed == 1
