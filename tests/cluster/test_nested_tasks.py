"""Tasks that wait for tasks, on a single CPU: what waits gives its CPU away, so nothing ever stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

import asyncray
from asyncray import ActorHandle

from ..conftest import Surroundings, check_nothing_left
from .conftest import comes_to_rest, node_status
from .gates import closed_gate, waiting_at

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("shared_cluster")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_cluster(module_surroundings: Surroundings) -> AsyncIterator[None]:
    """One CPU."""
    async with asyncray.init(num_cpus=1):
        yield
        await comes_to_rest()
    await check_nothing_left(module_surroundings)


@asyncray.remote
def fibonacci(number: int) -> int:
    import asyncray.sync as ray

    if number < 2:
        return number
    return sum(ray.get([fibonacci.remote(number - 1), fibonacci.remote(number - 2)]))


@asyncray.remote
async def fibonacci_of_coroutines(number: int) -> int:
    if number < 2:
        return number
    return sum(
        await asyncio.gather(fibonacci_of_coroutines.remote(number - 1), fibonacci_of_coroutines.remote(number - 2))
    )


@asyncray.remote
def depth(left: int) -> int:
    import asyncray.sync as ray

    return 0 if left == 0 else 1 + ray.get(depth.remote(left - 1))


@asyncray.remote
def identity(value: Any) -> Any:
    return value


@asyncray.remote
def wait_at(gate: ActorHandle) -> str:
    import asyncray.sync as ray

    ray.get(gate.passed.remote())
    return "passed"


async def test_tasks_that_get_the_results_of_tasks_do_not_deadlock() -> None:
    assert await fibonacci.remote(8) == 21


async def test_coroutine_tasks_that_await_tasks_do_not_deadlock() -> None:
    assert await fibonacci_of_coroutines.remote(6) == 8


async def test_a_deep_chain_of_waiting_tasks_ends() -> None:
    assert await depth.remote(12) == 12


@pytest.mark.parametrize("how", ["get", "wait", "wait forever", "await"])
async def test_a_task_gives_its_cpu_away_however_it_waits(how: str) -> None:
    @asyncray.remote
    def outer() -> Any:
        import asyncray.sync as ray

        ref = identity.remote("inner")
        if how == "wait":
            ray.wait([ref], timeout=20)
        if how == "wait forever":
            ray.wait([ref], fetch_local=False)
        if how == "await":
            return ray.run(asyncray.get(ref))
        return ray.get(ref)

    assert await outer.remote() == "inner"


async def test_tasks_run_while_others_wait() -> None:
    async with closed_gate() as gate:
        waiting = [wait_at.remote(gate) for _ in range(3)]
        await waiting_at(gate, 3)
        assert await asyncio.gather(*(identity.remote(number) for number in range(20))) == list(range(20))
        assert (await node_status()).workers >= 5, "the pool has grown: three that wait, the gate, and one that works"
        await gate.open.remote()
        assert await asyncio.gather(*waiting) == ["passed"] * 3


async def test_a_waiting_task_hands_back_what_was_sent_ahead_to_its_worker() -> None:
    async with closed_gate() as gate:

        @asyncray.remote
        def sometimes_waits(number: int, gate: ActorHandle) -> int:
            import asyncray.sync as ray

            if number == 150:
                ray.get(gate.passed.remote())
            return number

        # Known to be quick, they are sent ahead in batches.
        await asyncio.gather(*(sometimes_waits.remote(number, gate) for number in range(100)))
        quick = [sometimes_waits.remote(number, gate) for number in range(300)]
        others = [ref for number, ref in enumerate(quick) if number != 150]
        assert await asyncio.gather(*others) == [number for number in range(300) if number != 150]
        assert not quick[150].done()
        await gate.open.remote()
        assert await quick[150] == 150


async def test_actors_and_tasks_wait_for_each_other() -> None:
    @asyncray.remote
    class Parent:
        def ask(self, number: int) -> int:
            import asyncray.sync as ray

            return 0 if number == 0 else 1 + ray.get(ask_new_parent.remote(Parent, number - 1))

    @asyncray.remote
    def ask_new_parent(parent: Any, number: int) -> int:
        import asyncray.sync as ray

        return ray.get(parent.remote().ask.remote(number))

    assert await Parent.remote().ask.remote(3) == 3
