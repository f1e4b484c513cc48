"""The skeleton of every daemon: a service owns managers, starts them in order, and stops them in reverse."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from asyncray.rpc.network import NO_STREAMS, Listener, Network
from asyncray.rpc.stream import Accept

if TYPE_CHECKING:
    from betterproto.grpc.grpclib_server import ServiceBase

_log = logging.getLogger(__name__)


class Manager(ABC):  # noqa: B024 - every method has a default that does nothing
    """One responsibility of a daemon, one file, one coroutine."""

    services: Sequence[ServiceBase] = ()
    """The unary methods that it serves."""
    streams: Mapping[str, Accept] = NO_STREAMS
    """The streams that it accepts, by route."""

    async def start(self) -> None:
        """Gets ready: what other managers need of this one is usable afterwards."""
        return

    async def run(self) -> None:
        """Does its work until it is cancelled. May return early; what it raises ends the service."""
        return

    async def stop(self) -> None:
        """Cleans up, after `run` has ended. Called in reverse order of `start`, also after a crash."""
        return


class Service:
    """A daemon, or one of several in a process."""

    def __init__(
        self,
        name: str,
        managers: Sequence[Manager],
        network: Network,
        *,
        unix_path: str | None = None,
        host: str | None = None,
        port: int = 0,
    ) -> None:
        self.name = name
        self.managers = list(managers)
        self.listener: Listener | None = None
        """Where it listens: from when all managers have started to when it has stopped."""
        self._network = network
        self._place = (unix_path, host, port)
        self._stop_requested = asyncio.Event()

    async def serve(self, *, on_ready: Callable[[], None] | None = None) -> None:
        """Runs until `request_stop`, until it is cancelled, or until a manager raises: then it raises the same.

        Managers start in order; then it listens, calls `on_ready`, and runs them all. At the end new connections are
        refused first, `run` is cancelled, managers stop in reverse order, and the connections close last.
        """
        started: list[Manager] = []
        try:
            for manager in self.managers:
                started.append(manager)
                await manager.start()
            await self._listen()
            if on_ready is not None:
                on_ready()
            await self._run()
        except Exception as error:
            _log.critical("%s ends: %s: %s", self.name, type(error).__name__, error, exc_info=error)
            raise
        finally:
            await self._stop(started)

    def request_stop(self, reason: str) -> None:
        """Makes `serve` stop and return."""
        if not self._stop_requested.is_set():
            _log.info("%s stops: %s", self.name, reason)
            self._stop_requested.set()

    async def _listen(self) -> None:
        unix_path, host, port = self._place
        if unix_path is None and host is None:
            return
        services = [service for manager in self.managers for service in manager.services]
        streams = {route: accept for manager in self.managers for route, accept in manager.streams.items()}
        self.listener = await self._network.listen(
            services=services, streams=streams, unix_path=unix_path, host=host, port=port
        )

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                runs = [
                    group.create_task(manager.run(), name=f"{self.name}: {type(manager).__name__}")
                    for manager in self.managers
                ]
                await self._stop_requested.wait()
                for run in runs:
                    run.cancel()
        except BaseExceptionGroup as failures:
            if len(failures.exceptions) == 1:
                raise failures.exceptions[0] from None
            raise

    async def _stop(self, started: list[Manager]) -> None:
        """Stops everything, whatever fails on the way."""
        if self.listener is not None:
            self.listener.stop_accepting()
        for manager in reversed(started):
            try:
                await manager.stop()
            except Exception:
                _log.exception("%s: %s failed to stop", self.name, type(manager).__name__)
        if self.listener is not None:
            listener, self.listener = self.listener, None
            await listener.close()
