"""How actors end: by `kill`, with their last handle, in their constructor, with their process."""

from __future__ import annotations

import asyncio
import os
import re
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

import asyncray
from asyncray import ActorHandle, ObjectRef
from asyncray.errors import ActorDiedError, ActorError, OwnerDiedError

from .conftest import node_status
from .gates import busy_until, closed_gate, running, waiting_at
from .polling import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("shared_cluster")]

SOON = 2.0
"""Seconds after which the process of an actor that nobody can call must be gone."""


@asyncray.remote
class Worker:
    def pid(self) -> int:
        return os.getpid()

    def exit(self, code: int) -> None:
        os._exit(code)

    def quit(self) -> None:
        raise SystemExit(3)

    def busy(self, path: Path) -> Any:
        return busy_until.function(path)


@asyncray.remote
async def pid_of(worker: ActorHandle) -> int:
    return await worker.pid.remote()


def is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid)


# ---- kill


async def test_a_killed_actor_fails_its_calls_with_the_cause(tmp_path: Path) -> None:
    worker = Worker.remote()
    pid = await worker.pid.remote()
    busy, behind = worker.busy.remote(tmp_path / "never"), worker.pid.remote()
    await eventually(lambda: running(tmp_path / "never"))
    await asyncray.kill(worker)
    for ref in (busy, behind, worker.pid.remote()):
        with pytest.raises(ActorDiedError, match=r"Worker.*it was killed by kill\(\)"):
            await ref
    await eventually(lambda: is_gone(pid), within=SOON)


async def test_an_actor_can_be_killed_before_it_lives() -> None:
    worker = Worker.options(num_cpus=100).remote()
    call = worker.pid.remote()
    await asyncray.kill(worker)
    with pytest.raises(ActorDiedError, match="killed"):
        await call


async def test_an_actor_can_be_killed_while_its_constructor_waits_for_an_argument() -> None:
    async with closed_gate() as gate:

        @asyncray.remote
        class Holder:
            def __init__(self, value: Any) -> None: ...

            def call(self) -> None: ...

        holder = Holder.remote(gate.passed.remote())
        call = holder.call.remote()
        await waiting_at(gate, 1)
        await asyncray.kill(holder)
        with pytest.raises(ActorDiedError, match="killed"):
            await call


async def test_killing_twice_changes_nothing() -> None:
    worker = Worker.remote()
    await worker.pid.remote()
    await asyncray.kill(worker)
    await asyncray.kill(worker)
    with pytest.raises(ActorDiedError, match="killed"):
        await worker.pid.remote()


async def test_kill_takes_actors_only() -> None:
    ref = await asyncray.put(1)
    with pytest.raises(TypeError, match=r"kill\(\) takes an actor handle, got ObjectRef; cancel\(\) ends tasks"):
        await asyncray.kill(ref)


async def test_no_call_gets_through_after_kill() -> None:
    workers = [Worker.remote() for _ in range(5)]
    for worker in workers:
        await worker.pid.remote()
        await asyncray.kill(worker)
        with pytest.raises(ActorDiedError, match=r"killed by kill\(\)"):
            await worker.pid.remote()


async def test_others_with_a_handle_learn_of_the_end() -> None:
    async with closed_gate() as gate:

        @asyncray.remote
        async def call_later(worker: ActorHandle, gate: ActorHandle) -> Any:
            pid = await worker.pid.remote()
            await gate.passed.remote()
            try:
                return await worker.pid.remote()
            except ActorError as error:
                return pid, type(error), str(error)

        worker = Worker.remote()
        outcome = call_later.remote(worker, gate)
        await waiting_at(gate, 1)
        await asyncray.kill(worker)
        await gate.open.remote()
        _, kind, text = await outcome
        assert kind is ActorDiedError
        assert "it was killed by kill()" in text


# ---- the last handle


async def test_an_actor_ends_with_its_last_handle() -> None:
    worker = Worker.remote()
    pid = await worker.pid.remote()
    copy = worker.pid
    del worker
    assert await copy.remote() == pid, "a method keeps the actor as well as a handle does"
    del copy
    await eventually(lambda: is_gone(pid), within=SOON)


async def test_an_actor_finishes_the_calls_it_has_got_when_its_last_handle_goes(tmp_path: Path) -> None:
    done = tmp_path / "done"
    worker = Worker.remote()
    pid = await worker.pid.remote()
    calls = [worker.busy.remote(done), worker.pid.remote()]
    del worker
    await eventually(lambda: running(done))
    done.touch()
    assert await asyncio.gather(*calls) == [None, pid]
    await eventually(lambda: is_gone(pid), within=SOON)


async def test_an_actor_ends_when_its_last_handle_was_that_of_a_task() -> None:
    worker = Worker.remote()
    ref = pid_of.remote(worker)
    del worker
    pid = await ref
    await eventually(lambda: is_gone(pid), within=SOON)


