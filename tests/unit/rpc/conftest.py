"""Real listeners and channels, on either event loop and over either kind of socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import uvloop

from asyncray.rpc.network import GrpcNetwork

from ...conftest import Surroundings
from .endpoints import ROUTE, TOKEN, Server


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Drivers run on the application's loop, whichever it is."""
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


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
