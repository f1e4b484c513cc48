"""`asyncray.sync`: the blocking twins, from programs without a loop, from threads, and inside of tasks."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import asyncray.sync as ray
from asyncray import ObjectRef
from asyncray.errors import ActorDiedError, GetTimeoutError

from .gates import Gate
from .polling import eventually_blocking

pytestmark = pytest.mark.usefixtures("shared_blocking_cluster")


@ray.remote
def identity(value: Any) -> Any:
    return value


@ray.remote
def fail(text: str) -> None:
    raise ValueError(text)


@ray.remote
class Counter:
    def __init__(self) -> None:
        self.number = 0

    def add(self) -> int:
        self.number += 1
        return self.number


def test_values_go_there_and_back() -> None:
    assert ray.get(identity.remote([1])) == [1]
    assert ray.get([identity.remote(number) for number in range(100)]) == list(range(100))
    assert ray.get(ray.put({"a": 1})) == {"a": 1}
    assert ray.get(identity.remote(ray.put(bytes(1_000_000)))) == bytes(1_000_000)
    assert ray.get([]) == []


def test_exceptions_are_those_of_the_task() -> None:
    with pytest.raises(ValueError, match="boo"):
        ray.get([identity.remote(1), fail.remote("boo")])


def test_a_timeout_leaves_the_work_alone() -> None:
    gate = Gate.remote()
    ref = gate.passed.remote("value")
    for _ in range(3):
        with pytest.raises(GetTimeoutError, match=r"1 of 2 values were not there after 0\.01 s"):
            ray.get([ray.put(1), ref], timeout=0.01)
    eventually_blocking(lambda: len(ref._reference.waiters or ()) == 0)
    gate.open.remote()
    assert ray.get(ref, timeout=20) == "value"


def test_wait_gives_ready_and_not_ready() -> None:
    gate = Gate.remote()
    held, quick = gate.passed.remote(), identity.remote(1)
    assert ray.wait([held, quick]) == ([quick], [held])
    assert ray.wait([held], timeout=0.01) == ([], [held])
    assert ray.wait([held, quick], num_returns=2, timeout=0) == ([quick], [held])
    gate.open.remote()
    assert ray.wait([held, quick], num_returns=2) == ([held, quick], [])


def test_actors_count_and_can_be_killed() -> None:
    counter = Counter.remote()
    assert ray.get([counter.add.remote() for _ in range(10)]) == list(range(1, 11))
    ray.kill(counter)
    with pytest.raises(ActorDiedError):
        ray.get(counter.add.remote())


def test_a_task_can_be_cancelled() -> None:
    ref = identity.options(num_cpus=100).remote(1)
    ray.cancel(ref)
    with pytest.raises(asyncio.CancelledError):
        ray.get(ref)


def test_the_cluster_can_be_looked_at() -> None:
    assert [node["Alive"] for node in ray.nodes()] == [True]
    assert ray.cluster_resources()["CPU"] == 2
    assert ray.available_resources().get("CPU", 0) <= 2
    assert ray.is_initialized()


def test_any_coroutine_runs_on_the_loop_of_the_runtime() -> None:
    async def both(first: ObjectRef, second: ObjectRef) -> Any:
        return await asyncio.gather(first, second)

    assert ray.run(both(identity.remote(1), identity.remote(2))) == [1, 2]


def test_several_threads_work_at_once() -> None:
    counter = Counter.remote()
    start = threading.Barrier(8)

    def work(thread: int) -> None:
        start.wait()
        for number in range(50):
            assert ray.get(identity.remote((thread, number))) == (thread, number)
            assert ray.get(ray.put(number)) == number
        refs = [identity.remote(number) for number in range(200)]
        ready, rest = ray.wait(refs, num_returns=200)
        assert (ready, rest) == (refs, [])
        assert sum(ray.get(refs)) == 19900
        ray.get([counter.add.remote() for _ in range(100)])
        assert len(ray.get(identity.remote(bytes(150_000)))) == 150_000

    with ThreadPoolExecutor(8) as pool:
        for outcome in [pool.submit(work, thread) for thread in range(8)]:
            outcome.result(60)
    assert ray.get(counter.add.remote()) == 801


def test_calls_of_one_thread_keep_their_order_while_others_call() -> None:
    @ray.remote
    class Journal:
        def __init__(self) -> None:
            self.entries: list[tuple[int, int]] = []

        def add(self, entry: tuple[int, int]) -> None:
            self.entries.append(entry)

        def read(self) -> list[tuple[int, int]]:
            return self.entries

    journal = Journal.remote()

    def write(thread: int) -> None:
        for number in range(200):
            journal.add.remote((thread, number))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    entries = ray.get(journal.read.remote())
    for writer in range(4):
        assert [number for thread, number in entries if thread == writer] == list(range(200))


def test_references_are_dropped_in_any_thread() -> None:
    def make_and_drop() -> None:
        for _ in range(20):
            ray.put(bytes(150_000))
            identity.remote([ray.put(1)])

    threads = [threading.Thread(target=make_and_drop) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_tasks_and_actors_may_block() -> None:
    @ray.remote
    def parent(count: int) -> int:
        import asyncray.sync as ray

        counter = Counter.remote()
        refs = [identity.remote(number) for number in range(count)]
        ready, _ = ray.wait(refs, num_returns=count)
        return sum(ray.get(ready)) + ray.get(counter.add.remote()) + ray.get(ray.put(1))

    @ray.remote(max_concurrency=2)
    class Asking:
        def ask(self, count: int) -> Any:
            import asyncray.sync as ray

            return ray.get(parent.remote(count))

    assert ray.get(parent.remote(5)) == 12
    asking = Asking.remote()
    assert ray.get([asking.ask.remote(number) for number in (3, 4)]) == [5, 8]


def test_blocking_on_the_loops_own_thread_is_refused() -> None:
    gate = Gate.remote()
    ref = gate.passed.remote()

    async def block(call: Any) -> None:
        with pytest.raises(RuntimeError, match="await"):
            call()

    for call in (
        lambda: ray.get(ref),
        lambda: ray.get([ref]),
        lambda: ray.wait([ref]),
        lambda: ray.put(bytes(1_000_000)),
        lambda: ray.nodes(),
    ):
        ray.run(block(call))

    @ray.remote
    class Blocking:
        async def block(self) -> str:
            import asyncray.sync as ray

            try:
                return str(ray.get(Gate.remote().passed.remote()))
            except RuntimeError as error:
                return str(error)

    assert "await" in ray.get(Blocking.remote().block.remote(), timeout=20)
    gate.open.remote()
    ray.get(ref)


def test_a_reference_gives_a_future_of_concurrent_futures() -> None:
    from concurrent.futures import wait

    futures = [identity.remote(number).future() for number in range(10)]
    done, _ = wait(futures, timeout=20)
    assert sorted(future.result() for future in done) == list(range(10))
    with pytest.raises(ValueError, match="boo"):
        fail.remote("boo").future().result(20)
