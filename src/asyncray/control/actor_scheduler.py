"""Finds nodes for the actors that wait for one, and says so when there can be none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from asyncray.config import Config
from asyncray.control.nodes import Nodes
from asyncray.control.placement import Demand, choose_node, describe_shortage, is_feasible
from asyncray.control.placement_queue import PlacementQueue
from asyncray.ids import ActorId, NodeId
from asyncray.rpc.service import Manager


class ActorScheduler(Manager):
    """One pass over the queue per change of the cluster's view, however many changes a loop turn brings.

    `place(actor_id, node_id)` is called for each actor that leaves the queue with a node.
    `warn(actor_ids, text)` is called when actors have waited for long and no node could ever take them.
    """

    def __init__(self, config: Config, nodes: Nodes) -> None:
        self.place: Callable[[ActorId, NodeId], None]
        self.warn: Callable[[list[ActorId], str], None]
        self._config = config
        self._nodes = nodes
        self._queue = PlacementQueue()
        self._due = asyncio.Event()
        self._hopeless: dict[Demand, asyncio.TimerHandle] = {}
        """Demands that no node can meet, each with the timer of its warning."""
        nodes.watchers.append(self)

    def add(self, actor_id: ActorId, demand: Demand) -> None:
        self._queue.add(actor_id, demand)
        self._due.set()

    def discard(self, actor_id: ActorId) -> None:
        self._queue.discard(actor_id)

    def retry_soon(self) -> None:
        """A node refused: its next report, if it makes one at all, takes this long."""
        asyncio.get_running_loop().call_later(self._config.resource_report_interval, self._due.set)

    def view_changed(self) -> None:
        if self._queue:
            self._due.set()

    def node_lost(self, node_id: NodeId, cause: str) -> None:
        """What waits may wait in vain from now on."""
        self.view_changed()

    async def run(self) -> None:
        table = self._nodes.table
        while True:
            await self._due.wait()
            self._due.clear()
            for actor_id, node_id, demand in self._queue.drain(lambda wanted: choose_node(table.ranking, wanted)):
                table.reserve(node_id, actor_id, demand)
                self.place(actor_id, node_id)
            self._watch_hopeless()

    async def stop(self) -> None:
        for timer in self._hopeless.values():
            timer.cancel()

    def _watch_hopeless(self) -> None:
        waiting = self._queue.demands()
        for demand in [demand for demand in self._hopeless if demand not in waiting]:
            self._hopeless.pop(demand).cancel()
        loop = asyncio.get_running_loop()
        for demand in waiting:
            if demand not in self._hopeless and not is_feasible(self._nodes.table, demand):
                delay = self._config.infeasible_warning_after
                self._hopeless[demand] = loop.call_later(delay, self._warn_of, demand)

    def _warn_of(self, demand: Demand) -> None:
        actor_ids = self._queue.waiting_for(demand)
        if not actor_ids or is_feasible(self._nodes.table, demand):
            self._hopeless.pop(demand, None)
            return
        self.warn(actor_ids, describe_shortage(self._nodes.table, demand))
