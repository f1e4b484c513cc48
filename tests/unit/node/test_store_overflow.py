"""A node's store when all memory is pinned: objects go to disk, and what they take there comes back."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from asyncray import messages
from asyncray.config import Config
from asyncray.errors import OutOfDiskError

from .store_node import MIB, THERE, Node, key

CONFIG = Config(overflow_after=0.05, store_full_timeout=1.0, spill_retry_delay=0.05)


@pytest.fixture
async def node() -> Any:
    node = await Node(CONFIG).start()
    node.put(1, 7 * MIB)
    node.pin(node.driver, 1)
    await node.until_idle()
    yield node
    await node.stop()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


def answers(node: Node) -> list[tuple[Any, ...]]:
    return [message for message in node.worker.told if message[0] in (messages.CREATED, messages.PINNED)]


async def created(node: Node, number: int, size: int) -> int:
    node.create(node.worker, number, size)
    await until(lambda: answers(node))
    ((_, offset, _, why),) = node.worker.heard(messages.CREATED)
    assert why == ""
    node.store.arena.writable(offset, size)[:] = bytes([number]) * size
    node.worker.say(messages.SEAL, key(number))
    return int(offset)


async def is_empty(node: Node) -> None:
    """Nothing is in the overflow, and the disk has its space again."""
    await until(lambda: node.store.table.overflow.used == 0 and node.disk.contents.nameless == 0)


async def test_an_object_for_which_all_memory_is_pinned_goes_to_disk(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        offsets = [await created(node, number, 2 * MIB) for number in (2, 3)]
    assert all(offset >= 8 * MIB for offset in offsets)
    (warning,) = (record.message for record in caplog.records)
    assert "put on disk, in / " in warning and f"{8 * MIB} bytes {7 * MIB} are pinned by 1 readers" in warning
    assert node.disk.contents.nameless == 4 * MIB
    for number, offset in zip((2, 3), offsets, strict=True):
        node.pin(node.worker, number)
        ((_, found, size, _, _),) = node.worker.heard(messages.PINNED)
        assert (found, size) == (offset, 2 * MIB)
        assert bytes(node.store.arena.view(found, 1)) == bytes([number])
    assert node.store.table.statistics().used == 7 * MIB
    node.driver.say(messages.FREE, [key(2), key(3)])
    assert node.disk.contents.nameless == 4 * MIB
    node.worker.hang_up()
    await is_empty(node)


async def test_other_nodes_are_served_from_there(node: Node) -> None:
    offset = await created(node, 2, 2 * MIB)
    source = node.store.source(key(2))
    assert source is not None and source.offset == offset and source.file is None
    node.driver.say(messages.FREE, [key(2)])
    await asyncio.sleep(0)
    assert node.store.table.overflow.used == 2 * MIB
    source.close()
    await is_empty(node)


async def test_what_is_spilled_is_read_back_into_it_and_goes_with_its_readers(node: Node) -> None:
    node.driver.say(messages.UNPIN, key(1))
    node.put(2, 7 * MIB)
    node.put(3, MIB)
    await node.until_idle()
    assert not node.store.table.in_arena(key(1))
    node.pin(node.driver, 2)
    node.pin(node.worker, 1)
    await until(lambda: answers(node))
    ((_, offset, size, _, _),) = node.worker.heard(messages.PINNED)
    assert offset >= 8 * MIB and bytes(node.store.arena.view(offset, size)) == b"\1" * size
    node.worker.say(messages.UNPIN, key(1))
    await is_empty(node)
    assert node.store.holds(key(1)) and not node.store.table.in_arena(key(1))


async def test_a_copy_of_another_nodes_object_goes_with_its_readers(node: Node) -> None:
    async def fetch(*request: Any) -> int:
        await node.copy(2, 2 * MIB)
        return 0

    node.store.fetch = fetch
    node.pin(node.worker, 2, THERE)
    await until(lambda: answers(node))
    assert node.store.table.overflow.used == 2 * MIB
    await asyncio.sleep(0.05)
    assert node.dropped == []
    node.worker.say(messages.UNPIN, key(2))
    await is_empty(node)
    assert node.dropped == [key(2)]


@pytest.mark.parametrize("end", ["cancel", "free", "hang up", "room"])
async def test_disk_space_that_nobody_wants_any_more_comes_back(node: Node, end: str) -> None:
    node.disk.slow(1000)
    request = node.create(node.worker, 2, 2 * MIB)
    await until(lambda: node.store.table.overflow.reserving is not None)
    if end == "cancel":
        node.worker.say(messages.CANCEL, request)
    elif end == "free":
        node.driver.say(messages.FREE, [key(2)])
    elif end == "hang up":
        node.worker.hang_up()
    else:
        node.driver.say(messages.UNPIN, key(1))
        node.driver.say(messages.FREE, [key(1)])
        ((_, offset, kind, _),) = node.worker.heard(messages.CREATED)
        assert (offset, kind) == (0, "")
    await is_empty(node)


async def test_a_full_disk_is_an_error_in_the_end_that_says_so(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    node.disk.conditions = replace(node.disk.conditions, capacity=MIB)
    node.create(node.worker, 2, 2 * MIB)
    await until(lambda: answers(node))
    ((_, offset, kind, why),) = node.worker.heard(messages.CREATED)
    assert (offset, kind) == (-1, "disk")
    assert "No space left on device" in why and f"{2 * MIB} bytes" in why
    assert [record.levelname for record in caplog.records if "put on disk" in record.message] == ["WARNING"]
    with pytest.raises(OutOfDiskError):
        await node.store.create_copy(key(3), 2 * MIB)
    await is_empty(node)
    node.disk.conditions = replace(node.disk.conditions, capacity=100 * MIB)
    assert await created(node, 2, 2 * MIB) >= 8 * MIB


async def test_a_smaller_object_may_fit_a_disk_that_is_nearly_full(node: Node) -> None:
    node.disk.conditions = replace(node.disk.conditions, capacity=node.disk.contents.used + 3 * MIB)
    large = node.create(node.worker, 2, 4 * MIB)
    small = node.create(node.worker, 3, 2 * MIB)
    await until(lambda: len(answers(node)) == 2)
    kinds = {number: kind for number, _, kind, _ in node.worker.heard(messages.CREATED)}
    assert kinds == {small: "", large: "disk"}


async def test_a_disk_that_fails_loses_nothing(node: Node) -> None:
    offset = await created(node, 2, 2 * MIB)
    node.disk.fail(errno.EIO)
    node.driver.say(messages.FREE, [key(2)])
    await until(lambda: node.store.table.overflow.used == 0)
    request = node.create(node.worker, 3, 2 * MIB)
    await until(lambda: node.store.table.overflow.trouble)
    node.disk.heal()
    await until(lambda: answers(node))
    assert node.worker.heard(messages.CREATED) == [(request, offset, "", "")]
    assert node.disk.contents.nameless == 2 * MIB


async def test_what_is_larger_than_the_arena_does_not_go_there(node: Node) -> None:
    node.create(node.worker, 2, 9 * MIB)
    ((_, offset, kind, why),) = node.worker.heard(messages.CREATED)
    assert (offset, kind) == (-1, "full") and f"{9 * MIB} bytes cannot fit" in why
