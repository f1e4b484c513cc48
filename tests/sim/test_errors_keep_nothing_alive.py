"""An error that is kept keeps its traceback, the frames in it, and what their variables refer to."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest

import asyncray
from asyncray.errors import ConnectionFailed
from asyncray.testing import SimCluster, simulated


@asyncray.remote
class Guest:
    async def greet(self) -> str:
        return "hello"


@asyncray.remote
async def nothing() -> None:
    pass


@asyncray.remote
def fail() -> None:
    raise ValueError("as it should")


async def failed_kill(actor: Any) -> ConnectionFailed:
    try:
        await asyncray.kill(actor)
    except ConnectionFailed as error:
        return error
    raise AssertionError("the control plane is dead")


@simulated(seeds=2)
async def test_the_error_of_one_kill_keeps_no_handle_of_another_that_failed_with_it(cluster: SimCluster) -> None:
    await cluster.add_node(num_cpus=1)
    async with asyncray.init():
        one, other = Guest.remote(), Guest.remote()
        await asyncio.gather(one.greet.remote(), other.greet.remote())
        await cluster.kill_control()
        await asyncio.sleep(0.1)  # the connection is lost, and the next call dials anew
        first, second = await asyncio.gather(failed_kill(one), failed_kill(other))
        handle = weakref.ref(other)
        del second, other
        await asyncio.sleep(0)  # the loop itself has them for this turn
        gc.collect()
        assert first.__traceback__ is not None
        assert handle() is None


@simulated(seeds=2)
async def test_a_function_that_was_not_exported_keeps_no_handle_of_an_actor_whose_kill_failed(
    cluster: SimCluster,
) -> None:
    await cluster.add_node(num_cpus=1)
    async with asyncray.init():
        guest = Guest.remote()
        await guest.greet.remote()
        await cluster.kill_control()
        await asyncio.sleep(0.1)  # the connection is lost, and the next call dials anew
        ref = nothing.remote()
        await asyncio.sleep(0)  # the export is the first to dial, and its error the first to be raised
        with pytest.raises(ConnectionFailed):
            await asyncray.kill(guest)
        with pytest.raises(ConnectionFailed):
            await ref
        handle = weakref.ref(guest)
        del guest
        gc.collect()
        assert handle() is None


@simulated(seeds=2)
async def test_a_future_of_a_failed_task_does_not_wait_for_the_garbage_collector(cluster: SimCluster) -> None:
    await cluster.add_node(num_cpus=1)
    async with asyncray.init():
        future = fail.remote().future()
        with pytest.raises(ValueError, match="as it should"):
            await asyncio.wrap_future(future)
        left = weakref.ref(future)
        gc.disable()
        try:
            del future
            await asyncio.sleep(0)  # the loop itself has it for this turn
            assert left() is None
        finally:
            gc.enable()
