"""The aiohttp example: a real server, and a real client."""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import pytest

SCRIPT = "aiohttp_service.py"
StartService = Callable[..., AbstractAsyncContextManager[Any]]


def a_text(seed: int, words: int) -> str:
    chosen = random.Random(seed).choices(["lease", "bundle", "Owner", "naïve", "x_1", "2", "don't"], k=words)
    return " -\n".join(chosen)


def counted(text: str) -> dict[str, int]:
    return Counter(re.findall(r"\w+", text.lower()))


@pytest.fixture
def many_requests() -> httpx.Limits:
    return httpx.Limits(max_connections=100)


async def test_many_clients_at_once_get_the_counts_of_their_own_texts(
    start_service: StartService, many_requests: httpx.Limits
) -> None:
    texts = [a_text(seed, 2_000) for seed in range(40)]
    texts.append(a_text(99, 200_000))  # of several parts
    async with (
        start_service(SCRIPT) as service,
        httpx.AsyncClient(base_url=service.url, limits=many_requests, timeout=30) as client,
    ):
        first = await asyncio.gather(*(client.post("/wordcount", content=text.encode()) for text in texts))
        assert {answer.status_code for answer in first} == {200}
        assert [answer.json() for answer in first] == [{"cached": False, "words": counted(text)} for text in texts]

        again = await asyncio.gather(*(client.post("/wordcount?top=2", content=text.encode()) for text in texts))
        assert [answer.json()["words"] for answer in again] == [dict(counted(text).most_common(2)) for text in texts]
        assert all(answer.json()["cached"] for answer in again)
        assert (await client.get("/statistics")).json() == {"hits": 41, "misses": 41, "texts": 41}

        health = await client.get("/health")
        assert (health.status_code, health.json()["nodes"]) == (200, 1)
        assert await service.terminate() == 0


async def test_work_that_takes_too_long_is_answered_in_time_and_the_service_goes_on(
    start_service: StartService,
) -> None:
    async with (
        start_service(SCRIPT, "--timeout", "0.5") as service,
        httpx.AsyncClient(base_url=service.url, timeout=30) as client,
    ):
        assert (await client.post("/wordcount", content=b"warm up")).status_code == 200
        late = await client.post("/wordcount", content=a_text(1, 6_000_000).encode())
        assert (late.status_code, late.json()) == (504, {"error": "the work took too long"})
        assert (await client.get("/health")).status_code == 200
        assert await service.terminate() == 0


async def test_bad_requests_are_refused(start_service: StartService) -> None:
    async with start_service(SCRIPT) as service, httpx.AsyncClient(base_url=service.url) as client:
        assert (await client.post("/wordcount?top=many", content=b"a")).status_code == 400
        assert (await client.get("/wordcount")).status_code == 405
        assert await service.terminate() == 0


async def test_it_ends_cleanly_while_clients_wait(start_service: StartService) -> None:
    text = a_text(2, 2_000_000).encode()
    async with start_service(SCRIPT) as service, httpx.AsyncClient(base_url=service.url, timeout=30) as client:
        waiting = [asyncio.create_task(client.post("/wordcount", content=text + bytes([i]))) for i in range(48, 52)]
        await asyncio.wait(waiting, timeout=1, return_when=asyncio.FIRST_COMPLETED)
        assert await service.terminate() == 0
        for outcome in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(outcome, httpx.Response | httpx.TransportError)
