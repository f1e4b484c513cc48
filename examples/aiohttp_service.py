"""A web service that counts words: aiohttp answers, asyncray's workers do the counting.

    python examples/aiohttp_service.py --port 8080
    curl --data-binary @README.md 'http://127.0.0.1:8080/wordcount?top=5'

asyncray lives on the service's own event loop: a handler awaits remote work as it awaits anything else. When a client
goes away, or the time is over, aiohttp or `asyncio.timeout` cancels the handler, and with it the work not yet begun.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import re
import signal
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

from aiohttp import web

import asyncray
from asyncray.errors import AsyncrayError

PART_SIZE = 1 << 18
"""Characters that make a task of their own."""
LARGEST_TEXT = 64 << 20
"""Bytes."""
TIMEOUT = web.AppKey("TIMEOUT", float)
CACHE = web.AppKey("CACHE", asyncray.ActorHandle)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asyncray.remote
def count_words(text: str) -> Counter[str]:
    return Counter(re.findall(r"\w+", text.lower()))


@asyncray.remote
class Cache:
    """Counts of the texts seen last, by digest. An actor: any number of services could share it."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._counts: OrderedDict[str, Counter[str]] = OrderedDict()
        self._statistics = Counter(hits=0, misses=0)

    def get(self, digest: str) -> Counter[str] | None:
        counts = self._counts.get(digest)
        self._statistics["misses" if counts is None else "hits"] += 1
        if counts is not None:
            self._counts.move_to_end(digest)
        return counts

    def put(self, digest: str, counts: Counter[str]) -> None:
        self._counts[digest] = counts
        if len(self._counts) > self._capacity:
            self._counts.popitem(last=False)

    def statistics(self) -> dict[str, int]:
        return {**self._statistics, "texts": len(self._counts)}


def parts(text: str) -> Iterator[str]:
    """Cuts a text where no word is: each part but the last is a little longer than `PART_SIZE`."""
    start = 0
    while start < len(text):
        gap = re.compile(r"\W").search(text, start + PART_SIZE)
        end = gap.start() if gap else len(text)
        yield text[start:end]
        start = end


async def word_counts(text: str) -> Counter[str]:
    """Counts on as many CPUs as the cluster has free."""
    total: Counter[str] = Counter()
    for counts in await asyncio.gather(*(count_words.remote(part) for part in parts(text))):
        total.update(counts)
    return total


async def wordcount(request: web.Request) -> web.Response:
    """POST: the body's words and how often each is there, the `top` most frequent only if that is given."""
    top = request.query.get("top", "")
    if top and not top.isdecimal():
        raise web.HTTPBadRequest(text="top must be a number")
    text = await request.text()
    digest = hashlib.sha256(text.encode()).hexdigest()
    cache = request.app[CACHE]
    counts = await cache.get.remote(digest)
    cached = counts is not None
    if not cached:
        counts = await word_counts(text)
        await cache.put.remote(digest, counts)
    return web.json_response({"cached": cached, "words": dict(counts.most_common(int(top) if top else None))})


async def statistics(request: web.Request) -> web.Response:
    return web.json_response(await request.app[CACHE].statistics.remote())


async def health(request: web.Request) -> web.Response:
    """200 while there are nodes to work on."""
    alive = sum(node["Alive"] for node in await asyncray.nodes())
    resources = await asyncray.available_resources()
    return web.json_response({"nodes": alive, "free_cpus": resources.get("CPU", 0)}, status=200 if alive else 503)


@web.middleware
async def bounded(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every request has an answer in time, and failures of the cluster are not the client's fault."""
    try:
        async with asyncio.timeout(request.app[TIMEOUT]):
            return await handler(request)
    except TimeoutError:
        return web.json_response({"error": "the work took too long"}, status=504)
    except AsyncrayError as error:
        return web.json_response({"error": str(error)}, status=503)


async def cluster(app: web.Application) -> AsyncIterator[None]:
    """There is a cluster from the start of the service to its end."""
    async with asyncray.init():
        app[CACHE] = Cache.remote(capacity=1000)
        yield


def application(timeout: float) -> web.Application:
    app = web.Application(middlewares=[bounded], client_max_size=LARGEST_TEXT)
    app[TIMEOUT] = timeout
    app.cleanup_ctx.append(cluster)
    app.add_routes([web.post("/wordcount", wordcount), web.get("/statistics", statistics), web.get("/health", health)])
    return app


async def serve(host: str, port: int, timeout: float) -> None:
    """Until SIGTERM or Ctrl-C."""
    stop = asyncio.Event()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signal_number, stop.set)
    # aiohttp cancels the handlers of clients that are gone only when asked to.
    runner = web.AppRunner(application(timeout), handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        print(f"Serving on http://{host}:{runner.addresses[0][1]}", flush=True)
        await stop.wait()
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Counts words.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080, help="0 for any that is free")
    parser.add_argument("--timeout", type=float, default=30, help="seconds a request may take")
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.host, arguments.port, arguments.timeout))
