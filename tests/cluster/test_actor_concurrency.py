"""How many calls of an actor run at a time. Rendezvous prove it: they end only if all have come."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

import asyncray

from .conftest import node_status
from .gates import busy_until, closed_gate, running, waiting_at
from .polling import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("shared_cluster")]


@asyncray.remote
class Meeting:
    """`attend` returns once as many calls run at the same time as are expected."""

    def __init__(self, expected: int) -> None:
        self.expected = expected
        self.present = self.most = 0
        self.complete = asyncio.Event()

    async def attend(self) -> int:
        self.present += 1
        self.most = max(self.most, self.present)
        if self.present == self.expected:
            self.complete.set()
        await self.complete.wait()
        await asyncio.sleep(0)
        self.present -= 1
        return self.most


async def test_coroutine_methods_run_at_the_same_time() -> None:
    meeting = Meeting.remote(1000)
    assert max(await asyncio.gather(*(meeting.attend.remote() for _ in range(1000)))) == 1000


async def test_no_more_coroutine_methods_run_at_a_time_than_allowed() -> None:
    meeting = Meeting.options(max_concurrency=3).remote(3)
    assert max(await asyncio.gather(*(meeting.attend.remote() for _ in range(50)))) == 3


async def test_plain_methods_run_on_as_many_threads_as_asked_for() -> None:
    @asyncray.remote(max_concurrency=4)
    class Threads:
        def __init__(self) -> None:
            self.barrier = threading.Barrier(4, timeout=20)

        def meet(self) -> int:
            self.barrier.wait()
            return threading.get_ident()

    actor = Threads.remote()
    assert len(set(await asyncio.gather(*(actor.meet.remote() for _ in range(4))))) == 4
    assert len(await asyncio.gather(*(actor.meet.remote() for _ in range(8)))) == 8


async def test_plain_methods_run_one_at_a_time_on_the_main_thread() -> None:
    @asyncray.remote
    class Plain:
        inside = False

        def enter(self) -> bool:
            assert not self.inside
            self.inside = True
            alone = threading.current_thread() is threading.main_thread()
            self.inside = False
            return alone

    actor = Plain.remote()
    assert all(await asyncio.gather(*(actor.enter.remote() for _ in range(100))))


async def test_a_coroutine_method_and_its_loop_run_while_a_plain_method_computes(tmp_path: Path) -> None:
    @asyncray.remote
    class Mixed:
        def compute(self, path: Path) -> str:
            return busy_until.function(path, "computed")

        async def answer(self) -> str:
            await asyncio.sleep(0)
            return "answered"

    done = tmp_path / "done"
    actor = Mixed.remote()
    computing = actor.compute.remote(done)
    await eventually(lambda: running(done))
    assert await actor.answer.remote() == "answered"
    assert not computing.done()
    done.touch()
    assert await computing == "computed"


async def test_coroutine_methods_share_the_loop_with_what_they_start() -> None:
    @asyncray.remote
    class Server:
        def __init__(self) -> None:
            self.beats = 0
            self.task: asyncio.Task[None] | None = None

        async def start(self) -> None:
            self.task = asyncio.create_task(self.beat())

        async def beat(self) -> None:
            while True:
                self.beats += 1
                await asyncio.sleep(0.001)

        async def count(self) -> int:
            return self.beats

    server = Server.remote()
    await server.start.remote()
    first = await server.count.remote()

    async def goes_on() -> Any:
        return await server.count.remote() > first + 3

    await eventually(goes_on)


async def test_an_actor_takes_no_cpu_to_live() -> None:
    async with closed_gate() as gate:
        held = [gate.passed.remote() for _ in range(3)]
        await waiting_at(gate, 3)
        others = [Meeting.remote(1) for _ in range(3)]
        assert await asyncio.gather(*(meeting.attend.remote() for meeting in others)) == [1, 1, 1]
        await gate.open.remote()
        await asyncio.gather(*held)


async def test_an_actor_that_takes_cpus_waits_until_they_are_free(tmp_path: Path) -> None:
    done = tmp_path / "done"
    busy = busy_until.remote(done)
    await eventually(lambda: running(done))
    meeting = Meeting.options(num_cpus=2).remote(1)
    attending = meeting.attend.remote()
    assert await asyncray.wait([attending], timeout=0.1) == ([], [attending])
    done.touch()
    await busy
    assert await attending == 1

    async def all_are_taken() -> bool:
        return (await node_status()).node.available.get("CPU", 0) == 0

    await eventually(all_are_taken)
    held_up = busy_until.remote(done, "ran")
    assert await asyncray.wait([held_up], timeout=0.1) == ([], [held_up])
    del meeting
    assert await held_up == "ran"
