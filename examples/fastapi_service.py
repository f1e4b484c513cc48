"""A map server for the Mandelbrot set: FastAPI answers, asyncray's workers draw.

    python examples/fastapi_service.py --port 8000
    curl --output tile.png http://127.0.0.1:8000/tiles/2/1/1.png

Tiles are numbered as those of street maps: at zoom level z there are 2^z by 2^z of them. asyncray lives on the
service's own event loop: a handler awaits remote work as it awaits anything else. Who moves the map on closes the
connection, which cancels the work not yet begun; so does the time limit.
"""

from __future__ import annotations

import argparse
import asyncio
import struct
import zlib
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypeVar

import uvicorn
from fastapi import FastAPI, HTTPException, Path, Request, Response

import asyncray
from asyncray.errors import AsyncrayError

SIZE = 128
"""Width and height of a tile in pixels."""
STRIPS = 4
"""Each tile is drawn by this many tasks."""
ITERATIONS = 100

Tile = tuple[int, int, int]
"""Zoom level, column, row."""
T = TypeVar("T")


@asyncray.remote
def draw(tile: Tile, first: int, last: int) -> bytes:
    """The rows from `first` to `last` (exclusive) of a tile, a byte per pixel."""
    zoom, column, row = tile
    step = 4.0 / 2**zoom / SIZE
    left, top = -2.0 + column * SIZE * step, -2.0 + row * SIZE * step
    return bytes(shade(complex(left + x * step, top + y * step)) for y in range(first, last) for x in range(SIZE))


def shade(point: complex) -> int:
    """How fast the point escapes, 0 for those that never do."""
    z = 0j
    for iteration in range(ITERATIONS):
        if abs(z) > 2.0:
            return 255 - iteration * 2
        z = z * z + point
    return 0


def png(pixels: bytes) -> bytes:
    """A greyscale tile as a file (PNG specification, section 11.2)."""
    lines = b"".join(b"\0" + pixels[start : start + SIZE] for start in range(0, len(pixels), SIZE))
    chunks = {b"IHDR": struct.pack(">IIBBBBB", SIZE, SIZE, 8, 0, 0, 0, 0), b"IDAT": zlib.compress(lines), b"IEND": b""}
    packed = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks.items()
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


@asyncray.remote
class TileCache:
    """The tiles asked for last. An actor: any number of services could share it."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._images: OrderedDict[Tile, bytes] = OrderedDict()
        self._statistics = Counter(hits=0, misses=0)

    def get(self, tile: Tile) -> bytes | None:
        image = self._images.get(tile)
        self._statistics["misses" if image is None else "hits"] += 1
        if image is not None:
            self._images.move_to_end(tile)
        return image

    def put(self, tile: Tile, image: bytes) -> None:
        self._images[tile] = image
        if len(self._images) > self._capacity:
            self._images.popitem(last=False)

    def statistics(self) -> dict[str, int]:
        return {**self._statistics, "tiles": len(self._images)}


async def tile_image(tile: Tile, cache: asyncray.ActorHandle) -> bytes:
    image: bytes | None = await cache.get.remote(tile)
    if image is None:
        height = SIZE // STRIPS
        image = png(b"".join(await asyncio.gather(*(draw.remote(tile, y, y + height) for y in range(0, SIZE, height)))))
        await cache.put.remote(tile, image)
    return image


async def while_connected(request: Request, work: Awaitable[T]) -> T:
    """The result of the work. Cancels it when the client goes away, which FastAPI leaves to the application."""

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        task.cancel()

    task = asyncio.ensure_future(work)
    watcher = asyncio.ensure_future(watch())
    try:
        return await task
    except asyncio.CancelledError:
        if watcher.done():
            raise HTTPException(499, "the client went away") from None
        raise
    finally:
        watcher.cancel()


@asynccontextmanager
async def cluster(app: FastAPI) -> AsyncIterator[None]:
    """There is a cluster from the start of the service to its end."""
    async with asyncray.init():
        app.state.cache = TileCache.remote(capacity=1000)
        yield


app = FastAPI(title="Mandelbrot tiles", lifespan=cluster)
app.state.timeout = 30.0

Level = Annotated[int, Path(ge=0, le=40)]
Position = Annotated[int, Path(ge=0)]


@app.get("/tiles/{zoom}/{column}/{row}.png")
async def tile(request: Request, zoom: Level, column: Position, row: Position) -> Response:
    if max(column, row) >= 2**zoom:
        raise HTTPException(404, f"at zoom level {zoom}, columns and rows end at {2**zoom - 1}")
    try:
        async with asyncio.timeout(app.state.timeout):
            image = await while_connected(request, tile_image((zoom, column, row), app.state.cache))
    except TimeoutError:
        raise HTTPException(504, "drawing the tile took too long") from None
    except AsyncrayError as error:
        raise HTTPException(503, str(error)) from None
    return Response(image, media_type="image/png")


@app.get("/statistics")
async def statistics() -> dict[str, int]:
    return await app.state.cache.statistics.remote()  # type: ignore[no-any-return]


@app.get("/health")
async def health(response: Response) -> dict[str, Any]:
    """200 while there are nodes to work on."""
    alive = sum(node["Alive"] for node in await asyncray.nodes())
    response.status_code = 200 if alive else 503
    return {"nodes": alive, "free_cpus": (await asyncray.available_resources()).get("CPU", 0)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Serves tiles of the Mandelbrot set.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="0 for any that is free")
    parser.add_argument("--timeout", type=float, default=30, help="seconds a tile may take")
    arguments = parser.parse_args()
    app.state.timeout = arguments.timeout
    uvicorn.run(app, host=arguments.host, port=arguments.port)
