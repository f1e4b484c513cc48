"""What goes wrong in tasks, and what their callers get to see of it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import asyncray
from asyncray.errors import AsyncrayError, SerializationError, TaskError, WorkerCrashedError

from .user_errors import Locked, QuotaExceeded

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("shared_cluster")]


@asyncray.remote
def identity(value: Any) -> Any:
    return value


@asyncray.remote
def fail(error: BaseException) -> None:
    raise error


def dies(how: str) -> None:
    match how:
        case "exit":
            os._exit(3)
        case "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "sys.exit":
            sys.exit(5)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)


die = asyncray.remote(max_retries=0)(dies)


# ---- exceptions of user code


@pytest.mark.parametrize(
    "error",
    [
        ValueError("boo"),
        KeyError("key"),
        OSError(2, "gone", "file"),
        AssertionError(),
        Exception("a", 1),
        TimeoutError(),
    ],
    ids=repr,
)
async def test_an_exception_keeps_its_type_and_message(error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        await fail.remote(error)
    assert isinstance(caught.value, TaskError)
    assert isinstance(caught.value, AsyncrayError)
    assert str(caught.value) == str(error)
    assert caught.value.args == error.args


async def test_an_exception_shows_where_it_was_raised() -> None:
    @asyncray.remote
    def outer() -> None:
        inner({"some": "argument"})

    def inner(argument: dict[str, str]) -> None:
        raise ValueError(f"bad {argument}")

    with pytest.raises(ValueError) as caught:
        await outer.remote()
    error: Any = caught.value
    assert error.task_name.endswith("outer")
    assert error.pid != os.getpid()
    lines = error.remote_traceback.splitlines()
    assert lines[0] == f"Task {error.task_name} (pid {error.pid}, node {error.node}) raised:"
    assert any(line.endswith("in outer") and __file__ in line for line in lines)
    assert any(line.endswith("in inner") and __file__ in line for line in lines)
    assert lines[-1] == "ValueError: bad {'some': 'argument'}"
    assert not any("asyncray/worker" in line for line in lines)
    assert error.remote_traceback in str(error.__cause__)


async def test_an_exception_passes_through_the_tasks_in_between() -> None:
    @asyncray.remote
    def relay(depth: int) -> Any:
        import asyncray.sync as ray

        return ray.get(relay.remote(depth - 1) if depth else fail.remote(LookupError("deep")))

    with pytest.raises(LookupError, match="deep") as caught:
        await relay.remote(2)
    text = caught.value.remote_traceback
    assert text.count("Task fail (pid") == 1
    assert text.count("relay (pid") == 3


async def test_an_exception_class_with_required_arguments_arrives_whole() -> None:
    with pytest.raises(QuotaExceeded) as caught:
        await fail.remote(QuotaExceeded("ann", 3))
    assert (caught.value.user, caught.value.limit, str(caught.value)) == ("ann", 3, "ann may have 3")


async def test_an_exception_that_cannot_be_pickled_arrives_as_text() -> None:
    @asyncray.remote
    def fail_locked() -> None:
        raise Locked("with a lock")

    with pytest.raises(TaskError, match="with a lock") as caught:
        await fail_locked.remote()
    assert "Locked: with a lock" in caught.value.remote_traceback
    assert await identity.remote(1) == 1


async def test_an_exception_can_be_caught_and_returned_as_a_value() -> None:
    value = await identity.remote(ValueError("a value"))
    assert type(value) is ValueError
    assert str(value) == "a value"


@pytest.mark.parametrize("kind", [KeyboardInterrupt, GeneratorExit, asyncio.CancelledError, StopIteration])
async def test_exceptions_that_mean_something_to_the_interpreter_do_no_harm(kind: type[BaseException]) -> None:
    with pytest.raises(TaskError, match=kind.__name__):
        await fail.remote(kind())
    assert await identity.remote(1) == 1


async def test_a_failed_import_in_the_worker_is_the_tasks_failure() -> None:
    @asyncray.remote
    def load() -> None:
        import no_such_module_of_anybody  # noqa: F401

    with pytest.raises(ModuleNotFoundError, match="no_such_module_of_anybody"):
        await load.remote()


async def test_an_argument_that_cannot_be_rebuilt_fails_the_task() -> None:
    class Stubborn:
        def __reduce__(self) -> Any:
            return int, ("not a number",)

    with pytest.raises(SerializationError, match="cannot be rebuilt in this process: ValueError"):
        await identity.remote(Stubborn())
    assert await identity.remote(1) == 1


# ---- workers that die


@pytest.mark.parametrize(
    ("how", "cause"),
    [
        ("exit", "exit code 3"),
        ("segfault", "killed by SIGSEGV"),
        ("kill", "killed by SIGKILL"),
        ("sys.exit", "exit code 5"),
    ],
)
async def test_a_task_that_ends_its_worker_fails_and_the_next_one_runs(how: str, cause: str) -> None:
    with pytest.raises(WorkerCrashedError, match=rf"the worker that ran dies\(\) ended: {cause}"):
        await die.remote(how)
    assert await identity.remote(1) == 1


@pytest.mark.parametrize("retries", [0, 1, 2])
async def test_a_task_runs_again_as_often_as_allowed(tmp_path: Path, retries: int) -> None:
    @asyncray.remote(max_retries=retries)
    def note_and_die(path: Path) -> None:
        (path / f"{os.getpid()}").touch()
        os._exit(1)

    expected = ("", " after 1 retry", " after 2 retries")[retries]
    with pytest.raises(WorkerCrashedError, match=rf"ended{expected}: exit code 1"):
        await note_and_die.remote(tmp_path)
    assert len(os.listdir(tmp_path)) == retries + 1


async def test_a_retried_task_can_succeed(tmp_path: Path) -> None:
    @asyncray.remote(max_retries=-1)
    def die_four_times(path: Path, value: Any) -> Any:
        (path / f"{os.getpid()}").touch()
        if len(os.listdir(path)) <= 4:
            os._exit(1)
        return value

    argument = await asyncray.put(bytes(200_000))
    assert await die_four_times.remote(tmp_path, argument) == bytes(200_000)


async def test_a_crash_among_many_tasks_fails_none_of_the_others() -> None:
    @asyncray.remote(max_retries=1)
    def die_at(number: int, fatal: int) -> int:
        if number == fatal:
            os._exit(1)
        return number

    await asyncio.gather(*(die_at.remote(number, -1) for number in range(100)))  # known to be quick: sent in batches
    outcomes = await asyncio.gather(*(die_at.remote(number, 50) for number in range(100)), return_exceptions=True)
    assert isinstance(outcomes.pop(50), WorkerCrashedError)
    assert outcomes == [number for number in range(100) if number != 50]


async def test_a_crash_in_a_nested_task_is_seen_by_its_parent() -> None:
    @asyncray.remote
    def parent() -> str:
        import asyncray.sync as ray

        try:
            ray.get(die.remote("segfault"))
        except WorkerCrashedError as error:
            return str(error)
        return "nothing happened"

    assert "killed by SIGSEGV" in await parent.remote()


# ---- what cannot be pickled


async def test_an_argument_that_cannot_be_pickled_is_named_at_the_call() -> None:
    class Job:
        def __init__(self) -> None:
            self.settings = {"retry": {"guard": threading.Lock()}}

    with pytest.raises(SerializationError, match=r"settings.*retry.*guard.*_thread\.lock"):
        identity.remote(Job())
    with pytest.raises(SerializationError, match=r"_thread\.lock"):
        await asyncray.put([threading.Lock()])


async def test_a_result_that_cannot_be_pickled_is_named() -> None:
    @asyncray.remote
    def locked() -> Any:
        return {"guard": threading.Lock()}

    with pytest.raises(SerializationError, match=r"guard.*_thread\.lock"):
        await locked.remote()


async def test_a_function_that_cannot_be_pickled_names_what_it_closes_over() -> None:
    guard = threading.Lock()

    @asyncray.remote
    def guarded() -> None:
        with guard:
            pass

    with pytest.raises(SerializationError, match="guard"):
        guarded.remote()
