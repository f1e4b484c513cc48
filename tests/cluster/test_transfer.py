"""Objects between nodes of real processes: read elsewhere, by several, from disk; freed everywhere."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import numpy as np
import psutil
import pytest
import pytest_asyncio

import asyncray
from asyncray.errors import ObjectFreedError, ProtocolError
from asyncray.rpc.auth import Token
from asyncray.store.bulk_wire import ABSENT, Request, greeting, pack, unpack_answer
from asyncray.testing import Node

from ..conftest import Surroundings, check_nothing_left
from .polling import PATIENCE
from .several_nodes import MB, Nodes, Reader, nodes, numbers, sum_of, total, total_inside

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("shared_cluster")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_cluster(module_surroundings: Surroundings) -> AsyncIterator[Nodes]:
    """The driver's node and four others."""
    async with nodes(4, store=300 * MB) as there:
        yield there
    await check_nothing_left(module_surroundings)


@pytest_asyncio.fixture(loop_scope="module")
async def there(shared_cluster: Nodes) -> AsyncIterator[Nodes]:
    """The same, with nothing in any store after the test."""
    yield shared_cluster
    await shared_cluster.stores.become_empty()


# ---- reading


async def test_a_task_reads_what_another_node_made(there: Nodes) -> None:
    array = there.on(1, numbers).remote(50 * MB)
    assert await there.on(2, total).remote(array) == sum_of(50 * MB)
    assert await there.stores.objects() == [0, 1, 1, 0, 0], "the driver's node has no part in it"
    del array


async def test_the_driver_gets_what_another_node_made(there: Nodes) -> None:
    ref = there.on(1, numbers).remote(50 * MB, 7)
    array = await ref
    assert array.sum() == sum_of(50 * MB, 7)
    assert not array.flags.writeable
    assert (await ref) is not array
    del ref
    assert array.sum() == sum_of(50 * MB, 7), "a view outlives its reference"
    del array


async def test_what_the_driver_put_is_read_elsewhere_as_argument_and_inside_of_values(there: Nodes) -> None:
    ref = await asyncray.put(np.arange(3 * MB))
    assert await there.on(1, total).remote(ref, ref) == 2 * sum_of(24 * MB)
    assert await there.on(2, total_inside).remote({"inner": [ref]}) == sum_of(24 * MB)
    outer = await asyncray.put({"inner": [ref], "large": np.zeros(MB)})
    del ref
    assert await there.on(1, total_inside).remote(outer) == sum_of(24 * MB)
    del outer


async def test_a_value_crosses_three_nodes(there: Nodes) -> None:
    first = there.on(1, numbers).remote(10 * MB)
    second = there.on(2, asyncray.remote(num_cpus=0)(lambda array: array + 1)).remote(first)
    assert await there.on(3, total).remote(second) == sum_of(10 * MB, 1)
    del first, second


async def test_wait_says_when_an_object_is_here_or_anywhere(there: Nodes) -> None:
    ref = there.on(1, numbers).remote(20 * MB)
    assert await asyncray.wait([ref], fetch_local=False) == ([ref], [])
    assert await there.stores.objects() == [0, 1, 0, 0, 0]
    assert await asyncray.wait([ref]) == ([ref], [])
    assert await there.stores.objects() == [1, 1, 0, 0, 0]
    assert (await asyncray.get(ref)).sum() == sum_of(20 * MB)
    del ref


