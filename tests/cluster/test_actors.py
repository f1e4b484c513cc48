"""Actors: creation, calls and their order, state, handles."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

import asyncray
from asyncray import ActorHandle
from asyncray.errors import SerializationError, TaskError

from .gates import closed_gate, waiting_at

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("shared_cluster")]


@asyncray.remote
class Counter:
    """Counts."""

    def __init__(self, number: int = 0, *, step: int = 1) -> None:
        self.number = number
        self.step = step

    def add(self, times: int = 1) -> int:
        self.number += times * self.step
        return self.number

    def fail(self) -> None:
        self.number += 100
        raise KeyError("no such thing")

    @asyncray.method(num_returns=2)
    def both(self) -> tuple[int, int]:
        return self.number, self.step


@asyncray.remote
class Journal:
    def __init__(self) -> None:
        self.entries: list[Any] = []

    def add(self, entry: Any) -> None:
        self.entries.append(entry)

    def read(self) -> list[Any]:
        return self.entries


@asyncray.remote
def identity(value: Any) -> Any:
    return value


# ---- calls


async def test_an_actor_keeps_its_state_between_calls() -> None:
    counter = Counter.remote(5, step=2)
    assert await counter.add.remote() == 7
    assert await counter.add.remote(times=3) == 13
    assert await asyncio.gather(*(counter.add.remote() for _ in range(100))) == list(range(15, 215, 2))


async def test_actors_of_one_class_are_separate_processes() -> None:
    @asyncray.remote
    class Place:
        def pid(self) -> int:
            return os.getpid()

    places = [Place.remote() for _ in range(3)]
    pids = await asyncio.gather(*(place.pid.remote() for place in places))
    assert len({*pids, os.getpid()}) == 4
    assert await asyncio.gather(*(place.pid.remote() for place in places)) == pids


async def test_twenty_actors_live_at_once_on_two_cpus() -> None:
    counters = [Counter.remote(number) for number in range(20)]
    assert await asyncio.gather(*(counter.add.remote() for counter in counters)) == list(range(1, 21))


async def test_calls_run_in_the_order_in_which_they_were_made() -> None:
    journal = Journal.remote()
    for number in range(500):
        journal.add.remote(number)
        if number % 100 == 50:
            await asyncio.sleep(0)
    assert await journal.read.remote() == list(range(500))


async def test_a_call_whose_argument_is_not_there_yet_holds_up_those_behind_it() -> None:
    async with closed_gate() as gate:
        journal = Journal.remote()
        journal.add.remote("first")
        journal.add.remote(gate.passed.remote("second"))
        journal.add.remote(identity.remote("third"))
        last = journal.add.remote("fourth")
        await waiting_at(gate, 1)
        assert await asyncray.wait([last], timeout=0.05) == ([], [last])
        await gate.open.remote()
        assert await journal.read.remote() == ["first", "second", "third", "fourth"]


async def test_a_call_whose_argument_failed_is_skipped() -> None:
    journal, counter = Journal.remote(), Counter.remote()
    journal.add.remote("first")
    failed = journal.add.remote(counter.fail.remote())
    journal.add.remote("second")
    assert await journal.read.remote() == ["first", "second"]
    with pytest.raises(KeyError):
        await failed


async def test_a_cancelled_call_that_has_not_been_sent_does_not_run() -> None:
    async with closed_gate() as gate:
        journal = Journal.remote()
        journal.add.remote(gate.passed.remote("first"))
        cancelled = journal.add.remote("cancelled")
        also_cancelled = journal.add.remote(gate.passed.remote("also cancelled"))
        journal.add.remote("last")
        await waiting_at(gate, 2)
        cancelled.cancel()
        also_cancelled.cancel()
        await gate.open.remote()
        assert await journal.read.remote() == ["first", "last"]


async def test_an_exception_of_a_method_reaches_the_caller_and_the_actor_lives_on() -> None:
    counter = Counter.remote()
    with pytest.raises(KeyError, match="no such thing") as caught:
        await counter.fail.remote()
    assert isinstance(caught.value, TaskError)
    assert "Task Counter.fail (pid " in caught.value.remote_traceback
    assert await counter.add.remote() == 101


async def test_a_method_can_have_several_returns() -> None:
    counter = Counter.remote(3, step=4)
    assert await asyncio.gather(*counter.both.remote()) == [3, 4]
    assert await counter.both.options(num_returns=1).remote() == (3, 4)


async def test_the_constructor_takes_references() -> None:
    counter = Counter.remote(identity.remote(5), step=await asyncray.put(10))
    assert await counter.add.remote() == 15


async def test_a_callable_instance_and_inherited_methods_can_be_called() -> None:
    class Base:
        def greet(self) -> str:
            return f"I am {self.name()}"

        def name(self) -> str:
            return "base"

    @asyncray.remote
    class Derived(Base):
        def name(self) -> str:
            return "derived"

        def __call__(self, text: str) -> str:
            return text.upper()

        @staticmethod
        def fixed() -> int:
            return 1

        @classmethod
        def kind(cls) -> str:
            return cls.__name__

    actor = Derived.remote()
    assert await actor.greet.remote() == "I am derived"
    assert await actor.__call__.remote("text") == "TEXT"
    assert await actor.fixed.remote() == 1
    assert await actor.kind.remote() == "Derived"


async def test_an_actor_knows_itself() -> None:
    @asyncray.remote
    class Introspective:
        def names(self) -> tuple[str | None, str | None, str | None]:
            context = asyncray.get_runtime_context()
            return context.get_actor_id(), context.get_task_name(), context.get_job_id()

    actor = Introspective.remote()
    job_id = asyncray.get_runtime_context().get_job_id()
    assert await actor.names.remote() == (actor._actor_id.hex(), "Introspective.names", job_id)


# ---- what is refused


async def test_calling_the_class_or_a_method_directly_says_how_to() -> None:
    with pytest.raises(TypeError, match=r"create an actor with Counter\.remote\(\.\.\.\)"):
        Counter()
    counter = Counter.remote()
    with pytest.raises(TypeError, match=r"\.add\.remote\(\.\.\.\)"):
        counter.add()
    assert Counter.__doc__ == "Counts."


async def test_an_unknown_method_is_refused_with_those_there_are() -> None:
    counter = Counter.remote()
    with pytest.raises(AttributeError, match="actor Counter has no method 'subtract'; it has: add, both, fail"):
        _ = counter.subtract


async def test_an_unknown_option_of_a_class_or_method_is_refused() -> None:
    with pytest.raises(TypeError, match=r"unknown option 'max_concurency' .*: did you mean 'max_concurrency'\?"):
        Counter.options(max_concurency=2)
    with pytest.raises(TypeError, match="unknown option 'max_retries' for a remote class"):
        Counter.options(max_retries=2)
    with pytest.raises(ValueError, match="max_concurrency must be 1 or more"):
        Counter.options(max_concurrency=0)
    counter = Counter.remote()
    with pytest.raises(TypeError, match="unknown option 'num_cpus'"):
        counter.add.options(num_cpus=1)
    with pytest.raises(TypeError, match="unknown option"):
        asyncray.method(colour="red")


async def test_an_argument_of_the_constructor_that_cannot_be_pickled_is_named() -> None:
    with pytest.raises(SerializationError, match="socket"):
        Counter.remote(__import__("socket").socket())


# ---- handles


async def test_a_handle_can_be_passed_to_tasks_and_to_other_actors() -> None:
    @asyncray.remote
    def count(counter: ActorHandle, times: int) -> int:
        import asyncray.sync as ray

        return ray.get([counter.add.remote() for _ in range(times)])[-1]

    @asyncray.remote
    class Delegate:
        def __init__(self, counter: ActorHandle) -> None:
            self.counter = counter

        async def add(self) -> Any:
            return await self.counter.add.remote()

        async def take(self, counters: dict[str, list[ActorHandle]]) -> Any:
            return await counters["all"][0].add.remote()

    counter = Counter.remote()
    assert await count.remote(counter, 3) == 3
    delegate = Delegate.remote(counter)
    assert await delegate.add.remote() == 4
    assert await delegate.take.remote({"all": [counter]}) == 5
    assert await counter.add.remote() == 6


async def test_a_handle_can_be_put_and_returned() -> None:
    @asyncray.remote
    def make() -> ActorHandle:
        return Counter.remote(40)

    made = await make.remote()
    assert await made.add.remote() == 41
    stored = await asyncray.put({"counter": made})
    del made
    again = (await stored)["counter"]
    assert await again.add.remote() == 42
    assert again == (await stored)["counter"]
    assert len({again, (await stored)["counter"]}) == 1


async def test_callers_of_one_actor_each_keep_their_order() -> None:
    @asyncray.remote
    def write(journal: ActorHandle, name: str) -> None:
        import asyncray.sync as ray

        ray.get([journal.add.remote((name, number)) for number in range(100)])

    journal = Journal.remote()
    await asyncio.gather(*(write.remote(journal, name) for name in "abc"))
    entries = await journal.read.remote()
    assert len(entries) == 300
    for name in "abc":
        assert [number for writer, number in entries if writer == name] == list(range(100))


async def test_an_actor_calls_itself_through_a_handle() -> None:
    @asyncray.remote
    class Recursive:
        async def down(self, itself: ActorHandle, depth: int) -> int:
            return 0 if depth == 0 else 1 + await itself.down.remote(itself, depth - 1)

    actor = Recursive.remote()
    assert await actor.down.remote(actor, 5) == 5
