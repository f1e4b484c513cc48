"""What happens at the edges of a runtime's life, and to calls that are given up."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

import asyncray
import asyncray.sync as ray
from asyncray import ActorHandle, ObjectRef
from asyncray.errors import ActorUnavailableError, AsyncrayError, SerializationError, TaskError

from .conftest import comes_to_rest, runtime
from .gates import busy_until, closed_gate, running
from .polling import eventually

PATIENCE = 20


@asyncray.remote
def identity(value: Any) -> Any:
    return value


@asyncray.remote
def fail() -> None:
    raise ValueError("boo")


@asyncray.remote
class Recorder:
    def __init__(self) -> None:
        self._seen: list[Any] = []

    def see(self, value: Any) -> list[Any]:
        self._seen.append(value)
        return self._seen

    @asyncray.method(num_returns=0)
    def see_silently(self, value: Any) -> None:
        self._seen.append(value)

    @asyncray.method(num_returns=2)
    def see_twice(self, value: Any) -> tuple[Any, Any]:
        self._seen.append(value)
        return value, value


async def outcome(ref: ObjectRef) -> Any:
    return await ref


# ---- shutdown


async def test_whoever_waits_at_shutdown_gets_an_error(tmp_path: Path) -> None:
    @asyncray.remote(num_cpus=100)
    class NeverPlaced:
        def call(self) -> None: ...

    async with asyncray.init(num_cpus=1):
        actor = NeverPlaced.remote()
        refs = [busy_until.remote(tmp_path / "never"), identity.remote(1), actor.call.remote()]
        waiters = [asyncio.create_task(outcome(ref)) for ref in refs]
        waiters.append(asyncio.create_task(asyncray.get(refs)))
        await eventually(lambda: running(tmp_path / "never"))
    async with asyncio.timeout(PATIENCE):
        for waiter in waiters:
            with pytest.raises(AsyncrayError, match="shut down"):
                await waiter
    (tmp_path / "never").touch()


async def test_what_belongs_to_a_cluster_that_was_left_says_so() -> None:
    async with asyncray.init(num_cpus=1):
        put, actor = await asyncray.put([1]), Recorder.remote()
        await actor.see.remote(0)
    for _ in range(2):  # without a runtime, then with another one
        with pytest.raises(AsyncrayError, match="has left"):
            actor.see.remote(1)
        assert await put == [1]
        if asyncray.is_initialized():
            break
        await asyncray.init(num_cpus=1)
    try:
        for argument in (put, [put], actor):
            with pytest.raises(AsyncrayError, match="has left"):
                identity.remote(argument)
        with pytest.raises(AsyncrayError, match="has left"):
            await asyncray.put([put])
        closing_over = asyncray.remote(lambda: put)
        with pytest.raises(AsyncrayError, match="has left"):
            closing_over.remote()
    finally:
        await asyncray.shutdown()


def test_a_loop_closed_without_shutdown_does_not_hinder_the_next() -> None:
    async def program() -> int:
        return await identity.remote(1)  # type: ignore[no-any-return]

    assert asyncio.run(program()) == 1
    assert asyncio.run(program()) == 1
    asyncio.run(asyncray.shutdown())


async def test_of_two_inits_at_once_one_is_refused() -> None:
    first, second = await asyncio.gather(asyncray.init(num_cpus=1), asyncray.init(num_cpus=1), return_exceptions=True)
    assert sum(isinstance(outcome, AsyncrayError) for outcome in (first, second)) == 1
    assert await identity.remote(1) == 1
    await asyncray.shutdown()


async def test_the_blocking_init_that_is_refused_leaves_no_thread() -> None:
    async with asyncray.init(num_cpus=1):
        with pytest.raises(AsyncrayError, match="already"):
            ray.init()
        assert ray._background is None


# ---- forks


def in_child(answers: Any, pending: ObjectRef, done: ObjectRef) -> None:
    for attempt in (lambda: identity.remote(1), lambda: ray.get(pending), lambda: ray.get(done), ray.shutdown):
        try:
            answers.put(attempt())
        except AsyncrayError as error:
            answers.put(str(error))


async def test_a_forked_child_is_told_that_it_has_no_runtime(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    async with asyncray.init(num_cpus=2):
        pending, done = busy_until.remote(tmp_path / "gate", 2), identity.remote([5])
        await done
        answers = context.Queue()
        child = context.Process(target=in_child, args=(answers, pending, done), daemon=True)
        child.start()
        received = [await asyncio.to_thread(answers.get, True, PATIENCE) for _ in range(4)]
        await asyncio.to_thread(child.join)
        answers.close()
        answers.join_thread()
        assert "forked" in received[0] and "forked" in received[1]
        assert received[2:] == [[5], None]
        (tmp_path / "gate").touch()
        assert await pending == 2
        assert await identity.remote(3) == 3


# ---- calls that are given up


async def test_cancelling_many_queued_tasks_takes_time_in_proportion(tmp_path: Path) -> None:
    async with asyncray.init(num_cpus=1):
        await identity.remote(1)
        gate = busy_until.remote(tmp_path / "gate")
        await eventually(lambda: running(tmp_path / "gate"))

        async def cancel(count: int) -> float:
            gathered = asyncio.gather(*(identity.remote(number) for number in range(count)))
            await asyncio.sleep(0)
            begun = time.perf_counter()
            gathered.cancel()
            with pytest.raises(asyncio.CancelledError):
                await gathered
            return time.perf_counter() - begun

        few, many = await cancel(2_000), await cancel(40_000)
        assert many < 100 * few
        assert await asyncray.wait([gate], timeout=0) == ([], [gate])
        (tmp_path / "gate").touch()
        await gate
        assert await identity.remote(2) == 2


async def test_a_task_cancelled_while_it_waits_for_an_argument_does_not_run(tmp_path: Path) -> None:
    @asyncray.remote
    def mark(_: Any) -> None:
        (tmp_path / "ran").touch()

    async with asyncray.init(num_cpus=2):
        argument = busy_until.remote(tmp_path / "gate")
        ref = mark.remote(argument)
        await eventually(lambda: running(tmp_path / "gate"))
        ref.cancel()
        (tmp_path / "gate").touch()
        await argument
        await identity.remote(1)
        assert not (tmp_path / "ran").exists()
        del argument, ref
        gc.collect()
        await eventually(lambda: not runtime().ownership.references)


async def test_a_call_whose_argument_failed_lets_those_behind_it_through() -> None:
    async with asyncray.init(num_cpus=2):
        actor: ActorHandle = Recorder.remote()
        assert actor.see_silently.remote(fail.remote()) == []
        async with asyncio.timeout(PATIENCE):
            assert await actor.see.remote(1) == [1]


async def test_a_call_goes_on_when_one_of_its_two_results_is_cancelled() -> None:
    async with asyncray.init(num_cpus=2), closed_gate() as gate:
        actor = Recorder.remote()
        first, second = actor.see_twice.remote(gate.passed.remote(7))
        first.cancel()
        await gate.open.remote()
        async with asyncio.timeout(PATIENCE):
            assert await second == 7


async def test_a_task_cancelled_and_forgotten_asks_for_no_lease_any_more() -> None:
    async with asyncray.init(num_cpus=1):
        for refs in ([identity.options(num_cpus=7).remote(number) for number in range(10)], [identity.remote(1)]):
            await asyncray.wait(refs, timeout=0.05)
            for ref in refs:
                ref.cancel()
        del refs, ref
        await comes_to_rest()


# ---- sizes


async def test_results_that_are_small_each_and_large_together_arrive() -> None:
    @asyncray.remote(num_returns=700)
    def many() -> list[bytes]:
        return [bytes(100_000)] * 700

    @asyncray.remote
    def raise_much() -> None:
        raise ValueError("x" * 70_000_000)

    async with asyncray.init(num_cpus=1):
        async with asyncio.timeout(PATIENCE):
            assert sum(map(len, await asyncray.get(many.remote()))) == 70_000_000
            with pytest.raises(TaskError, match="too many to travel"):
                await raise_much.remote()


async def test_options_given_for_each_call_share_what_the_worker_is_told() -> None:
    async with asyncray.init(num_cpus=1):
        actor = Recorder.remote()
        before = runtime().next_number()
        for _ in range(5):
            await identity.options(name="other").remote(1)
            await actor.see.options(num_returns=1).remote(1)
        assert runtime().next_number() - before == 1 + 2


# ---- user code that ends in odd ways


@pytest.mark.parametrize("kind", [KeyboardInterrupt, GeneratorExit, asyncio.CancelledError])
async def test_an_exception_that_would_end_a_loop_fails_only_its_call(kind: type[BaseException]) -> None:
    @asyncray.remote
    def plain() -> int:
        raise kind

    @asyncray.remote
    async def coroutine() -> int:
        raise kind

    @asyncray.remote
    class Actor:
        async def call(self) -> None:
            raise kind

        async def pid(self) -> int:
            return os.getpid()

    async with asyncray.init(num_cpus=1):
        actor = Actor.remote()
        pid = await actor.pid.remote()
        for call in (plain, coroutine, actor.call):
            with pytest.raises(TaskError, match=kind.__name__):
                await call.remote()
        assert await actor.pid.remote() == pid


async def test_an_actor_cannot_shut_its_runtime_down() -> None:
    @asyncray.remote
    class Actor:
        async def leave(self) -> None:
            await asyncray.shutdown()

    async with asyncray.init(num_cpus=1):
        actor = Actor.remote()
        for _ in range(2):
            with pytest.raises(AsyncrayError, match="for drivers"):
                await actor.leave.remote()


async def test_a_result_that_fails_half_way_leaves_nothing_in_the_store() -> None:
    @asyncray.remote(num_returns=2)
    def half() -> Any:
        return np.ones(100_000), (number for number in range(3))

    async with asyncray.init(num_cpus=1):
        refs = half.remote()
        for ref in refs:
            with pytest.raises(SerializationError, match="generator"):
                await ref
        del refs, ref
        await comes_to_rest()


async def test_calls_do_not_see_the_context_variables_of_others() -> None:
    @asyncray.remote
    class Actor:
        def __init__(self) -> None:
            from contextvars import ContextVar

            self._variable = ContextVar("variable", default="unset")

        async def swap(self, value: str, other: list[Any]) -> str:
            before = self._variable.get()
            self._variable.set(value)
            await other[0].swap.remote("nested", []) if other else None  # dials while the variable is set
            return before

    async with asyncray.init(num_cpus=2):
        first, second = Actor.remote(), Actor.remote()
        for _ in range(2):
            assert await first.swap.remote("a", [second]) == "unset"
            assert await second.swap.remote("b", [first]) == "unset"


async def test_a_handle_given_to_a_constructor_and_dropped_at_once_keeps_its_actor() -> None:
    @asyncray.remote(num_cpus=0)
    class Holder:
        def __init__(self, actor: ActorHandle) -> None:
            self._actor = actor

        async def see(self, value: Any) -> Any:
            return await self._actor.see.remote(value)

    async with asyncray.init(num_cpus=2):
        holders = [Holder.remote(Recorder.options(num_cpus=0).remote()) for _ in range(3)]
        for count in (1, 2):
            assert await asyncio.gather(*(holder.see.remote(0) for holder in holders)) == [[0] * count] * 3


async def test_an_actor_is_found_again_after_the_connection_with_it_was_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asyncray.worker.actor_client._FATE_WAIT", 0.05)
    async with asyncray.init(num_cpus=2), closed_gate() as gate:
        await gate.waiting.remote()
        pending = gate.passed.remote()
        lane = runtime().actors.lanes[gate._actor_id]
        assert lane.link is not None and lane.link.stream is not None
        lane.link.stream.close()
        with pytest.raises(ActorUnavailableError):
            await pending
        async with asyncio.timeout(PATIENCE):
            assert await gate.waiting.remote() == 1, "the same actor, whose call went on"


async def test_an_actor_that_was_out_of_reach_ends_with_its_last_handle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asyncray.worker.actor_client._FATE_WAIT", 0.05)

    @asyncray.remote
    class Actor:
        def pid(self) -> int:
            return os.getpid()

    async with asyncray.init(num_cpus=2):
        actor = Actor.remote()
        pid = await actor.pid.remote()
        lane = runtime().actors.lanes[actor._actor_id]
        assert lane.link is not None and lane.link.stream is not None
        lane.link.stream.close()
        while lane.state != "LOST":
            await asyncio.sleep(0.01)
        del actor, lane
        await eventually(lambda: not psutil.pid_exists(pid))
