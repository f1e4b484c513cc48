"""A mixed workload while worker processes are killed at random: `make chaos`, not part of `make test`.

`CHAOS_SECONDS` (30) and `CHAOS_SEED` (random, printed) set how long and which programs.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import psutil
import pytest

import asyncray
from asyncray.errors import AsyncrayError
from asyncray.proto import Empty, NodeStatus, NodeStub
from asyncray.worker import current

pytestmark = pytest.mark.usefixtures("leaves_nothing_behind")

SECONDS = float(os.environ.get("CHAOS_SECONDS", "30"))
SEED = int(os.environ.get("CHAOS_SEED", random.randrange(1 << 32)))
CLIENTS = 4
KILL_EVERY = 0.2


@asyncray.remote(max_retries=-1)
def square(x: int) -> int:
    return x * x


@asyncray.remote(max_retries=-1)
def leaves(depth: int) -> int:
    if depth == 0:
        return 1
    return sum(asyncray.sync.get([leaves.remote(depth - 1) for _ in range(2)]))


@asyncray.remote(max_retries=-1)
def sevens(length: int) -> Any:
    return np.full(length, 7.0)


@asyncray.remote(max_retries=-1)
def total(*arrays: Any) -> float:
    return float(sum(array.sum() for array in arrays))


@asyncray.remote(max_retries=-1)
def put_many(count: int) -> list[asyncray.ObjectRef]:
    return [asyncray.sync.put(number) for number in range(count)]


@asyncray.remote
class Account:
    def __init__(self) -> None:
        self.balance = 0

    def add(self, amount: int) -> int:
        self.balance += amount
        return self.balance


async def batch(_: random.Random) -> None:
    assert await asyncio.gather(*(square.remote(number) for number in range(200))) == [n * n for n in range(200)]


async def tree(_: random.Random) -> None:
    assert await leaves.remote(3) == 8


async def large_values(choose: random.Random) -> None:
    length = choose.randint(1, 200_000)
    assert await total.remote(sevens.remote(length), sevens.remote(50_000)) == 7.0 * (length + 50_000)


async def references_in_results(_: random.Random) -> None:
    assert await asyncray.get(await put_many.remote(10)) == list(range(10))


async def actor(_: random.Random) -> None:
    account = Account.remote()
    assert await asyncray.get([account.add.remote(1) for _ in range(20)]) == list(range(1, 21))


async def chain(_: random.Random) -> None:
    value = square.remote(1)
    for _step in range(20):
        value = square.remote(value)
    assert await value == 1


PROGRAMS: list[Callable[[random.Random], Awaitable[None]]] = [
    batch,
    tree,
    large_values,
    references_in_results,
    actor,
    chain,
]


async def status() -> NodeStatus:
    runtime = current.get_runtime()
    assert runtime is not None and runtime.nodes.own is not None and runtime.nodes.own.channel is not None
    return await runtime.nodes.own.channel.stub(NodeStub).status(Empty())


def workers() -> list[psutil.Process]:
    """Grandchildren of the daemon: below the zygote."""
    (daemon,) = psutil.Process().children()
    return [worker for zygote in daemon.children() for worker in zygote.children()]


@pytest.mark.timeout(SECONDS + 120)
async def test_whatever_dies_results_are_right_and_nothing_leaks() -> None:
    print(f"CHAOS_SEED={SEED}")
    loop = asyncio.get_running_loop()
    outcomes: Counter[str] = Counter()
    end = loop.time() + SECONDS

    async def client(seed: int) -> None:
        choose = random.Random(seed)
        while loop.time() < end:
            program = choose.choice(PROGRAMS)
            try:
                async with asyncio.timeout(60):
                    await program(choose)
            except AsyncrayError as error:  # what cannot be repeated: an actor, or what a dead process owned
                outcomes[f"{program.__name__}: {type(error).__name__}"] += 1
            else:
                outcomes[program.__name__] += 1

    async def killer() -> None:
        choose = random.Random(SEED)
        while loop.time() < end:
            await asyncio.sleep(KILL_EVERY)
            alive = workers()
            if alive:
                choose.choice(alive).kill()
                outcomes["kills"] += 1

    async with asyncray.init(num_cpus=2):
        await asyncio.gather(killer(), *(client(SEED + number) for number in range(CLIENTS)))
        print(dict(outcomes))
        gc.collect()
        async with asyncio.timeout(10):
            while (left := await status()).leases or left.store_objects or left.pins or left.queued_leases:
                await asyncio.sleep(0.05)
        assert left.node.available["CPU"] == 2
    for program in PROGRAMS:
        assert outcomes[program.__name__], f"{program.__name__} never succeeded: {dict(outcomes)}"
