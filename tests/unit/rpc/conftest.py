"""Real listeners and channels, on either event loop and over either kind of socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import uvloop

from asyncray.rpc.network import GrpcNetwork

from ...conftest import Surroundings
from .endpoints import ROUTE, TOKEN, Server


@pytest.fixture(params=["uvloop", "asyncio"])
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    return uvloop.EventLoopPolicy() if request.param == "uvloop" else asyncio.DefaultEventLoopPolicy()


@pytest.fixture
def socket_path(surroundings: Surroundings) -> str:
    return str(surroundings.temporary / "socket")


@pytest.fixture
async def server(socket_path: str) -> AsyncIterator[Server]:
    """Listens on a Unix socket and on TCP, and takes streams on `ROUTE`."""
    server = Server()
    server.listener = await GrpcNetwork(TOKEN).listen(
        streams={ROUTE: server.accept}, unix_path=socket_path, host="127.0.0.1"
    )
    yield server
    await server.listener.close()


@pytest.fixture(params=["unix", "tcp"])
def target(request: pytest.FixtureRequest, server: Server) -> str:
    return server.unix if request.param == "unix" else server.tcp
