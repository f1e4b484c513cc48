from __future__ import annotations

import asyncio
from collections.abc import Callable
from queue import Empty
from typing import Any

import pytest

from asyncray.simulation.loop import VirtualLoop
from asyncray.simulation.process import Process
from asyncray.simulation.threads import GreenThreads, sleep

Body = Callable[[GreenThreads], Any]


def run(body: Body) -> Any:
    """What `body` returns, a plain function in a thread of a simulated process."""
    loop = VirtualLoop(horizon=1000)
    process = Process("worker", "10.0.0.1", 1)
    threads = process.threads = GreenThreads(loop, process)

    async def main() -> Any:
        return await threads.run(lambda: body(threads))

    try:
        return loop.run_until_complete(main())
    finally:
        process.kill("the end")
        process.bury()
        loop.close()


def test_plain_code_takes_virtual_time_while_others_run() -> None:
    def body(threads: GreenThreads) -> list[str]:
        order: list[str] = []

        def other() -> None:
            sleep(1)
            order.append("other")

        threads.start(other, "other")
        sleep(2)
        return [*order, f"{threads.loop.time():g}"]

    assert run(body) == ["other", "2"]


def test_plain_code_waits_for_a_coroutine_and_gets_its_outcome() -> None:
    async def answer() -> int:
        await asyncio.sleep(3)
        return 42

    async def fail() -> None:
        raise KeyError("lost")

    def body(threads: GreenThreads) -> int:
        with pytest.raises(KeyError):
            threads.wait(fail(), threads.loop)
        return threads.wait(answer(), threads.loop)

    assert run(body) == 42


def test_plain_code_has_no_running_loop_as_in_a_real_thread() -> None:
    def body(threads: GreenThreads) -> None:
        with pytest.raises(RuntimeError, match="no running event loop"):
            asyncio.get_running_loop()
        sleep(1)
        with pytest.raises(RuntimeError, match="no running event loop"):
            asyncio.get_running_loop()

    run(body)


def test_a_queue_hands_over_in_order_and_blocks_while_it_is_empty() -> None:
    def body(threads: GreenThreads) -> list[Any]:
        queue = threads.queue()
        with pytest.raises(Empty):
            queue.get_nowait()

        def produce() -> None:
            for number in range(3):
                sleep(1)
                queue.put(number)
            queue.put("end")

        threads.start(produce, "producer")
        return [queue.get() for _ in range(4)]

    assert run(body) == [0, 1, 2, "end"]


def test_each_item_of_a_queue_reaches_one_of_several_threads() -> None:
    def body(threads: GreenThreads) -> list[int]:
        queue, taken, ready = threads.queue(), list[int](), threads.latch()

        def take() -> None:
            while True:
                taken.append(queue.get())
                if len(taken) == 6:
                    ready.release()

        for number in range(3):
            threads.start(take, f"taker {number}")
        sleep(1)
        for number in range(6):
            queue.put(number)
        assert ready.acquire(timeout=5)
        return sorted(taken)

    assert run(body) == list(range(6))


def test_a_latch_gives_up_after_its_timeout_and_not_before() -> None:
    def body(threads: GreenThreads) -> tuple[bool, float, bool]:
        latch = threads.latch()
        first = latch.acquire(timeout=2)
        threads.loop.call_later(1, latch.release)
        return first, threads.loop.time(), latch.acquire(timeout=10)

    assert run(body) == (False, 2, True)


def test_threads_tell_each_other_apart_and_from_the_loop() -> None:
    def body(threads: GreenThreads) -> tuple[int, list[int], int]:
        idents: list[int] = []
        threads.start(lambda: idents.append(threads.ident()), "other")
        sleep(1)

        async def on_loop() -> int:
            return threads.ident()

        return threads.ident(), idents, threads.wait(on_loop(), threads.loop)

    own, others, loop = run(body)
    assert len({own, *others, loop}) == 3
    assert loop == 0


def test_to_thread_runs_where_it_may_block() -> None:
    async def work() -> str:
        return await asyncio.to_thread(lambda: sleep(5) or "done")  # type: ignore[func-returns-value]

    def body(threads: GreenThreads) -> tuple[str, float]:
        return threads.wait(work(), threads.loop), threads.loop.time()

    assert run(body) == ("done", 5)


def test_blocking_on_the_loop_is_an_error() -> None:
    loop = VirtualLoop()

    async def main() -> None:
        with pytest.raises(RuntimeError, match="use await"):
            sleep(1)

    loop.run_until_complete(main())
    loop.close()