async def test_many_small_stored_objects_cross_at_once(there: Nodes) -> None:
    refs = [there.on(1, numbers).remote(MB // 4, number) for number in range(200)]
    expected = [sum_of(MB // 4, number) for number in range(200)]
    assert [array.sum() for array in await asyncray.get(refs)] == expected
    assert await there.on(2, total).remote(*refs) == sum(expected)
    del refs


# ---- by several


async def test_what_four_read_on_a_node_is_brought_there_once(there: Nodes) -> None:
    ref = there.on(1, numbers).remote(100 * MB)
    readers = [there.on(2, Reader).remote() for _ in range(4)]
    before = await there.stores.status(there.node(2))
    assert await asyncray.get([reader.read.remote([ref]) for reader in readers]) == 4 * [sum_of(100 * MB)]
    after = await there.stores.status(there.node(2))
    assert after.store_objects - before.store_objects == 1
    assert after.store_used - before.store_used < 101 * MB
    assert after.received_objects - before.received_objects == 1
    del ref, readers


async def test_an_object_is_broadcast_to_four_nodes(there: Nodes) -> None:
    ref = await asyncray.put(np.arange(100 * MB // 8))
    readings = [there.on(number, total).remote(ref) for number in (1, 2, 3, 4)]
    assert await asyncray.get(readings) == 4 * [sum_of(100 * MB)]
    assert await there.stores.objects() == [1, 1, 1, 1, 1]
    del ref


# ---- strangers


async def test_a_wrong_token_on_the_bulk_port_is_refused_and_harms_nothing(there: Nodes) -> None:
    ref = there.on(1, numbers).remote(20 * MB)
    await asyncray.wait([ref], fetch_local=False)
    token, request = (there.node(1).directory / "token").read_text(), pack(Request(b"no object", 0))
    (port,) = [port for port in ports(there.node(1)) if await knows_bulk(port, greeting(Token(token)) + request)]
    wrong = greeting(Token("another"))
    for sent in (wrong, wrong + request, wrong[:-1], bytes(1000), os.urandom(100_000), token.encode(), request):
        assert await answer(port, sent) == b""
    assert (await ref).sum() == sum_of(20 * MB)
    del ref


def ports(node: Node) -> list[int]:
    """On which its manager listens."""
    connections = psutil.Process(node.pid).net_connections("tcp")
    return [connection.laddr.port for connection in connections if connection.status == psutil.CONN_LISTEN]


async def knows_bulk(port: int, sent: bytes) -> bool:
    try:
        return unpack_answer(await answer(port, sent)).status == ABSENT
    except ProtocolError:
        return False


async def answer(port: int, sent: bytes) -> bytes:
    """What comes back before the connection ends, or until nothing more is sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(sent)
        writer.write_eof()
        async with asyncio.timeout(PATIENCE):
            return await reader.read(1 << 16)
    except OSError:  # it has been closed already
        return b""
    finally:
        writer.close()


# ---- memory


async def test_what_was_spilled_is_read_by_other_nodes(there: Nodes) -> None:
    refs = [there.on(1, numbers).remote(60 * MB, number) for number in range(12)]
    await asyncray.wait(refs, num_returns=len(refs), fetch_local=False)
    assert there.stores.spilled_bytes() >= 6 * 60 * MB
    for number, ref in enumerate(refs):
        assert await there.on(2, total).remote(ref) == sum_of(60 * MB, number)
    for number, ref in enumerate(refs):
        assert (await ref).sum() == sum_of(60 * MB, number)
    del ref, refs


async def test_copies_are_evicted_where_memory_is_short(there: Nodes) -> None:
    ref = await asyncray.put(np.arange(100 * MB // 8))
    assert await there.on(1, total).remote(ref) == sum_of(100 * MB)
    for _ in range(5):
        other = there.on(1, numbers).remote(150 * MB)
        await asyncray.wait([other], fetch_local=False)
        del other
        assert await there.on(1, total).remote(ref) == sum_of(100 * MB)
    del ref


async def test_free_reaches_all_copies(there: Nodes) -> None:
    ref = there.on(1, numbers).remote(50 * MB)
    assert await asyncray.get([there.on(number, total).remote(ref) for number in (0, 2, 3)]) == 3 * [sum_of(50 * MB)]
    assert await there.stores.objects() == [1, 1, 1, 1, 0]
    await asyncray.util.free([ref])
    await there.stores.become_empty()
    with pytest.raises(ObjectFreedError):
        await ref
    with pytest.raises(ObjectFreedError):
        await there.on(2, total).remote(ref)


async def test_the_last_reference_frees_all_copies(there: Nodes) -> None:
    ref = await asyncray.put(np.arange(50 * MB // 8))
    readers = [there.on(number, Reader).remote() for number in (1, 2, 3)]
    assert await asyncray.get([reader.read.remote([ref]) for reader in readers]) == 3 * [sum_of(50 * MB)]
    del ref
    assert await asyncray.get([reader.total.remote() for reader in readers]) == 3 * [sum_of(50 * MB)], "views stay"
    await asyncray.get([reader.forget.remote() for reader in readers])
    await there.stores.become_empty()
    del readers
