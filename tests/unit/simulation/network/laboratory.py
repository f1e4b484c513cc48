"""A simulated network with a few processes, as the tests hold them."""

from __future__ import annotations

import functools
import inspect
import random
from collections.abc import Callable, Coroutine, Sequence
from math import inf
from typing import Any, TypeVar

from asyncray.config import DEFAULT, Config
from asyncray.rpc.network import Channel, Network
from asyncray.rpc.stream import FrameStream
from asyncray.simulation.loop import VirtualLoop
from asyncray.simulation.network import Conditions, Latency, SimulatedNetwork
from asyncray.simulation.process import Process

from ...rpc.endpoints import ROUTE, TOKEN, Recorder, Server

T = TypeVar("T")

LOCAL = 0.001
REMOTE = 0.01
EXACT = Conditions(local=Latency(LOCAL), remote=Latency(REMOTE), bandwidth=inf)
"""Nothing is left to chance."""


class Laboratory:
    """A server and a client on machines of their own, and whatever else a test wants."""

    def __init__(self, conditions: Conditions = EXACT, config: Config = DEFAULT, seed: int = 0) -> None:
        self.loop = VirtualLoop(horizon=100_000)
        self.network = SimulatedNetwork(random.Random(seed), conditions, config)
        self.config = config
        self.processes: list[Process] = []
        self.endpoints: dict[Process, Network] = {}
        self.server = self.process("node 1", "10.0.0.1")
        self.client = self.process("driver 1", "10.0.0.2")

    def process(self, name: str, host: str, token: str = TOKEN) -> Process:
        process = Process(name, host, 1000 + len(self.processes))
        self.processes.append(process)
        self.endpoints[process] = self.network.endpoint(process, token)
        return process

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        try:
            return self.loop.run_until_complete(main)
        finally:
            for process in self.processes:
                process.kill("the test has ended")
            for process in self.processes:
                process.bury()
            self.loop.close()

    async def within(self, process: Process, coroutine: Coroutine[Any, Any, T]) -> T:
        """What a coroutine returns as a task of a process."""
        return await process.spawn(coroutine, "a step of the test")

    async def serve(self, process: Process | None = None, *, services: Sequence[Any] = (), **place: Any) -> Server:
        """A server that takes streams on `ROUTE`, at its machine's address by default."""
        process = process or self.server
        server = Server()
        server.listener = await self.within(
            process,
            self.endpoints[process].listen(
                services=services, streams={ROUTE: server.accept}, **(place or {"host": process.host})
            ),
        )
        return server

    async def connect(self, target: str, process: Process | None = None, **options: Any) -> Channel:
        process = process or self.client
        return await self.within(process, self.endpoints[process].connect(target, **options))

    async def open(
        self, channel: Channel, recorder: Recorder, *first: Any, process: Process | None = None
    ) -> FrameStream:
        return await self.within(process or self.client, channel.open(ROUTE, recorder, *first))

    async def stream(self, **options: Any) -> tuple[Server, FrameStream, Recorder]:
        """A stream from the client to the server: the far end, the near end, and what comes to that."""
        server = await self.serve()
        channel = await self.connect(server.tcp, **options)
        recorder = Recorder()
        return server, await self.open(channel, recorder), recorder

    def freeze(self, process: Process) -> None:
        process.freeze()
        self.network.froze(process)

    def thaw(self, process: Process) -> None:
        process.thaw()
        self.network.thawed(process)


def simulated(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Runs a test on the loop of its `lab`."""

    @functools.wraps(test)
    def run(lab: Laboratory, **fixtures: Any) -> None:
        lab.run(test(lab, **fixtures))

    assert next(iter(inspect.signature(test).parameters)) == "lab"
    return run
