"""Where a scenario plays: a simulated cluster without chance, and its drivers."""

from __future__ import annotations

import asyncio
from typing import Final

from asyncray.simulation.cluster import SimCluster
from asyncray.simulation.network import Conditions, Latency
from asyncray.simulation.node import SimNode
from asyncray.simulation.process import Process
from asyncray.simulation.scenario.conversation import Conversation
from asyncray.simulation.scenario.driver import Driver
from asyncray.simulation.scenario.errors import ScenarioError
from asyncray.simulation.scenario.names import Names

_CONDITIONS: Final = Conditions(local=Latency(0.00005), remote=Latency(0.0002))
_WORKER_STARTS: Final = 0.01
_EXIT_IS_NOTICED: Final = 0.001
_QUIET: Final = 1.0
"""Seconds without a message: longer than what keeps leases and dropped references for a while."""
_HORIZON: Final = 3600.0


class SteadyCluster(SimCluster):
    """All that takes time takes the same time always."""

    def __init__(self) -> None:
        super().__init__(conditions=_CONDITIONS, horizon=_HORIZON)

    def start_delay(self) -> float:
        return _WORKER_STARTS

    def exit_delay(self) -> float:
        return _EXIT_IS_NOTICED


class Stage:
    """What commands act on. They run outside of all simulated processes."""

    def __init__(self) -> None:
        self.cluster = SteadyCluster()
        self.names = Names(self.cluster)
        self.conversation = Conversation(self.cluster.world.transcript, self.names)
        self.drivers: list[Driver] = []
        self.cluster.world.network.watchers.append(self.conversation.heard)

    def driver(self, number: str | None) -> Driver:
        """The first one by default. Raises ScenarioError for one that is not there."""
        name = f"driver {number or 1}"
        for driver in self.drivers:
            if driver.name == name and driver.process.alive:
                return driver
        raise ScenarioError(f"there is no living {name}")

    def node(self, name: str) -> SimNode:
        """`node 2`. Raises ScenarioError for one that is not there."""
        for node in self.cluster.nodes:
            if node.name == name:
                return node
        raise ScenarioError(f"there is no living {name!r}")

    def process(self, name: str) -> Process:
        """`worker 1.2`, `node 2`, `driver 1` or `control`. Raises ScenarioError for one that is not there."""
        for process in self.cluster.world.processes:
            if process.name == name and process.alive:
                return process
        living = ", ".join(process.name for process in self.cluster.world.processes if process.alive)
        raise ScenarioError(f"there is no living {name!r}; there are {living}")

    async def until_quiet(self) -> None:
        """Until nobody has said anything for a second, signs of life apart."""
        loop = asyncio.get_running_loop()
        until = max(self.conversation.last_at, loop.time()) + _QUIET
        while loop.time() < until:
            await asyncio.sleep(until - loop.time())
            until = self.conversation.last_at + _QUIET
