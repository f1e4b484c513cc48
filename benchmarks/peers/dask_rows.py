"""dask.distributed, with one process of one thread for each core."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from distributed import Client, LocalCluster
from harness import Samples, idle_memory, idle_processor_time, main, of_programs, row, throughput

IMPORT = """
import time
start = time.perf_counter()
import distributed
print(time.perf_counter() - start)
"""
START = """
import time
from distributed import Client, LocalCluster
if __name__ == "__main__":
    start = time.perf_counter()
    client = Client(LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None))
    client.submit(lambda: b"ok").result()
    print(time.perf_counter() - start)
    client.shutdown()
"""


class Server:
    def small_value(self) -> bytes:
        return b"ok"


def small_value(_: int) -> bytes:
    return b"ok"


@contextmanager
def connected(workers: int | None = None) -> Iterator[Any]:
    with (
        LocalCluster(n_workers=workers or os.cpu_count(), threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        yield client


@row("single client tasks sync")
def tasks_sync(seconds: float) -> Samples:
    with connected() as client:
        return throughput(lambda: client.submit(small_value, 0, pure=False).result(), seconds)


@row("single client tasks async")
def tasks_async(seconds: float) -> Samples:
    with connected() as client:
        return throughput(lambda: client.gather(client.map(small_value, range(1000), pure=False)), seconds, 1000)


@row("1:1 actor calls sync")
def actor_calls_sync(seconds: float) -> Samples:
    with connected() as client:
        server = client.submit(Server, actor=True).result()
        return throughput(lambda: server.small_value().result(), seconds)


@row("1:1 actor calls async")
def actor_calls_async(seconds: float) -> Samples:
    with connected() as client:
        server = client.submit(Server, actor=True).result()

        def batch() -> None:
            for future in [server.small_value() for _ in range(1000)]:
                future.result()

        return throughput(batch, seconds, 1000)


@row("memory of an idle 2-CPU cluster and its driver")
def memory(seconds: float) -> Samples:
    with connected(2) as client:
        client.gather(client.map(small_value, range(100), pure=False))
        return idle_memory()


@row("idle processor time")
def processor_time(seconds: float) -> Samples:
    with connected(2) as client:
        client.gather(client.map(small_value, range(100), pure=False))
        return idle_processor_time()


@row("import")
def import_time(seconds: float) -> Samples:
    return of_programs(IMPORT)


@row("init to first result")
def first_result(seconds: float) -> Samples:
    return of_programs(START)


if __name__ == "__main__":
    main()
