"""Clusters for tests: one per module where the tests can share it, one per test where isolation is the point.

A module whose tests share a cluster says

    pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("shared_cluster")]

or, for the blocking API, asks for `shared_blocking_cluster`. Such a module is checked for what it leaves behind at its
end; each of its tests, for references and tasks that it leaves in the driver.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

import asyncray
import asyncray.sync
from asyncray.proto import Empty, NodeStatus, NodeStub
from asyncray.worker import current
from asyncray.worker.reference import Reference
from asyncray.worker.runtime import Runtime

from ..conftest import SETTLE, Surroundings, check_nothing_left, fail, marked_surroundings
from .polling import eventually, eventually_blocking

ROOT = Path(__file__).parents[2]
SHARED = {"shared_cluster": "driver_keeps_nothing", "shared_blocking_cluster": "blocking_driver_keeps_nothing"}


@pytest.fixture(autouse=True)
def guard_tests_of_real_processes(request: pytest.FixtureRequest) -> None:
    """Takes the place of the one in the folder above, for which each test starts what it needs."""
    checks = [check for cluster, check in SHARED.items() if cluster in request.fixturenames]
    if not checks:
        is_async = inspect.iscoroutinefunction(request.function)
        checks = ["leaves_nothing_behind", "leaves_its_cluster" if is_async else "leaves_its_cluster_blocking"]
    for check in checks:
        request.getfixturevalue(check)


@pytest.fixture(autouse=True, scope="session")
def workers_can_import_test_modules() -> Iterator[None]:
    """Workers get the driver's `sys.path`, on which the checkout need not be: pytest imports tests without it."""
    sys.path.insert(0, str(ROOT))
    yield
    sys.path.remove(str(ROOT))


@pytest.fixture
async def leaves_its_cluster() -> AsyncIterator[None]:
    """One test that fails must not fail those that follow."""
    yield
    if asyncray.is_initialized():
        await asyncray.shutdown()


@pytest.fixture
def leaves_its_cluster_blocking() -> Iterator[None]:
    yield
    if asyncray.is_initialized():
        asyncray.sync.shutdown()


# ---- shared by the tests of a module


@pytest.fixture(scope="module")
def module_surroundings() -> Iterator[Surroundings]:
    gc.freeze()  # `lets_go_of_all_but` need not look through what is there already
    with marked_surroundings() as surroundings:
        yield surroundings
    gc.unfreeze()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_cluster(module_surroundings: Surroundings) -> AsyncIterator[None]:
    """An embedded cluster with two CPUs, which this process drives from the module's loop."""
    async with asyncray.init(num_cpus=2):
        yield
        await comes_to_rest()
    await check_nothing_left(module_surroundings)


@pytest.fixture(scope="module")
def shared_blocking_cluster(module_surroundings: Surroundings) -> Iterator[None]:
    """The same for `asyncray.sync`."""
    with asyncray.sync.init(num_cpus=2):
        yield
        asyncray.sync.run(comes_to_rest())
    asyncio.run(check_nothing_left(module_surroundings))


@pytest_asyncio.fixture(loop_scope="module")
async def driver_keeps_nothing(shared_cluster: None) -> AsyncIterator[None]:
    kept, tasks = references(), asyncio.all_tasks()
    yield
    tasks |= {asyncio.current_task()}
    try:
        await eventually(lambda: lets_go_of_all_but(kept) and not asyncio.all_tasks() - tasks, within=SETTLE)
    except TimeoutError:
        fail([repr(thing) for thing in (references() - kept) | (asyncio.all_tasks() - tasks)][:10])


@pytest.fixture
def blocking_driver_keeps_nothing(shared_blocking_cluster: None) -> Iterator[None]:
    kept = references()
    yield
    try:
        eventually_blocking(lambda: lets_go_of_all_but(kept), within=SETTLE)
    except TimeoutError:
        fail([repr(reference) for reference in references() - kept][:10])


def references() -> set[Reference]:
    """The objects of which this driver knows."""
    return set(runtime().ownership.references.values())


def lets_go_of_all_but(kept: set[Reference]) -> bool:
    if references() <= kept:
        return True
    gc.collect()  # an exception that was caught and the frame that caught it refer to each other
    runtime().schedule_turn()
    return references() <= kept


def runtime() -> Runtime:
    """This process's."""
    found = current.get_runtime()
    assert found is not None
    return found


async def node_status() -> NodeStatus:
    """What this driver's node says of itself."""
    node = runtime().nodes.own
    assert node is not None and node.channel is not None
    return await node.channel.stub(NodeStub).status(Empty())


async def comes_to_rest() -> None:
    """Returns when the node has got back all that it gave."""

    async def rests() -> bool:
        status = await node_status()
        return not (status.leases or status.queued_leases or status.store_objects or status.store_used or status.pins)

    try:
        await eventually(rests, within=SETTLE)
    except TimeoutError:
        fail([repr(await node_status())])
