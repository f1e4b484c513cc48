"""xoscar: actors only, in one sub-process of the pool."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import xoscar
from harness import Samples, idle_memory, idle_processor_time, main, of_programs, row, throughput_async

BATCH = 1000
IMPORT = """
import time
start = time.perf_counter()
import xoscar
print(time.perf_counter() - start)
"""


class Server(xoscar.Actor):
    def small_value(self) -> bytes:
        return b"ok"


class AsyncServer(xoscar.Actor):
    async def small_value(self) -> bytes:
        return b"ok"

    async def small_value_arg(self, value: Any) -> bytes:
        return b"ok"


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@asynccontextmanager
async def served(kind: type, processes: int = 1) -> AsyncIterator[Any]:
    """An actor in the pool's first sub-process."""
    address = free_address()
    pool = await xoscar.create_actor_pool(address, n_process=processes)
    async with pool:
        strategy = xoscar.allocate_strategy.ProcessIndex(1)
        yield await xoscar.create_actor(kind, address=address, uid="server", allocate_strategy=strategy)


def measure(kind: type, batch: int, call: Callable[[Any, int], Awaitable[Any]], seconds: float) -> Samples:
    async def run() -> Samples:
        async with served(kind) as server:

            async def work() -> None:
                if batch == 1:
                    await call(server, 0)
                else:
                    await asyncio.gather(*(call(server, number) for number in range(batch)))

            return await throughput_async(work, seconds, batch)

    return asyncio.run(run())


@row("1:1 actor calls sync")
def calls_sync(seconds: float) -> Samples:
    return measure(Server, 1, lambda server, _: server.small_value(), seconds)


@row("1:1 actor calls async")
def calls_async(seconds: float) -> Samples:
    return measure(Server, BATCH, lambda server, _: server.small_value(), seconds)


@row("1:1 async-actor calls sync")
def async_calls_sync(seconds: float) -> Samples:
    return measure(AsyncServer, 1, lambda server, _: server.small_value(), seconds)


@row("1:1 async-actor calls async")
def async_calls_async(seconds: float) -> Samples:
    return measure(AsyncServer, BATCH, lambda server, _: server.small_value(), seconds)


@row("1:1 async-actor calls with args async")
def async_calls_with_arguments(seconds: float) -> Samples:
    return measure(AsyncServer, BATCH, lambda server, number: server.small_value_arg(number), seconds)


@row("memory of an idle 2-CPU cluster and its driver")
def memory(seconds: float) -> Samples:
    async def run() -> Samples:
        async with served(Server, processes=2) as server:
            await server.small_value()
            return await asyncio.to_thread(idle_memory)

    return asyncio.run(run())


@row("idle processor time")
def processor_time(seconds: float) -> Samples:
    async def run() -> Samples:
        async with served(Server, processes=2) as server:
            await server.small_value()
            return await asyncio.to_thread(idle_processor_time)

    return asyncio.run(run())


@row("import")
def import_time(seconds: float) -> Samples:
    return of_programs(IMPORT)


if __name__ == "__main__":
    main()
