"""Which tasks a simulated process knows of."""

from __future__ import annotations

import asyncio
import gc
import weakref

from asyncray.simulation.loop import VirtualLoop
from asyncray.simulation.process import Process


def test_a_process_does_not_keep_the_tasks_that_have_ended() -> None:
    async def step() -> None:
        await asyncio.sleep(0)

    async def main() -> None:
        process = Process("worker 1.1", "10.0.0.1", 1000)
        waiting = process.spawn(asyncio.sleep(100), "waits")
        for number in range(1000):
            await process.spawn(step(), f"step {number}")
        assert len(process._tasks) < 20
        process.kill("killed by SIGKILL")
        assert process.remains == [waiting]
        process.bury()

    loop = VirtualLoop()
    loop.run_until_complete(main())
    loop.close()


def test_a_task_that_nobody_keeps_is_not_kept_by_its_process() -> None:
    async def forgotten() -> None:
        await asyncio.get_running_loop().create_future()

    async def main() -> None:
        process = Process("worker 1.1", "10.0.0.1", 1000)
        task = weakref.ref(process.spawn(forgotten(), "forgotten"))
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        await asyncio.sleep(1)
        gc.collect()
        assert task() is None
        process.kill("killed by SIGKILL")
        assert process.remains == []

    loop = VirtualLoop()
    loop.run_until_complete(main())
    loop.close()
