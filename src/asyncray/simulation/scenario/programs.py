"""The functions and classes that scenarios run remotely: each does one thing, so that its messages are easy to follow.

Undecorated under their own names, so that they pickle by reference.
"""

from __future__ import annotations

import asyncio
from typing import Any

import asyncray
import asyncray.sync
from asyncray.api.actor import ActorHandle
from asyncray.simulation.threads import sleep as block
from asyncray.worker.object_ref import ObjectRef


def double(x: Any) -> Any:
    return 2 * x


def add(*numbers: Any) -> Any:
    return sum(numbers)


def length(value: Any) -> int:
    return len(value)


def zeros(count: int) -> bytes:
    """That many bytes."""
    return bytes(count)


def total_length(*values: Any) -> int:
    return sum(len(value) for value in values)


def hold(seconds: float, value: Any) -> int:
    """Has its argument for that long."""
    block(seconds)
    return len(value)


def fail(text: str) -> None:
    raise ValueError(text)


def sleep(seconds: float, value: Any = None) -> Any:
    """Keeps its worker busy."""
    block(seconds)
    return value


async def async_sleep(seconds: float, value: Any = None) -> Any:
    await asyncio.sleep(seconds)
    return value


def double_elsewhere(x: Any, rest: float = 0) -> Any:
    """Waits for a task of its own, and then works for `rest` seconds."""
    doubled = asyncray.sync.get(asyncray.remote(double).remote(x))
    if rest:
        block(rest)
    return doubled


def double_all(*numbers: Any) -> Any:
    """Waits for many tasks of its own."""
    doubled = asyncray.remote(double)
    return sum(asyncray.sync.get([doubled.remote(x) for x in numbers]))


def hold_and_wait(value: Any, count: int) -> int:
    """Has its argument while it waits for a task of its own, which makes that many bytes."""
    return len(value) + len(asyncray.sync.get(asyncray.remote(zeros).remote(count)))


def wrap(value: Any) -> list[ObjectRef]:
    """Puts its argument, and returns the reference in a list."""
    return [asyncray.sync.put(value)]


def start(seconds: float, value: Any) -> list[ObjectRef]:
    """Submits a task, and returns its reference in a list without waiting."""
    return [asyncray.remote(sleep).remote(seconds, value)]


def start_zeros(count: int, resource: str) -> list[ObjectRef]:
    """Submits a task with a large result to where there is that resource, and returns its reference in a list."""
    return [asyncray.remote(zeros).options(resources={resource: 1}).remote(count)]


def add_to(counter: ActorHandle, amount: int) -> int:
    """Waits for a call of a counter."""
    return int(asyncray.sync.get(counter.add.remote(amount)))


def leave_calls(counter: ActorHandle) -> None:
    """Leaves a task behind that calls the counter, and a call of the counter with what that task returns."""
    counter.add.remote(asyncray.remote(add_to).remote(counter, 1))


def same(value: Any) -> Any:
    """Returns what it was given: references in containers, too."""
    return value


def look(refs: list[ObjectRef]) -> Any:
    """The value of the only reference in a list."""
    return asyncray.sync.get(refs[0])


class Counter:
    def __init__(self, start: int = 0) -> None:
        self.count = start

    def add(self, amount: int = 1) -> int:
        self.count += amount
        return self.count

    def sleep(self, seconds: float) -> int:
        block(seconds)
        return self.count


class Broken:
    """Its constructor raises."""

    def __init__(self) -> None:
        raise ValueError("there is no such device")

    def use(self) -> None: ...


class Keeper:
    """Holds references until it is told to drop them."""

    def __init__(self) -> None:
        self.kept: list[ObjectRef] = []

    def keep(self, refs: list[ObjectRef]) -> int:
        self.kept += refs
        return len(self.kept)

    def read(self) -> list[Any]:
        return list(asyncray.sync.get(self.kept))

    async def wait(self) -> list[Any]:
        return list(await asyncray.get(self.kept))

    def give(self) -> list[ObjectRef]:
        """Returns the references, and keeps them."""
        return self.kept

    def hand_to(self, other: ActorHandle) -> int:
        """Has another keeper keep the same."""
        return int(asyncray.sync.get(other.keep.remote(self.kept)))

    def drop(self) -> None:
        self.kept.clear()
