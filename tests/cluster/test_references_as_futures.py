"""`ObjectRef` in the hands of asyncio, which takes it for a future of its own."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import Any

import pytest

import asyncray
from asyncray import ObjectRef

from .gates import closed_gate, waiting_at

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("shared_cluster")]


@asyncray.remote
def identity(value: Any) -> Any:
    return value


@asyncray.remote
def fail(text: str) -> None:
    raise ValueError(text)


# ---- what a future does


async def test_a_reference_is_a_future_and_needs_no_task_of_its_own() -> None:
    async with closed_gate() as gate:
        refs = [gate.passed.remote(number) for number in range(50)]
        assert all(asyncio.isfuture(ref) and asyncio.ensure_future(ref) is ref for ref in refs)
        await waiting_at(gate, 50)
        before = asyncio.all_tasks()
        gathered = asyncio.gather(*refs)
        waiter = asyncio.create_task(asyncio.wait(refs))
        await asyncio.sleep(0)
        assert asyncio.all_tasks() - before == {waiter}
        await gate.open.remote()
        assert await gathered == list(range(50))
        await waiter


async def test_each_await_gives_a_copy_of_its_own() -> None:
    ref = identity.remote([1, [2]])
    first, second = await ref, await ref
    assert first == second == [1, [2]]
    first[1].append(3)
    assert await ref == [1, [2]]


async def test_a_reference_is_done_when_its_value_is_here() -> None:
    async with closed_gate() as gate:
        ref = gate.passed.remote("value")
        assert not ref.done() and not ref.cancelled()
        with pytest.raises(asyncio.InvalidStateError):
            ref.result()
        with pytest.raises(asyncio.InvalidStateError):
            ref.exception()
        gate.open.remote()
        assert await ref == "value"
        assert ref.done() and not ref.cancelled()
        assert ref.result() == "value"
        assert ref.exception() is None


async def test_the_exception_of_a_failed_task_can_be_asked_for() -> None:
    ref = fail.remote("boo")
    await asyncio.wait([ref])
    error = ref.exception()
    assert isinstance(error, ValueError) and str(error) == "boo"
    with pytest.raises(ValueError, match="boo"):
        ref.result()


async def test_callbacks_are_called_on_the_loop_with_the_reference() -> None:
    loop, thread = asyncio.get_running_loop(), threading.get_ident()
    variable = contextvars.ContextVar("variable", default="unset")
    called: list[tuple[ObjectRef, int, str]] = []
    done = loop.create_future()

    def note(ref: ObjectRef) -> None:
        called.append((ref, threading.get_ident(), variable.get()))

    context = contextvars.copy_context()
    context.run(variable.set, "set")
    ref = identity.remote(1)
    ref.add_done_callback(note, context=context)
    ref.add_done_callback(done.set_result)
    await done
    assert called == [(ref, thread, "set")]

    late = loop.create_future()
    ref.add_done_callback(late.set_result)
    assert not late.done(), "as for any future, not before the next turn"
    assert await late is ref


async def test_a_removed_callback_is_not_called() -> None:
    async with closed_gate() as gate:
        ref = gate.passed.remote()
        called: list[ObjectRef] = []
        ref.add_done_callback(called.append)
        ref.add_done_callback(called.append)
        assert ref.remove_done_callback(called.append) == 2
        assert ref.remove_done_callback(called.append) == 0
        gate.open.remote()
        await ref
        await asyncio.sleep(0)
        assert called == []


async def test_the_outcome_cannot_be_set_from_outside() -> None:
    ref = identity.remote(1)
    with pytest.raises(RuntimeError):
        ref.set_result(2)
    with pytest.raises(RuntimeError):
        ref.set_exception(ValueError())
    assert await ref == 1


async def test_another_thread_can_wait_for_the_value() -> None:
    good, bad = identity.remote([1]), fail.remote("boo")
    assert await asyncio.to_thread(good.future().result, 20) == [1]
    assert await asyncio.to_thread(lambda: good.future().result(20)) == [1]
    with pytest.raises(ValueError, match="boo"):
        await asyncio.to_thread(bad.future().result, 20)


async def test_a_reference_of_another_loop_is_refused_as_any_future_is() -> None:
    async with closed_gate() as gate:
        ref = gate.passed.remote()

        async def wait() -> None:
            await ref

        with pytest.raises(RuntimeError, match="different loop"):
            await asyncio.to_thread(asyncio.run, wait())
        gate.open.remote()
        await ref


# ---- what asyncio does with futures


async def test_gather_returns_values_in_order() -> None:
    one = identity.remote(1)
    assert await asyncio.gather(one, identity.remote(2), one) == [1, 2, 1]


async def test_gather_raises_the_first_exception_and_can_return_all() -> None:
    with pytest.raises(ValueError, match="boo"):
        await asyncio.gather(identity.remote(1), fail.remote("boo"))
    one, error = await asyncio.gather(identity.remote(1), fail.remote("boo"), return_exceptions=True)
    assert one == 1
    assert isinstance(error, ValueError)


async def test_wait_tells_the_done_from_the_pending() -> None:
    async with closed_gate() as gate:
        quick, held, failed = identity.remote(1), gate.passed.remote(), fail.remote("boo")
        done, pending = await asyncio.wait([quick, held], return_when=asyncio.FIRST_COMPLETED)
        assert (done, pending) == ({quick}, {held})
        done, pending = await asyncio.wait([failed, held], return_when=asyncio.FIRST_EXCEPTION)
        assert (done, pending) == ({failed}, {held})
        assert await asyncio.wait([held], timeout=0) == (set(), {held})
        gate.open.remote()
        assert await asyncio.wait([quick, held, failed]) == ({quick, held, failed}, set())


async def test_as_completed_yields_values_as_they_come() -> None:
    async with closed_gate() as gate:
        completed = asyncio.as_completed([gate.passed.remote("late"), identity.remote("early")])
        assert await next(completed) == "early"
        gate.open.remote()
        assert await next(completed) == "late"


async def test_a_timeout_of_wait_for_leaves_the_others_at_work() -> None:
    async with closed_gate() as gate:
        kept, given_up = gate.passed.remote("kept"), gate.passed.remote("given up")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(given_up, timeout=0.01)
        assert given_up.cancelled()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        gate.open.remote()
        assert await kept == "kept"
        assert await identity.remote(1) == 1


async def test_shield_keeps_the_work_going() -> None:
    async with closed_gate() as gate:
        ref = gate.passed.remote("value")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.shield(ref)
        assert not ref.cancelled()
        gate.open.remote()
        assert await asyncio.shield(ref) == "value"


async def test_the_tasks_of_a_group_await_references() -> None:
    async def double(ref: ObjectRef) -> int:
        return 2 * await ref

    async with asyncio.TaskGroup() as group:
        doubled = [group.create_task(double(identity.remote(number))) for number in range(5)]
    assert [task.result() for task in doubled] == [0, 2, 4, 6, 8]


async def test_the_first_failure_in_a_group_ends_the_waiting_of_the_others() -> None:
    async with closed_gate() as gate:
        held = gate.passed.remote()

        async def wait(ref: ObjectRef) -> None:
            await ref

        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                group.create_task(wait(held))
                group.create_task(wait(fail.remote("boo")))
        assert [str(error) for error in caught.value.exceptions] == ["boo"]
        assert held.cancelled()


async def test_a_timeout_ends_the_waiting() -> None:
    async with closed_gate() as gate:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await gate.passed.remote()


async def test_cancelling_a_task_that_awaits_a_reference_works_at_once() -> None:
    async with closed_gate() as gate:
        ref = gate.passed.remote()

        async def wait() -> None:
            await ref

        task = asyncio.create_task(wait())
        await waiting_at(gate, 1)
        task.cancel()
        for _ in range(3):  # turns of the loop: nothing remote is waited for
            await asyncio.sleep(0)
        assert task.cancelled()
        assert ref.cancelled() and ref.done()


async def test_several_tasks_can_await_one_reference() -> None:
    async with closed_gate() as gate:
        ref = gate.passed.remote(["value"])

        async def wait() -> Any:
            return await ref

        tasks = [asyncio.create_task(wait()) for _ in range(10)]
        await waiting_at(gate, 1)
        gate.open.remote()
        values = await asyncio.gather(*tasks)
        assert values == [["value"]] * 10
        assert len({id(value) for value in values}) == 10


async def test_references_are_equal_when_they_name_the_same_object() -> None:
    ref, other = identity.remote(1), identity.remote(1)
    assert ref != other
    assert len({ref, other}) == 2

    @asyncray.remote
    def give_back(refs: list[ObjectRef]) -> list[ObjectRef]:
        return refs

    (same,) = await give_back.remote([ref])
    assert same is not ref
    assert same == ref and hash(same) == hash(ref)
    assert await same == 1
    assert (same.hex(), same.binary()) == (ref.hex(), ref.binary())
    await other
