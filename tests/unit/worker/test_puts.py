"""What a process puts, and what a task puts once more when it runs again in the same process."""

from __future__ import annotations

from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest

from asyncray.config import Config
from asyncray.messages import ERROR, INLINE, STORED
from asyncray.worker.puts import Puts

from .object_world import Process, World, settle

LARGE = bytes(200)


@pytest.fixture
async def process() -> Process:
    """Its store notes the sizes of what it is given."""
    world = World()
    process = world.process("p", world.node("n"))
    process.sizes = sizes = []  # type: ignore[attr-defined]

    async def put(key: bytes, serialized: Any) -> None:
        sizes.append(serialized.size)

    process.runtime.store = SimpleNamespace(put=put, unhold=process.store.unhold)
    process.runtime.config = Config(inline_limit=100)
    process.runtime.dropped = []
    return process


def puts(process: Process) -> Puts:
    """Of a task that begins to run."""
    numbers = count(1)
    process.runtime.root = SimpleNamespace(task_id=b"t" * 16, name="task", next_put=lambda: next(numbers))
    return Puts(process.runtime)


@pytest.mark.parametrize("again", [LARGE, b"small", 7])
@pytest.mark.parametrize("value", [LARGE, b"small", 7])
async def test_what_is_put_again_stays_what_and_where_it_is(process: Process, value: Any, again: Any) -> None:
    first = await puts(process).put(value)
    state, known = first._reference.state, first._reference.value
    assert state == (STORED if value is LARGE else INLINE)
    second = await puts(process).put(again)
    assert second._reference is first._reference
    assert (first._reference.state, first._reference.value) == (state, known)
    assert len(process.sizes) == (value is LARGE)  # type: ignore[attr-defined]


async def test_what_was_lost_can_be_put_again(process: Process) -> None:
    first = await puts(process).put(LARGE)
    process.objects.lose(first._reference, process.location(first._reference), ValueError("it is lost"))
    assert first._reference.state == ERROR
    second = await puts(process).put(LARGE)
    assert second._reference is first._reference and first._reference.state == STORED


async def test_arguments_that_are_stored_again_take_the_place_of_those_before(process: Process) -> None:
    first = puts(process).arguments(LARGE)
    await settle(process.world)
    location = process.location(first._reference)
    second = puts(process).arguments(LARGE + LARGE)
    await settle(process.world)
    assert second._reference is first._reference
    assert process.location(first._reference) is location
    assert [location.size] == process.sizes[1:]  # type: ignore[attr-defined]
