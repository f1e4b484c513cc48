"""Programs that the rows of `footprint` and `queued_tasks` measure, each in a process of its own.

    python -m asyncray.benchmark.probe life|idle|queue [--blocking] [--asyncio] [--tasks N]

A probe prints one line of JSON. `idle` then stays as it is until its standard input ends.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

import asyncray


@asyncray.remote
def small_value() -> bytes:
    return b"ok"


def tell(figures: dict[str, float]) -> None:
    print(json.dumps(figures), flush=True)


def resident_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def life() -> None:
    start = time.perf_counter()
    await asyncray.init(num_cpus=2)
    await small_value.remote()
    answered = time.perf_counter()
    await asyncray.shutdown()
    tell({"first_result": answered - start, "shutdown": time.perf_counter() - answered})


def life_blocking() -> None:
    from asyncray import sync

    start = time.perf_counter()
    sync.init(num_cpus=2)
    sync.get(small_value.remote())
    answered = time.perf_counter()
    sync.shutdown()
    tell({"first_result": answered - start, "shutdown": time.perf_counter() - answered})


async def idle() -> None:
    async with asyncray.init(num_cpus=2):
        await asyncray.get([small_value.remote() for _ in range(100)])
        tell({})
        ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ended.set)
        await ended.wait()


def idle_blocking() -> None:
    from asyncray import sync

    with sync.init(num_cpus=2):
        sync.get([small_value.remote() for _ in range(100)])
        tell({})
        sys.stdin.read()


async def queue(count: int) -> None:
    async with asyncray.init():
        await asyncray.get([small_value.remote() for _ in range(1000)])
        before = resident_bytes()
        start = time.perf_counter()
        refs = [small_value.remote() for _ in range(count)]
        queued = resident_bytes()
        await asyncray.get(refs)
        tell({"bytes_per_task": (queued - before) / count, "tasks_per_second": count / (time.perf_counter() - start)})


def queue_blocking(count: int) -> None:
    from asyncray import sync

    with sync.init():
        sync.get([small_value.remote() for _ in range(1000)])
        before = resident_bytes()
        start = time.perf_counter()
        refs = [small_value.remote() for _ in range(count)]
        queued = resident_bytes()
        sync.get(refs)
        tell({"bytes_per_task": (queued - before) / count, "tasks_per_second": count / (time.perf_counter() - start)})


def run(coroutine: Coroutine[Any, Any, None], *, uvloop: bool) -> None:
    if not uvloop:
        asyncio.run(coroutine)
        return
    import uvloop as loops

    with asyncio.Runner(loop_factory=loops.new_event_loop) as runner:
        runner.run(coroutine)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["life", "idle", "queue"])
    parser.add_argument("--blocking", action="store_true")
    parser.add_argument("--asyncio", action="store_true")
    parser.add_argument("--tasks", type=int, default=10_000)
    options = parser.parse_args()
    blocking: dict[str, Callable[[], None]] = {
        "life": life_blocking,
        "idle": idle_blocking,
        "queue": lambda: queue_blocking(options.tasks),
    }
    coroutines: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
        "life": life,
        "idle": idle,
        "queue": lambda: queue(options.tasks),
    }
    if options.blocking:
        blocking[options.kind]()
    else:
        run(coroutines[options.kind](), uvloop=not options.asyncio)


if __name__ == "__main__":
    main()
