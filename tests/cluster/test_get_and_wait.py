"""`get`, `put`, `wait` and `cancel`."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

import asyncray
from asyncray.errors import GetTimeoutError, TaskCancelledError

from .conftest import node_status
from .gates import closed_gate, waiting_at
from .polling import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("shared_cluster")]


@asyncray.remote
def identity(value: Any) -> Any:
    return value


@asyncray.remote
def fail(text: str) -> None:
    raise ValueError(text)


# ---- put


async def test_what_is_put_comes_back_as_a_copy() -> None:
    value = {"key": [1, 2]}
    ref = await asyncray.put(value)
    value["key"].append(3)
    assert await ref == {"key": [1, 2]}
    assert await identity.remote(ref) == {"key": [1, 2]}


async def test_references_can_be_put_inside_of_a_value_but_not_alone() -> None:
    inner = await asyncray.put("inner")
    with pytest.raises(TypeError, match=r"put\(\[ref\]\)"):
        await asyncray.put(inner)
    outer = await asyncray.put([inner])
    del inner
    (again,) = await outer
    assert await again == "inner"


# ---- get


async def test_get_takes_one_reference_or_several() -> None:
    one, two = identity.remote(1), identity.remote(2)
    assert await asyncray.get(one) == 1
    assert await asyncray.get([one, two, one]) == [1, 2, 1]
    assert await asyncray.get((two,)) == [2]
    assert await asyncray.get([]) == []


@pytest.mark.parametrize("wrong", [3, "text", {1: 2}, None])
async def test_get_of_something_else_is_a_type_error(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"get\(\) takes an ObjectRef or a list of them, got"):
        await asyncray.get(wrong)


async def test_get_names_the_entry_that_is_no_reference() -> None:
    with pytest.raises(TypeError, match="entry 1 is int: 7"):
        await asyncray.get([identity.remote(1), 7])


async def test_get_raises_the_exception_of_the_first_in_order_that_failed() -> None:
    with pytest.raises(ValueError, match="first"):
        await asyncray.get([identity.remote(1), fail.remote("first"), fail.remote("second")])


async def test_a_timeout_of_get_leaves_the_work_alone() -> None:
    async with closed_gate() as gate:
        held, done = gate.passed.remote("value"), identity.remote(1)
        await done
        with pytest.raises(GetTimeoutError, match=r"1 of 2 values were not there after 0\.01 s"):
            await asyncray.get([held, done], timeout=0.01)
        with pytest.raises(TimeoutError):
            await asyncray.get(held, timeout=0)
        assert not held.cancelled()
        gate.open.remote()
        assert await asyncray.get(held, timeout=20) == "value"


async def test_get_with_no_time_returns_what_is_here() -> None:
    ref = await asyncray.put(1)
    assert await asyncray.get(ref, timeout=0) == 1


async def test_cancelling_a_get_leaves_the_work_alone() -> None:
    async with closed_gate() as gate:
        ref = gate.passed.remote("value")
        task = asyncio.create_task(asyncray.get([ref]))
        await waiting_at(gate, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.open.remote()
        assert await ref == "value"


# ---- wait


async def test_wait_gives_ready_and_not_ready_in_the_order_given() -> None:
    async with closed_gate() as gate:
        held = [gate.passed.remote() for _ in range(2)]
        quick = [identity.remote(number) for number in range(3)]
        refs = [held[0], quick[0], quick[1], held[1], quick[2]]
        ready, rest = await asyncray.wait(refs, num_returns=3)
        assert ready == quick
        assert rest == held
        gate.open.remote()
        assert await asyncray.wait(refs, num_returns=5) == (refs, [])


async def test_wait_returns_no_more_than_it_was_asked_for() -> None:
    refs = [await asyncray.put(number) for number in range(4)]
    assert await asyncray.wait(refs) == (refs[:1], refs[1:])
    assert await asyncray.wait(refs, num_returns=3) == (refs[:3], refs[3:])


async def test_wait_without_time_only_looks() -> None:
    async with closed_gate() as gate:
        ref, held = await asyncray.put(1), gate.passed.remote()
        assert await asyncray.wait([held], timeout=0) == ([], [held])
        assert await asyncray.wait([held, ref], num_returns=2, timeout=0) == ([ref], [held])


async def test_wait_returns_what_there_is_when_its_time_is_over() -> None:
    async with closed_gate() as gate:
        ref, held = identity.remote(1), gate.passed.remote()
        await ref
        assert await asyncray.wait([ref, held], num_returns=2, timeout=0.01) == ([ref], [held])
        assert not held.cancelled()


async def test_a_failed_task_counts_as_ready() -> None:
    async with closed_gate() as gate:
        failed, held = fail.remote("boo"), gate.passed.remote()
        assert await asyncray.wait([held, failed]) == ([failed], [held])
        with pytest.raises(ValueError):
            await failed


async def test_a_reference_may_be_waited_for_twice_at_once() -> None:
    ref, other = identity.remote(1), identity.remote(2)
    assert await asyncray.wait([ref, ref, other], num_returns=3) == ([ref, ref, other], [])
    assert await asyncray.wait([ref, ref], num_returns=1) == ([ref], [ref])


async def test_many_waits_for_one_reference_leave_nothing_behind() -> None:
    async with closed_gate() as gate:
        ref = gate.passed.remote()
        for _ in range(20):
            await asyncray.wait([ref], timeout=0.0001)
            with pytest.raises(GetTimeoutError):
                await asyncray.get(ref, timeout=0.0001)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.shield(ref), 0.0001)
        assert len(ref._reference.waiters or ()) <= 2


@pytest.mark.parametrize("count", [0, 2, -1])
async def test_wait_refuses_a_number_that_cannot_be(count: int) -> None:
    ref = await asyncray.put(1)
    with pytest.raises(ValueError, match=f"num_returns must be from 1 to the number of references, 1; got {count}"):
        await asyncray.wait([ref], num_returns=count)


async def test_wait_refuses_what_is_no_list_of_references() -> None:
    ref = await asyncray.put(1)
    with pytest.raises(TypeError, match="got a single one"):
        await asyncray.wait(ref)
    with pytest.raises(TypeError, match="entry 1 is str"):
        await asyncray.wait([ref, "x"])


# ---- cancel


async def test_a_task_that_waits_for_its_turn_can_be_withdrawn(tmp_path: Path) -> None:
    @asyncray.remote
    def note(_: Any, path: Path) -> None:
        path.touch()

    async with closed_gate() as gate:
        kept, withdrawn = (note.remote(gate.passed.remote(), tmp_path / name) for name in ("kept", "withdrawn"))
        await waiting_at(gate, 2)
        await asyncray.cancel(withdrawn)
        assert withdrawn.cancelled()
        with pytest.raises(asyncio.CancelledError):
            await withdrawn
        await gate.open.remote()
        await kept
        await note.remote(None, tmp_path / "last")
    assert sorted(os.listdir(tmp_path)) == ["kept", "last"]


async def test_a_task_can_be_withdrawn_before_its_function_has_reached_the_cluster() -> None:
    @asyncray.remote(num_cpus=1000)
    def never() -> None: ...

    ref = never.remote()
    assert ref.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ref
    await eventually(lambda: _queued_leases(0))
    waiting = never.remote()
    await eventually(lambda: _queued_leases(1))
    await asyncray.cancel(waiting)
    del waiting
    await eventually(lambda: _queued_leases(0))


async def _queued_leases(count: int) -> bool:
    return (await node_status()).queued_leases == count


async def test_cancelling_what_is_done_changes_nothing() -> None:
    ref = identity.remote(1)
    await ref
    await asyncray.cancel(ref)
    assert await ref == 1
    assert not ref.cancelled()
    with pytest.raises(TypeError, match=r"cancel\(\) takes an ObjectRef, got int"):
        await asyncray.cancel(1)


async def test_a_task_that_takes_a_cancelled_reference_fails() -> None:
    async with closed_gate() as gate:
        held = gate.passed.remote()
        dependent = identity.remote(held)
        await waiting_at(gate, 1)
        held.cancel()
        with pytest.raises(TaskCancelledError):
            await dependent


async def test_references_of_an_iterator_are_asked_for_as_a_list() -> None:
    refs = (identity.remote(number) for number in range(3))
    with pytest.raises(TypeError, match="got generator"):
        await asyncray.get(refs)
    assert [await ref for ref in refs] == [0, 1, 2]


async def test_done_alone_brings_a_large_value_here() -> None:
    ref = identity.remote(bytes(1_000_000))
    await eventually(ref.done)
    assert ref.result() == bytes(1_000_000)
