"""The functions and classes that the rows run remotely.

What submits work itself exists twice: as a coroutine for the async API, and as plain code for the blocking one.
"""

from __future__ import annotations

from typing import Any

import asyncray
from asyncray import sync


@asyncray.remote
def small_value() -> bytes:
    return b"ok"


@asyncray.remote
def size_of(array: Any) -> int:
    return int(array.nbytes)


@asyncray.remote
def array_of_ones(size: int) -> Any:
    import numpy

    return numpy.ones(size // 8)


@asyncray.remote
def number_of(*values: Any) -> int:
    return len(values)


class Answering:
    """An actor that answers."""

    def small_value(self) -> bytes:
        return b"ok"

    def small_value_arg(self, value: Any) -> bytes:
        return b"ok"


Server: Any = asyncray.remote(num_cpus=0)(Answering)


class AnsweringAsync:
    """An async actor that answers."""

    async def small_value(self) -> bytes:
        return b"ok"

    async def small_value_arg(self, value: Any) -> bytes:
        return b"ok"


AsyncServer: Any = asyncray.remote(AnsweringAsync)


class Submitting:
    """An actor that submits tasks, and calls to servers."""

    def __init__(self, *servers: Any) -> None:
        self._servers = servers

    async def tasks(self, count: int) -> None:
        await asyncray.get([small_value.remote() for _ in range(count)])

    async def calls(self, count: int) -> None:
        await asyncray.get([server.small_value.remote() for server in self._servers for _ in range(count)])

    async def calls_with_argument(self, count: int) -> None:
        value = await asyncray.put(0)
        await asyncray.get([server.small_value_arg.remote(value) for server in self._servers for _ in range(count)])


class SubmittingBlocked:
    """The same, blocking."""

    def __init__(self, *servers: Any) -> None:
        self._servers = servers

    def tasks(self, count: int) -> None:
        sync.get([small_value.remote() for _ in range(count)])

    def calls(self, count: int) -> None:
        sync.get([server.small_value.remote() for server in self._servers for _ in range(count)])

    def calls_with_argument(self, count: int) -> None:
        value = sync.put(0)
        sync.get([server.small_value_arg.remote(value) for server in self._servers for _ in range(count)])


def client_class(blocking: bool) -> Any:
    """The remote class of clients that work like the driver."""
    return asyncray.remote(num_cpus=0)(SubmittingBlocked if blocking else Submitting)


@asyncray.remote
async def call_servers(servers: list[Any], count: int) -> None:
    await asyncray.get([servers[number % len(servers)].small_value.remote() for number in range(count)])


@asyncray.remote
def call_servers_blocking(servers: list[Any], count: int) -> None:
    sync.get([servers[number % len(servers)].small_value.remote() for number in range(count)])


@asyncray.remote
async def put_small(count: int) -> None:
    for _ in range(count):
        await asyncray.put(0)


@asyncray.remote
def put_small_blocking(count: int) -> None:
    for _ in range(count):
        sync.put(0)


@asyncray.remote
async def put_arrays(count: int, length: int) -> None:
    import numpy

    for _ in range(count):
        await asyncray.put(numpy.zeros(length, dtype=numpy.int64))


@asyncray.remote
def put_arrays_blocking(count: int, length: int) -> None:
    import numpy

    for _ in range(count):
        sync.put(numpy.zeros(length, dtype=numpy.int64))


@asyncray.remote
def list_of_references(count: int) -> list[Any]:
    return [sync.put(1) for _ in range(count)]
