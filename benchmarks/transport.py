"""The speed of the streams between two processes on one machine: round trip, batches, large messages.

    python benchmarks/transport.py [--seconds 1] [--rounds 3] [--asyncio]

Three ways are compared in one run: bare asyncio sockets (the floor: four bytes of length, msgpack), our streams, and
our messages over grpclib's own streams with betterproto's `Frame` (what the streams replace).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import struct
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgpack

from asyncray import messages
from asyncray.rpc.network import GrpcNetwork
from asyncray.rpc.stream import FrameStream

TOKEN = "benchmark"
ROUTE = "/asyncray.Peer/Session"
TASK = (messages.TASK, bytes(16), 7, bytes(40), None)
RESULT = [messages.RESULT, bytes(16), 0, [[1, bytes(20), None]], 12]
LAST = b"\xff" * 16
BATCH = 100
LARGE = 1_000_000

# The server answers small tasks of a "call", and the task with the last id; the rest it only counts as read.
ANSWERED = b"call"


def is_answered(message: list[Any]) -> bool:
    return message[0] == messages.TASK and bool(message[3][:4] == ANSWERED or message[1] == LAST)


class Echo:
    """The server's side of a stream of ours."""

    def on_message(self, stream: FrameStream, message: list[Any]) -> None:
        if is_answered(message):
            stream.send(RESULT)

    def on_close(self, stream: FrameStream, error: Exception | None) -> None:
        pass


class Client:
    """The client's side of any way: `send` messages, `answer` is the future of the next reply."""

    def __init__(self, send: Callable[[Any], None], drained: Callable[[], Awaitable[None]]) -> None:
        self.send = send
        self.drained = drained
        self.answer: asyncio.Future[None] | None = None

    def answered(self) -> None:
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(None)

    async def call(self, message: Any) -> None:
        self.answer = asyncio.get_running_loop().create_future()
        self.send(message)
        await self.answer


class Replies:
    """The client's receiver."""

    client: Client

    def on_message(self, stream: FrameStream, message: list[Any]) -> None:
        self.client.answered()

    def on_close(self, stream: FrameStream, error: Exception | None) -> None:
        pass


class BareSocket(asyncio.Protocol):
    """The floor: length, msgpack array of messages; what is sent in one turn goes out as one piece."""

    def __init__(self, on_message: Callable[[BareSocket, list[Any]], None]) -> None:
        self.on_message = on_message
        self.queue: list[Any] = []
        self.buffer = bytearray()
        self.packer = msgpack.Packer()
        self.writable = asyncio.Event()
        self.writable.set()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def send(self, message: Any) -> None:
        if not self.queue:
            asyncio.get_running_loop().call_soon(self.flush)
        self.queue.append(message)

    def flush(self) -> None:
        if self.queue:
            body = self.packer.pack(self.queue)
            self.queue = []
            self.transport.write(struct.pack("<I", len(body)) + body)

    async def drained(self) -> None:
        self.flush()
        await self.writable.wait()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while len(self.buffer) >= 4:
            (length,) = struct.unpack_from("<I", self.buffer)
            if len(self.buffer) < 4 + length:
                return
            received = msgpack.unpackb(self.buffer[4 : 4 + length])
            del self.buffer[: 4 + length]
            for message in received:
                self.on_message(self, message)


# ---- each way: a server, and a client for it


@contextlib.asynccontextmanager
async def serve_bare(path: str) -> AsyncIterator[None]:
    def on_message(protocol: BareSocket, message: list[Any]) -> None:
        if is_answered(message):
            protocol.send(RESULT)

    server = await asyncio.get_running_loop().create_unix_server(lambda: BareSocket(on_message), path)
    yield
    server.close()


@contextlib.asynccontextmanager
async def dial_bare(path: str) -> AsyncIterator[Client]:
    protocol: BareSocket
    loop = asyncio.get_running_loop()
    _, protocol = await loop.create_unix_connection(lambda: BareSocket(lambda _, __: client.answered()), path)
    client = Client(protocol.send, protocol.drained)
    yield client
    protocol.transport.close()


@contextlib.asynccontextmanager
async def serve_streams(path: str) -> AsyncIterator[None]:
    listener = await GrpcNetwork(TOKEN).listen(streams={ROUTE: lambda _: Echo()}, unix_path=path)
    yield
    await listener.close()


@contextlib.asynccontextmanager
async def dial_streams(path: str) -> AsyncIterator[Client]:
    channel = await GrpcNetwork(TOKEN).connect(f"unix:{path}")
    replies = Replies()
    stream = await channel.open(ROUTE, replies)
    replies.client = client = Client(stream.send, stream.drained)
    yield client
    channel.close()


def grpclib_configuration() -> Any:
    from grpclib.config import Configuration

    return Configuration(http2_connection_window_size=64 << 20, http2_stream_window_size=64 << 20)


