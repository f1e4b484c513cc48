"""The FastAPI example under uvicorn: a real server, and a real client."""

from __future__ import annotations

import asyncio
import signal
import struct
import zlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx

SCRIPT = "fastapi_service.py"
SIZE = 128
UVICORN_TERMINATED = -signal.SIGTERM
"""When all is shut down, uvicorn ends by the signal that it was sent."""
StartService = Callable[..., AbstractAsyncContextManager[Any]]


def pixels(image: bytes) -> list[bytes]:
    """The rows of a PNG file that the service has written."""
    assert image.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", image[16:24]) == (SIZE, SIZE)
    length = struct.unpack(">I", image[33:37])[0]
    lines = zlib.decompress(image[41 : 41 + length])
    return [lines[start + 1 : start + SIZE + 1] for start in range(0, len(lines), SIZE + 1)]


async def test_many_tiles_at_once_are_drawn_right(start_service: StartService) -> None:
    async with (
        start_service(SCRIPT) as service,
        httpx.AsyncClient(base_url=service.url, timeout=60) as client,
    ):
        paths = [f"/tiles/2/{column}/{row}.png" for column in range(4) for row in range(4)]
        first = await asyncio.gather(*map(client.get, paths))
        assert {answer.status_code for answer in first} == {200}
        assert {answer.headers["content-type"] for answer in first} == {"image/png"}
        drawn = {path: pixels(answer.content) for path, answer in zip(paths, first, strict=True)}

        # The set is symmetric about the real axis: the lowest row of one tile mirrors the one below the uppermost.
        assert drawn["/tiles/2/1/1.png"][1:] == drawn["/tiles/2/1/2.png"][:0:-1]
        assert drawn["/tiles/2/1/2.png"][0][-1] == 0, "-1 and what is near 0 never escape"
        assert drawn["/tiles/2/0/0.png"][0][0] > 0, "-2-2i escapes at once"

        again = await asyncio.gather(*map(client.get, paths))
        assert [answer.content for answer in again] == [answer.content for answer in first]
        assert (await client.get("/statistics")).json() == {"hits": 16, "misses": 16, "tiles": 16}

        health = await client.get("/health")
        assert (health.status_code, health.json()["nodes"]) == (200, 1)
        assert await service.terminate() == UVICORN_TERMINATED


async def test_a_client_that_goes_away_harms_nobody(start_service: StartService) -> None:
    async with start_service(SCRIPT) as service:
        async with httpx.AsyncClient(base_url=service.url) as hasty:
            waiting = [asyncio.create_task(hasty.get(f"/tiles/3/{column}/3.png")) for column in range(8)]
            await asyncio.wait(waiting, timeout=0.1)
            for request in waiting:
                request.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
            assert (await client.get("/tiles/0/0/0.png")).status_code == 200
        assert await service.terminate() == UVICORN_TERMINATED


async def test_tiles_that_are_not_there_or_take_too_long_have_an_error_status(start_service: StartService) -> None:
    async with (
        start_service(SCRIPT, "--timeout", "0.01") as service,
        httpx.AsyncClient(base_url=service.url, timeout=30) as client,
    ):
        assert (await client.get("/tiles/1/2/0.png")).status_code == 404
        assert (await client.get("/tiles/1/-1/0.png")).status_code == 422
        assert (await client.get("/tiles/3/3/3.png")).status_code == 504
        assert (await client.get("/health")).status_code == 200
        assert await service.terminate() == UVICORN_TERMINATED
