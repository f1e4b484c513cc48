"""How an end of a connection finds out that nobody answers any more.

The real ones ask again and again. Here nobody asks while all is well: when a fault begins, it is computed when the
next questions would have remained unanswered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import floor, inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncray.config import Config
    from asyncray.simulation.network.conditions import Conditions
    from asyncray.simulation.network.connection import Connection


class Silence:
    """Gives a connection up when its peer has been silent for too long, by the clock of its process.

    As in `rpc/http2_connection.py`, a watched one counts ticks; as in `rpc/sockets.py`, the kernel watches over
    connections between machines.
    """

    __slots__ = ("_conditions", "_config", "_connection", "_fault_at", "_give_up", "_timer", "_watched_from")

    def __init__(
        self, connection: Connection, config: Config, conditions: Conditions, give_up: Callable[[str], None]
    ) -> None:
        """`give_up(reason)` is called in the connection's process."""
        self._connection = connection
        self._config = config
        self._conditions = conditions
        self._give_up = give_up
        self._watched_from: float | None = None
        self._fault_at: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, now: float) -> bool:
        """From now on silence counts as death. False if it did already."""
        if self._watched_from is not None:
            return False
        self._watched_from = now
        return True

    def review(self, loop: asyncio.AbstractEventLoop, *, unreachable: bool, frozen: bool, resumed: bool) -> None:
        """A fault has begun or ended, perhaps.

        `unreachable`: packets are lost; `frozen`: the peer's kernel answers, but not the peer; `resumed`: this end
        was frozen itself, and its ticks begin anew.
        """
        if unreachable or frozen:
            if self._fault_at is None:
                self._fault_at = loop.time()
            if resumed:
                self._connection.heard_at = loop.time()
        elif self._fault_at is not None:
            self._fault_at = None
            self._connection.heard_at = loop.time()
        self.stop()
        self._arm(loop, unreachable)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, loop: asyncio.AbstractEventLoop, unreachable: bool) -> None:
        if self._fault_at is None:
            return
        watch = kernel = inf
        heard_at = self._connection.heard_at
        if self._watched_from is not None:
            watch = watch_deadline(
                self._watched_from,
                heard_at,
                self._fault_at,
                self._config.ping_interval,
                self._config.node_silence_timeout,
            )
        if unreachable:
            kernel = kernel_deadline(heard_at, self._fault_at, self._conditions)
        deadline = min(watch, kernel)
        if deadline == inf:
            return
        if watch <= kernel:
            reason = f"it said nothing for {self._config.node_silence_timeout:g} s"
        else:
            reason = "[Errno 110] Connection timed out"
        context = self._connection.process.context
        self._timer = loop.call_at(deadline, self._due, loop, heard_at, reason, unreachable, context=context)

    def _due(self, loop: asyncio.AbstractEventLoop, heard_at: float, reason: str, unreachable: bool) -> None:
        self._timer = None
        if self._connection.heard_at > heard_at:  # something was under way when the fault began
            self._arm(loop, unreachable)
        else:
            self._give_up(reason)


def watch_deadline(watched_from: float, heard_at: float, fault_at: float, interval: float, timeout: float) -> float:
    """When a watcher takes its peer for dead, whom it heard at `heard_at`, and who answers until `fault_at`.

    It ticks every `interval`, asks at each tick but the first after it has heard something, and gives up at the tick
    that makes the silent ones longer than `timeout`.
    """
    heard_tick = floor((max(heard_at, watched_from) - watched_from) / interval)
    silent_ticks = max(0, floor((fault_at - watched_from) / interval) - heard_tick)
    heard_tick += silent_ticks // 2 * 2
    limit = floor(timeout / interval) + 1
    while (limit - 1) * interval > timeout:
        limit -= 1
    while limit * interval <= timeout:
        limit += 1
    return watched_from + (heard_tick + limit) * interval


def kernel_deadline(heard_at: float, fault_at: float, conditions: Conditions) -> float:
    """When the kernel gives up a connection to a machine that answers until `fault_at`."""
    idle = conditions.keepalive_idle
    heard_at += max(0, floor((fault_at - heard_at) / idle)) * idle
    return heard_at + idle + conditions.keepalive_interval * conditions.keepalive_probes