@contextlib.asynccontextmanager
async def serve_grpclib(path: str) -> AsyncIterator[None]:
    from grpclib.const import Cardinality, Handler
    from grpclib.server import Server

    from asyncray.proto import Frame

    async def session(stream: Any) -> None:
        async for frame in stream:
            replies = [RESULT for message in msgpack.unpackb(frame.body) if is_answered(message)]
            if replies:
                await stream.send_message(Frame(body=msgpack.packb(replies)))

    class Peer:
        def __mapping__(self) -> dict[str, Handler]:
            return {ROUTE: Handler(session, Cardinality.STREAM_STREAM, Frame, Frame)}

    server = Server([Peer()], config=grpclib_configuration())
    await server.start(path=path)
    yield
    server.close()
    await server.wait_closed()


@contextlib.asynccontextmanager
async def dial_grpclib(path: str) -> AsyncIterator[Client]:
    from grpclib.client import Channel
    from grpclib.const import Cardinality

    from asyncray.proto import Frame

    channel = Channel(path=path, config=grpclib_configuration())
    queue: list[Any] = []
    wake = asyncio.Event()

    def send(message: Any) -> None:
        queue.append(message)
        wake.set()

    taken = asyncio.Event()

    async def drained() -> None:
        taken.clear()
        await taken.wait()

    client = Client(send, drained)
    async with channel.request(ROUTE, Cardinality.STREAM_STREAM, Frame, Frame) as stream:

        async def write() -> None:
            while True:
                await wake.wait()
                wake.clear()
                batch, queue[:] = list(queue), []
                await stream.send_message(Frame(body=msgpack.packb(batch)))
                taken.set()

        async def read() -> None:
            async for frame in stream:
                for _ in msgpack.unpackb(frame.body):
                    client.answered()

        await stream.send_request()
        tasks = [asyncio.create_task(write()), asyncio.create_task(read())]
        yield client
        for task in tasks:
            task.cancel()
        await stream.cancel()
    channel.close()


WAYS = {
    "bare sockets": (serve_bare, dial_bare),
    "asyncray streams": (serve_streams, dial_streams),
    "grpclib + betterproto": (serve_grpclib, dial_grpclib),
}

# ---- the measurements


async def round_trip(client: Client, seconds: float) -> float:
    """Microseconds from one call to its reply."""
    call = (messages.TASK, bytes(16), 7, ANSWERED + bytes(36), None)
    count, end = 0, time.perf_counter() + seconds
    start = time.perf_counter()
    while time.perf_counter() < end:
        await client.call(call)
        count += 1
    return (time.perf_counter() - start) / count * 1e6


async def pipelined(client: Client, seconds: float, message: Any, batch: int) -> float:
    """Messages per second, one way, `batch` of them in a turn."""
    last = (*message[:1], LAST, *message[2:])
    sent = 0
    start = time.perf_counter()
    while time.perf_counter() - start < seconds:
        for _ in range(10):
            for _ in range(batch):
                client.send(message)
            await client.drained()
            await asyncio.sleep(0)
        sent += 10 * batch
    await client.call(last)
    return sent / (time.perf_counter() - start)


async def measure(way: str, path: str, seconds: float) -> dict[str, float]:
    async with WAYS[way][1](path) as client:
        await round_trip(client, 0.2)
        gc.collect()
        gc.freeze()
        return {
            "round trip, us": await round_trip(client, seconds),
            "batched, messages/s": await pipelined(client, seconds, TASK, BATCH),
            "1 MB, MB/s": await pipelined(client, seconds, (*TASK[:3], bytes(LARGE), None), 1) * LARGE / 1e6,
        }


async def serve(way: str, path: str) -> None:
    async with WAYS[way][0](path):
        print("ready", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def compare(seconds: float, rounds: int, only: str, plain: bool) -> dict[str, dict[str, float]]:
    """The best of some rounds, in which the ways take turns: other work on the machine only makes figures worse."""
    results: dict[str, dict[str, float]] = {}
    for way in [way for way in WAYS if only in way] * rounds:
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "socket")
            arguments = ["--serve", way, path, *(["--asyncio"] if plain else [])]
            server = await asyncio.create_subprocess_exec(
                sys.executable, __file__, *arguments, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
            )
            assert server.stdin is not None and server.stdout is not None
            try:
                await server.stdout.readline()
                figures = await measure(way, path, seconds)
            finally:
                server.stdin.close()
                await server.wait()
        best = results.setdefault(way, figures)
        for name, figure in figures.items():
            best[name] = (min if name.endswith("us") else max)(best[name], figure)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1.0, help="for each figure of a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="the ways whose names contain this")
    parser.add_argument("--asyncio", action="store_true", help="asyncio's own loop instead of uvloop")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", nargs=2, metavar=("WAY", "PATH"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.asyncio:
        run = asyncio.run
    else:
        import uvloop

        run = uvloop.run
    if arguments.serve:
        run(serve(*arguments.serve))
        return
    results = run(compare(arguments.seconds, arguments.rounds, arguments.only, arguments.asyncio))
    if arguments.json:
        print(json.dumps(results, indent=2))
        return
    columns = list(next(iter(results.values())))
    print(f"{'':24}" + "".join(f"{column:>22}" for column in columns))
    for way, figures in results.items():
        print(f"{way:24}" + "".join(f"{figures[column]:>22,.0f}" for column in columns))


if __name__ == "__main__":
    main()
