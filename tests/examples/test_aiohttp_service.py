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
        start_service(SCRIPT, "--timeout", "0.2") as service,
        httpx.AsyncClient(base_url=service.url, timeout=30) as client,
    ):
        assert (await client.post("/wordcount", content=b"warm up")).status_code == 200
        late = await client.post("/wordcount", content=a_text(1, 2_000_000).encode())
        assert (late.status_code, late.json()) == (504, {"error": "the work took too long"})
        assert (await client.get("/health")).status_code == 200
        assert await service.terminate() == 0


async def test_bad_requests_are_refused(start_service: StartService) -> None:
    async with start_service(SCRIPT) as service, httpx.AsyncClient(base_url=service.url) as client:
        assert (await client.post("/wordcount?top=many", content=b"a")).status_code == 400
        assert (await client.get("/wordcount")).status_code == 405
        assert await service.terminate() == 0


async def test_a_client_that_goes_away_harms_nobody(start_service: StartService) -> None:
    text = a_text(1, 500_000).encode()
    async with start_service(SCRIPT) as service:
        async with httpx.AsyncClient(base_url=service.url) as hasty:
            waiting = await post_and_leave_waiting(hasty, text)
            for request in waiting:
                request.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
            assert (await client.post("/wordcount", content=b"once more")).status_code == 200
            assert (await client.get("/statistics")).json()["texts"] < 5, "what nobody waits for is not finished"
        assert await service.terminate() == 0


async def test_who_waits_when_it_is_terminated_gets_an_answer_first(start_service: StartService) -> None:
    text = a_text(2, 200_000)
    async with start_service(SCRIPT) as service, httpx.AsyncClient(base_url=service.url, timeout=30) as client:
        waiting = await post_and_leave_waiting(client, text.encode())
        assert await service.terminate() == 0
        answers = await asyncio.gather(*waiting)
        assert [answer.json()["words"] for answer in answers] == [counted(f"{text} {mark}") for mark in range(4)]


async def post_and_leave_waiting(client: httpx.AsyncClient, text: bytes) -> list[asyncio.Task[httpx.Response]]:
    """Returns four requests when the service has begun to work on all of them."""
    requests = [asyncio.create_task(client.post("/wordcount", content=text + b" %d" % mark)) for mark in range(4)]
    async with asyncio.timeout(30):
        while (await client.get("/statistics")).json()["misses"] < 4:
            await asyncio.sleep(0.01)
    return requests
