from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Coroutine
from typing import Any

import pytest

from asyncray.config import DEFAULT
from asyncray.simulation.loop import Deadlock, HorizonReached, Livelock, VirtualLoop
from asyncray.simulation.network import Conditions
from asyncray.simulation.process import Process
from asyncray.simulation.world import World


def run(coroutine: Coroutine[Any, Any, Any], *, horizon: float = float("inf")) -> Any:
    loop = VirtualLoop(horizon=horizon)
    try:
        return loop.run_until_complete(coroutine)
    finally:
        loop.close()


def test_an_hour_of_sleep_takes_no_real_time_and_an_hour_of_virtual_time() -> None:
    async def main() -> float:
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time()

    begun = time.perf_counter()
    assert run(main()) == 3600
    assert time.perf_counter() - begun < 1


def test_timers_fire_in_the_order_of_their_times_and_then_of_their_making() -> None:
    async def main() -> list[str]:
        loop, order = asyncio.get_running_loop(), list[str]()
        for name, delay in (("late", 2.0), ("first", 1.0), ("second", 1.0), ("third", 1.0)):
            loop.call_later(delay, order.append, name)
        await asyncio.sleep(3)
        return order

    assert run(main()) == ["first", "second", "third", "late"]


def test_cancelled_timers_do_not_fire_and_do_not_hold_up_the_clock() -> None:
    async def main() -> tuple[float, int]:
        loop = asyncio.get_running_loop()
        for _ in range(1000):
            loop.call_later(1e6, pytest.fail).cancel()
        async with asyncio.timeout(50):
            await asyncio.sleep(1)
        return loop.time(), len(loop._scheduled)  # type: ignore[attr-defined]

    now, timers = run(main())
    assert now == 1
    assert timers < 200


def test_a_program_that_waits_for_nothing_is_a_deadlock_that_names_who_waits() -> None:
    async def main() -> None:
        forever = asyncio.get_running_loop().create_future()
        await asyncio.create_task(asyncio.wait_for(forever, None), name="patience")

    with pytest.raises(Deadlock, match="patience"):
        run(main())


def test_a_program_that_never_ends_reaches_the_horizon() -> None:
    async def main() -> None:
        while True:
            await asyncio.sleep(1)

    with pytest.raises(HorizonReached, match="100 virtual seconds"):
        run(main(), horizon=100)


def test_a_wait_for_a_moment_that_never_comes_is_a_livelock() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(1)
        due = loop.time() + 1e-17
        while not loop.time() >= due + 1e-17 + 1:
            await asyncio.sleep(0)

    with pytest.raises(Livelock, match=r"at 1\.000000 s"):
        run(main())


def test_a_real_thread_that_calls_the_loop_is_refused() -> None:
    async def main() -> None:
        loop, errors = asyncio.get_running_loop(), list[Exception]()

        def call() -> None:
            try:
                loop.call_soon_threadsafe(print)
            except RuntimeError as error:
                errors.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        assert "real thread" in str(errors[0])

    run(main())


def test_timeouts_task_groups_and_gather_work_as_on_any_loop() -> None:
    async def main() -> tuple[list[int], float]:
        async def answer(number: int) -> int:
            await asyncio.sleep(number)
            return number

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await answer(1)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(answer(number)) for number in (3, 1, 2)]
        assert await asyncio.gather(answer(1), answer(1)) == [1, 1]
        return [task.result() for task in tasks], asyncio.get_running_loop().time()

    assert run(main()) == ([3, 1, 2], 4.5)


def test_the_collector_of_garbage_is_back_after_the_run() -> None:
    async def main() -> bool:
        return gc.isenabled()

    assert run(main()) is False
    assert gc.isenabled()


# ---- processes


