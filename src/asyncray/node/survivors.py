"""Processes whose sessions this node has ended: they may still write to the arena, and read it, until they have ended.

A worker is ended by the pool. A driver whose message made no sense goes on with the user's program, and the arrays that
it has read lie in the arena.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

_INTERVAL: Final = 0.5
"""Seconds between two looks at who still runs."""


class Survivors:
    """Says of each client of the store when its process has ended; never if that cannot be told."""

    def __init__(self, is_running: Callable[[int], bool], on_ended: Callable[[int], None]) -> None:
        self.clients: dict[int, int] = {}
        """Their pids, by the clients' numbers."""
        self._is_running = is_running
        self._on_ended = on_ended
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False

    def add(self, client: int, pid: int) -> None:
        """May call `on_ended` at once."""
        self.clients[client] = pid
        self._look()

    def stop(self) -> None:
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        for client, pid in list(self.clients.items()):
            if not self._is_running(pid):
                del self.clients[client]
                self._on_ended(client)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.clients and not self._stopped:
            self._timer = asyncio.get_running_loop().call_later(_INTERVAL, self._look)
