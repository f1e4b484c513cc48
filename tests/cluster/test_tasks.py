"""Tasks: calls, options, arguments, returns."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import asyncray
from asyncray import ActorHandle, ObjectRef
from asyncray.errors import TaskError

from .polling import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("shared_cluster")]


@asyncray.remote
def add(left: int, right: int = 1) -> int:
    return left + right


@asyncray.remote
def repeat(value: Any, times: int) -> list[Any]:
    return [value] * times


@asyncray.remote
def type_names(*args: Any, **kwargs: Any) -> list[str]:
    return [type(value).__name__ for value in (*args, *kwargs.values())]


# ---- calls


async def test_a_call_returns_its_value() -> None:
    assert await add.remote(1) == 2
    assert await add.remote(left=3, right=4) == 7


async def test_many_calls_return_their_own_values() -> None:
    assert await asyncio.gather(*(add.remote(number) for number in range(500))) == list(range(1, 501))


async def test_a_coroutine_function_is_a_task_like_any_other() -> None:
    @asyncray.remote
    async def add_later(left: int, right: int) -> int:
        await asyncio.sleep(0)
        return left + await add.remote(right, 0)

    assert await add_later.remote(1, add.remote(1)) == 3


async def test_a_coroutine_function_that_raises_fails_its_task() -> None:
    @asyncray.remote
    async def fail() -> None:
        await asyncio.sleep(0)
        raise ValueError("later")

    with pytest.raises(ValueError, match="later"):
        await fail.remote()


async def test_calling_a_remote_function_without_remote_says_how_to() -> None:
    with pytest.raises(TypeError, match=r"add\.remote\(\.\.\.\)"):
        add(1, 2)
    assert add.function(1, 2) == 3


async def test_a_call_with_wrong_arguments_fails_in_the_worker() -> None:
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'left'"):
        await add.remote()


async def test_a_task_knows_its_name_and_ids() -> None:
    @asyncray.remote
    def who() -> tuple[Any, ...]:
        context = asyncray.get_runtime_context()
        return context.get_task_name(), context.get_task_id(), context.get_job_id(), context.get_actor_id()

    ref = who.options(name="inspector").remote()
    assert await ref == ("inspector", ref.task_id().hex(), asyncray.get_runtime_context().get_job_id(), None)
    assert asyncray.get_runtime_context().get_task_id() is None


# ---- options


async def test_options_give_the_same_function_with_other_options() -> None:
    twice = repeat.options(num_returns=2)
    assert await asyncio.gather(*twice.remote("x", 2)) == ["x", "x"]
    assert await repeat.remote("x", 2) == ["x", "x"]


async def test_an_unknown_option_is_refused_with_the_one_that_was_meant() -> None:
    with pytest.raises(TypeError, match=r"unknown option 'num_cpu' for a remote function: did you mean 'num_cpus'\?"):
        asyncray.remote(num_cpu=1)(add.function)
    with pytest.raises(TypeError, match=r"unknown option 'colour' for a remote function: there are: .*max_retries"):
        add.options(colour="red")


@pytest.mark.parametrize(
    ("option", "complaint"),
    [
        ({"num_cpus": -1}, "CPU"),
        ({"num_cpus": "two"}, "CPU"),
        ({"num_gpus": float("nan")}, "GPU"),
        ({"num_returns": -1}, "num_returns must be 0 or more"),
        ({"num_returns": True}, "num_returns must be 0 or more"),
        ({"num_returns": "many"}, "num_returns must be 0 or more"),
        ({"max_retries": -2}, "max_retries must be -1"),
        ({"max_retries": 1.5}, "max_retries must be -1"),
        ({"resources": {"CPU": 1}}, "resource 'CPU' has an option of its own"),
        ({"resources": {"disk": -1}}, "disk"),
    ],
)
async def test_a_value_that_makes_no_sense_is_refused_when_it_is_given(option: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        add.options(**option)
    with pytest.raises(ValueError, match=complaint):
        asyncray.remote(**option)(add.function)


async def test_remote_takes_functions_and_classes_only() -> None:
    with pytest.raises(TypeError, match="takes a function or a class, got int"):
        asyncray.remote(num_cpus=1)(3)
    with pytest.raises(TypeError, match="keyword options only"):
        asyncray.remote(add.function, 2)


async def test_a_task_that_takes_no_cpu_runs_beside_those_that_take_all() -> None:
    @asyncray.remote(num_cpus=2)
    def outer() -> int:
        import asyncray.sync as ray

        return ray.get(add.options(num_cpus=0).remote(1))

    assert await outer.remote() == 2


# ---- references as arguments


async def test_a_reference_as_an_argument_stands_for_its_value() -> None:
    one = add.remote(0)
    assert await add.remote(one, one) == 2
    assert await add.remote(left=one, right=one) == 2
    assert await add.remote(one, right=add.remote(one)) == 3
    assert await type_names.remote(one, kept=await asyncray.put("text")) == ["int", "str"]


async def test_a_reference_inside_a_container_is_passed_as_it_is() -> None:
    one = add.remote(0)
    assert await type_names.remote([one], {"key": one}, one) == ["list", "dict", "int"]

    @asyncray.remote
    async def total(refs: list[ObjectRef], by_name: dict[str, ObjectRef]) -> int:
        assert refs[0] == by_name["again"]
        return sum([*await asyncio.gather(*refs), await by_name["again"]])

    assert await total.remote([one, add.remote(1)], {"again": one}) == 4


async def test_a_chain_of_tasks_needs_no_waiting_in_between() -> None:
    ref = add.remote(0)
    for _ in range(50):
        ref = add.remote(ref)
    assert await ref == 51


async def test_a_task_whose_argument_failed_fails_with_the_same_exception() -> None:
    @asyncray.remote
    def fail() -> None:
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost") as caught:
        await add.remote(add.remote(fail.remote()))
    assert isinstance(caught.value, TaskError)


async def test_an_argument_changed_after_the_call_does_not_change_the_call() -> None:
    numbers = [1, 2]
    ref = repeat.remote(numbers, 1)
    numbers.append(3)
    assert await ref == [[1, 2]]


# ---- returns


@pytest.mark.parametrize("count", [2, 3, 10])
async def test_several_returns_have_a_reference_each(count: int) -> None:
    refs = repeat.options(num_returns=count).remote("x", count)
    assert len(set(refs)) == count
    assert await asyncio.gather(*refs) == ["x"] * count


async def test_a_task_without_returns_runs_all_the_same() -> None:
    @asyncray.remote
    class Witness:
        noted = 0

        def note(self) -> None:
            self.noted += 1

        def seen(self) -> int:
            return self.noted

    @asyncray.remote(num_returns=0)
    async def call(witness: ActorHandle) -> None:
        await witness.note.remote()

    witness = Witness.remote()
    assert call.remote(witness) == []
    assert await eventually(witness.seen.remote) == 1


@pytest.mark.parametrize("times", [0, 1, 3])
async def test_the_wrong_number_of_returns_is_named(times: int) -> None:
    refs = repeat.options(num_returns=2).remote("x", times)
    for ref in refs:
        with pytest.raises(ValueError, match=rf"num_returns=2, but returned {times} values"):
            await ref


async def test_several_returns_that_are_no_sequence_fail_the_task() -> None:
    first, second = add.options(num_returns=2).remote(1)
    with pytest.raises(TypeError, match="not iterable"):
        await first
    with pytest.raises(TypeError, match="not iterable"):
        await second
