"""Objects between nodes of real processes while nodes and readers die in the middle."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import numpy as np
import pytest

import asyncray
from asyncray.errors import ObjectLostError

from .certificates import cluster_certificates
from .several_nodes import MB, Reader, nodes, numbers, sum_of, total


@pytest.mark.parametrize(
    ("victim", "size"), [(1, 500 * MB), (2, 200 * MB)], ids=["where it was made", "where it was read first"]
)
async def test_a_transfer_goes_on_from_another_copy_when_its_source_dies(victim: int, size: int) -> None:
    async with nodes(3) as there:
        ref = there.on(1, numbers).remote(size)
        assert await there.on(2, total).remote(ref) == sum_of(size)
        reading = there.on(3, total).remote(ref)
        await there.has_begun_to_receive(3, size)
        os.kill(there.node(victim).pid, signal.SIGSTOP)  # so that what it has not sent by now never comes
        await there.kill(victim)
        assert await reading == sum_of(size)
        survivor = 3 - victim
        assert await there.on(survivor, total).remote(ref) == sum_of(size)
        del ref, reading


async def test_a_lost_object_is_one_clear_message() -> None:
    async with nodes(2) as there:
        ref = there.on(1, numbers, max_retries=0).remote(50 * MB)
        await asyncray.wait([ref], fetch_local=False)
        await there.kill(1)
        with pytest.raises(ObjectLostError) as caught:
            await ref
        assert "\n" not in str(caught.value)
        with pytest.raises(ObjectLostError):
            await there.on(2, total).remote(ref)
        del ref


async def test_an_object_is_lost_when_its_only_holder_dies_in_the_middle() -> None:
    size = 200 * MB
    async with nodes(2) as there:
        ref = there.on(1, numbers, max_retries=0).remote(size)
        await asyncray.wait([ref], fetch_local=False)
        getting = asyncio.ensure_future(asyncray.get(ref))
        await there.has_begun_to_receive(0, size)
        os.kill(there.node(1).pid, signal.SIGSTOP)
        await there.kill(1)
        with pytest.raises(ObjectLostError):
            await getting
        del ref, getting


async def test_a_copy_becomes_the_primary_when_the_node_of_that_dies() -> None:
    async with nodes(3) as there:
        ref = there.on(1, numbers).remote(50 * MB)
        assert await there.on(2, total).remote(ref) == sum_of(50 * MB)
        await there.kill(1)
        assert (await ref).sum() == sum_of(50 * MB)
        assert await there.on(3, total).remote(ref) == sum_of(50 * MB)
        del ref


async def test_a_reader_that_dies_or_gives_up_in_the_middle_leaves_nothing() -> None:
    size = 200 * MB
    async with nodes(1) as there:
        ref = await asyncray.put(np.arange(size // 8))
        reader = there.on(1, Reader).remote()
        reading = reader.read.remote([ref])
        await there.has_begun_to_receive(1, size)
        for worker in there.node(1).workers():
            worker.kill()
        with pytest.raises(asyncray.errors.ActorError):
            await reading
        getting = there.on(1, numbers).remote(size, 1)
        await asyncray.wait([getting], fetch_local=False)
        with pytest.raises(TimeoutError):
            await asyncray.get(getting, timeout=0.05)
        del ref, getting, reader, reading


async def test_transfers_go_by_tls(tmp_path: Path) -> None:
    async with nodes(2, **cluster_certificates(tmp_path)) as there:
        ref = there.on(1, numbers).remote(50 * MB)
        assert await there.on(2, total).remote(ref) == sum_of(50 * MB)
        assert (await ref).sum() == sum_of(50 * MB)
        del ref
