"""Rows: calls of actors, and their creation."""

from __future__ import annotations

import asyncio
import os
from typing import Any, ClassVar

import asyncray
from asyncray.benchmark.row import Calls
from asyncray.benchmark.workloads import (
    AsyncServer,
    Server,
    call_servers,
    call_servers_blocking,
    client_class,
)

BATCH = 1000
SERVERS = max(1, (os.cpu_count() or 1) // 2)
CALLERS = 4
CALLS_OF_CLIENT = 5000
CALLS_WITH_ARGUMENT = 1000
CREATED = 20


class ActorCallsSync(Calls):
    name = "1:1 actor calls sync"
    goal = 3_500

    async def prepare(self, blocking: bool) -> None:
        self._server = Server.remote()

    def submit(self) -> Any:
        return self._server.small_value.remote()


class ActorCallsAsync(Calls):
    name = "1:1 actor calls async"
    goal: ClassVar[float | None] = 40_000
    amount = BATCH

    async def prepare(self, blocking: bool) -> None:
        self._server = Server.remote()

    def submit(self) -> Any:
        return [self._server.small_value.remote() for _ in range(BATCH)]


class ActorCallsConcurrent(ActorCallsAsync):
    name = "1:1 actor calls concurrent"
    goal = 30_000

    async def prepare(self, blocking: bool) -> None:
        self._server = Server.options(max_concurrency=16).remote()


class OneToManyActorCalls(Calls):
    name = "1:n actor calls async"
    goal = 30_000
    amount = CALLS_OF_CLIENT * SERVERS
    servers: ClassVar[Any] = Server

    async def prepare(self, blocking: bool) -> None:
        servers = [self.servers.remote() for _ in range(SERVERS)]
        self._client = client_class(blocking).remote(*servers)

    def submit(self) -> Any:
        return self._client.calls.remote(CALLS_OF_CLIENT)


class ManyToManyActorCalls(Calls):
    name = "n:n actor calls async"
    goal = 30_000
    amount = CALLERS * CALLS_OF_CLIENT
    servers: ClassVar[Any] = Server

    async def prepare(self, blocking: bool) -> None:
        self._servers = [self.servers.remote() for _ in range(SERVERS)]
        self._caller = call_servers_blocking if blocking else call_servers

    def submit(self) -> Any:
        return [self._caller.remote(self._servers, CALLS_OF_CLIENT) for _ in range(CALLERS)]


class ManyToManyActorCallsWithArgument(Calls):
    name = "n:n actor calls with arg async"
    goal = 10_000
    amount = CALLS_WITH_ARGUMENT * SERVERS

    async def prepare(self, blocking: bool) -> None:
        self._clients = [client_class(blocking).remote(Server.remote()) for _ in range(SERVERS)]

    def submit(self) -> Any:
        return [client.calls_with_argument.remote(CALLS_WITH_ARGUMENT) for client in self._clients]


class AsyncActorCallsSync(ActorCallsSync):
    name = "1:1 async-actor calls sync"
    goal = 3_800

    async def prepare(self, blocking: bool) -> None:
        self._server = AsyncServer.remote()


class AsyncActorCallsAsync(ActorCallsAsync):
    name = "1:1 async-actor calls async"
    goal: ClassVar[float | None] = 40_000

    async def prepare(self, blocking: bool) -> None:
        self._server = AsyncServer.remote()


class AsyncActorCallsWithArguments(AsyncActorCallsAsync):
    name = "1:1 async-actor calls with args async"
    goal = None

    def submit(self) -> Any:
        return [self._server.small_value_arg.remote(number) for number in range(BATCH)]


class OneToManyAsyncActorCalls(OneToManyActorCalls):
    name = "1:n async-actor calls async"
    servers = AsyncServer


class ManyToManyAsyncActorCalls(ManyToManyActorCalls):
    name = "n:n async-actor calls async"
    servers = AsyncServer


class ActorsCreated(Calls):
    """Until all of them have answered; then they are ended, which is not counted."""

    name = "actors created and answering (20 at once)"
    goal = 60
    amount = CREATED
    tidies = True

    async def prepare(self, blocking: bool) -> None:
        class Answering:  # pickled whole, as those of a program are: no module has to be imported in the workers
            def small_value(self) -> bytes:
                return b"ok"

        self._class: Any = asyncray.remote(num_cpus=0)(Answering)

    def submit(self) -> Any:
        self._actors = [self._class.remote() for _ in range(CREATED)]
        return [actor.small_value.remote() for actor in self._actors]

    async def tidy(self) -> None:
        await asyncio.gather(*(asyncray.kill(actor) for actor in self._actors))


ROWS = (
    ActorCallsSync,
    ActorCallsAsync,
    ActorCallsConcurrent,
    OneToManyActorCalls,
    ManyToManyActorCalls,
    ManyToManyActorCallsWithArgument,
    AsyncActorCallsSync,
    AsyncActorCallsAsync,
    AsyncActorCallsWithArguments,
    OneToManyAsyncActorCalls,
    ManyToManyAsyncActorCalls,
    ActorsCreated,
)