def test_nothing_of_a_killed_process_runs_again_not_even_a_finally() -> None:
    async def main() -> list[str]:
        told: list[str] = []

        async def work() -> None:
            try:
                while True:
                    await asyncio.sleep(1)
                    told.append("works")
            finally:
                told.append("cleans up")

        process = Process("worker", "10.0.0.1", 1)
        process.spawn(work(), "work")
        process.call(asyncio.get_running_loop().call_later, 10, told.append, "late")
        process.on_death(lambda cause: told.append(cause))
        await asyncio.sleep(2.5)
        process.kill("SIGKILL")
        process.kill("again")
        await asyncio.sleep(100)
        gc.collect()
        outcome = list(told)
        process.bury()
        return outcome

    assert run(main()) == ["works", "works", "SIGKILL"]


def test_a_frozen_process_goes_on_where_it_was_once_it_is_thawed() -> None:
    async def main() -> list[float]:
        loop, times = asyncio.get_running_loop(), list[float]()

        async def work() -> None:
            while True:
                await asyncio.sleep(1)
                times.append(loop.time())

        process = Process("worker", "10.0.0.1", 1)
        process.spawn(work(), "work")
        await asyncio.sleep(1.5)
        process.freeze()
        await asyncio.sleep(5)
        process.thaw()
        await asyncio.sleep(2)
        process.kill("the end")
        process.bury()
        return times

    assert run(main()) == [1, 6.5, 7.5]


def test_a_task_belongs_to_the_process_that_started_it_and_to_that_alone() -> None:
    async def main() -> list[str]:
        alive: list[str] = []

        async def tick(name: str) -> None:
            await asyncio.sleep(1)
            alive.append(name)

        async def parent(name: str) -> None:
            child = asyncio.create_task(tick(name))
            await child

        first, second = Process("first", "h", 1), Process("second", "h", 2)
        for process in (first, second):
            process.spawn(parent(process.name), process.name)
        await asyncio.sleep(0.5)
        first.kill("SIGKILL")
        await asyncio.sleep(5)
        first.bury()
        return alive

    assert run(main()) == ["second"]


def test_what_has_survived_a_collection_is_freed_when_the_callbacks_have_doubled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("asyncray.simulation.loop._COLLECT_EVERY", 50)
    monkeypatch.setattr("asyncray.simulation.loop._FIRST_FULL_COLLECTION", 400)

    class Knot:
        def __init__(self) -> None:
            self.itself = self

    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        freed: list[int] = []
        for _ in range(2):
            knot = Knot()
            weakref.finalize(knot, lambda: freed.append(loop.callbacks))  # type: ignore[attr-defined]
            for _ in range(150):  # it becomes old
                await asyncio.sleep(0)
            del knot
            for _ in range(400):
                await asyncio.sleep(0)
        return freed

    first, second = run(main())
    assert 400 <= first < 500
    assert 800 <= second < 1000


@pytest.mark.parametrize(
    ("at_a_time", "collected"), [(1, [5]), (7, [])], ids=["one after the other", "as a cluster ends"]
)
def test_everything_is_collected_when_memory_holds_more_processes_than_ever_lived_at_a_time(
    monkeypatch: pytest.MonkeyPatch, at_a_time: int, collected: list[int]
) -> None:
    monkeypatch.setattr("asyncray.simulation.loop._COLLECT_EVERY", 50)
    monkeypatch.setattr("asyncray.simulation.world._MANY_DEAD", 3)
    freed: list[int] = []

    class Knot:
        def __init__(self) -> None:
            self.itself = self

    async def main(world: World) -> list[int]:
        knot = Knot()
        weakref.finalize(knot, lambda: freed.append(dead))  # type: ignore[attr-defined]
        for _ in range(150):  # it becomes old
            await asyncio.sleep(0)
        del knot
        dead = 0
        for _ in range(7 // at_a_time):
            for process in [world.process(f"worker {number}", "h") for number in range(at_a_time)]:
                process.kill("exit code 0")
                dead += 1
                for _ in range(150):
                    await asyncio.sleep(0)
        return freed.copy()

    world = World(0, DEFAULT, Conditions(), horizon=10)
    assert world.run(main(world)) == collected