async def test_an_actor_ends_with_the_object_that_contained_its_last_handle() -> None:
    worker = Worker.remote()
    pid = await worker.pid.remote()
    stored = await asyncray.put([worker])
    del worker
    (again,) = await stored
    assert await again.pid.remote() == pid
    del again
    (again,) = await stored
    assert await again.pid.remote() == pid
    del again, stored
    await eventually(lambda: is_gone(pid), within=SOON)


async def test_an_actor_made_by_a_task_ends_with_that_task_unless_its_handle_goes_on() -> None:
    @asyncray.remote
    def make(keep: bool) -> tuple[int, ActorHandle | None]:
        import asyncray.sync as ray

        worker = Worker.remote()
        return ray.get(worker.pid.remote()), worker if keep else None

    pid, _ = await make.remote(False)
    await eventually(lambda: is_gone(pid), within=SOON)
    pid, worker = await make.remote(True)
    assert worker is not None
    assert await worker.pid.remote() == pid
    del worker
    await eventually(lambda: is_gone(pid), within=SOON)


async def test_actors_that_hold_each_other_end_with_kill() -> None:
    @asyncray.remote
    class Friend:
        friend: ActorHandle | None = None

        def meet(self, friend: ActorHandle) -> int:
            self.friend = friend
            return os.getpid()

    one, other = Friend.remote(), Friend.remote()
    pids = await asyncio.gather(one.meet.remote(other), other.meet.remote(one))
    await asyncray.kill(one)
    await asyncray.kill(other)
    await eventually(lambda: all(map(is_gone, pids)), within=SOON)


# ---- the constructor


async def test_a_constructor_that_raises_ends_the_actor_with_its_traceback() -> None:
    @asyncray.remote
    class Broken:
        def __init__(self, reason: str) -> None:
            raise RuntimeError(f"cannot start: {reason}")

        def call(self) -> None: ...

    broken = Broken.remote("no paper")
    for _ in range(2):
        with pytest.raises(ActorDiedError, match=r"the constructor Broken\.__init__ raised") as caught:
            await broken.call.remote()
        cause = caught.value.__cause__
        assert isinstance(cause, RuntimeError)
        assert str(cause) == "cannot start: no paper"
        text = cause.remote_traceback
        assert re.search(r'test_actor_ends\.py", line \d+, in __init__\n', text)
        assert "RuntimeError: cannot start: no paper" in text


async def test_a_constructor_whose_argument_failed_ends_the_actor() -> None:
    @asyncray.remote
    def fail() -> None:
        raise LookupError("lost")

    @asyncray.remote
    class Holder:
        def __init__(self, value: Any) -> None: ...

        def call(self) -> None: ...

    holder = Holder.remote(fail.remote())
    with pytest.raises(ActorDiedError) as caught:
        await holder.call.remote()
    assert isinstance(caught.value.__cause__, LookupError)


async def test_a_constructor_that_ends_its_process_ends_the_actor() -> None:
    @asyncray.remote
    class Suicidal:
        def __init__(self) -> None:
            os._exit(7)

        def call(self) -> None: ...

    with pytest.raises(ActorDiedError, match="ended while the constructor ran: exit code 7"):
        await Suicidal.remote().call.remote()


# ---- the process


@pytest.mark.parametrize(("how", "cause"), [("exit", "exit code 7"), ("quit", "exit code 3")])
async def test_an_actor_whose_process_ends_fails_all_calls(how: str, cause: str) -> None:
    worker = Worker.remote()
    calls = [worker.exit.remote(7) if how == "exit" else worker.quit.remote(), worker.pid.remote()]
    for call in (*calls, worker.pid.remote()):
        with pytest.raises(ActorDiedError, match=cause):
            await call


async def test_the_death_of_an_actors_process_is_noticed_at_once(tmp_path: Path) -> None:
    worker = Worker.remote()
    pid = await worker.pid.remote()
    busy = worker.busy.remote(tmp_path / "never")
    await eventually(lambda: running(tmp_path / "never"))
    killed = time.monotonic()
    os.kill(pid, 9)
    with pytest.raises(ActorDiedError, match="killed by SIGKILL"):
        await busy
    assert time.monotonic() - killed < 1


async def test_the_cpus_of_a_dead_actor_are_free_again() -> None:
    worker = Worker.options(num_cpus=2).remote()
    os.kill(await worker.pid.remote(), 9)

    async def are_free() -> bool:
        return (await node_status()).node.available.get("CPU") == 2

    await eventually(are_free)


async def test_what_a_dead_actor_owned_is_lost() -> None:
    @asyncray.remote
    class Owner:
        async def make(self) -> tuple[int, ObjectRef, ObjectRef]:
            return os.getpid(), await asyncray.put("small"), await asyncray.put(bytes(1_000_000))

    owner = Owner.remote()
    _, small, large = await owner.make.remote()
    assert await small == "small"
    pid, unread, _ = await owner.make.remote()
    await asyncray.kill(owner)
    await eventually(lambda: is_gone(pid), within=SOON)
    with pytest.raises(OwnerDiedError):
        await unread
    with pytest.raises(OwnerDiedError):
        await large
    assert await small == "small", "what has been read stays"
