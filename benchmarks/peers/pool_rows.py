"""concurrent.futures.ProcessPoolExecutor, with as many processes as there are cores."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor

from harness import Samples, main, row, throughput


def small_value() -> bytes:
    return b"ok"


@row("single client tasks sync")
def tasks_sync(seconds: float) -> Samples:
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        return throughput(lambda: pool.submit(small_value).result(), seconds)


@row("single client tasks async")
def tasks_async(seconds: float) -> Samples:
    with ProcessPoolExecutor(os.cpu_count()) as pool:

        def batch() -> None:
            for future in [pool.submit(small_value) for _ in range(1000)]:
                future.result()

        return throughput(batch, seconds, 1000)


if __name__ == "__main__":
    main()
