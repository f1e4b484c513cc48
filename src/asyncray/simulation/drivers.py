"""The drivers of a simulated cluster: programs, each in a process of its own."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine
from contextvars import Context
from typing import Any, Protocol, TypeVar

from asyncray.errors import AsyncrayError
from asyncray.simulation.node import SimNode, socket_dir
from asyncray.simulation.process import Process
from asyncray.simulation.world import World
from asyncray.worker import current
from asyncray.worker.runtime import Job, Membership, Runtime

_T = TypeVar("_T")


class Cluster(Protocol):
    """What a driver needs of the one that it joins."""

    nodes: list[SimNode]
    runtimes: dict[Process, Runtime]

    @property
    def address(self) -> str: ...


class Drivers:
    """Those of one cluster, the living ones."""

    def __init__(self, world: World, cluster: Cluster) -> None:
        self._world = world
        self._cluster = cluster
        self._numbers = itertools.count(1)
        self._living: list[Process] = []

    def living(self) -> list[Process]:
        return list(self._living)

    def run(self, program: Coroutine[Any, Any, _T], node: SimNode | None, *, listed: bool) -> asyncio.Future[_T]:
        """Runs a program in a process, on the machine of `node`, by default that of the oldest when it calls `init`.

        The future has its outcome; AsyncrayError if the process dies first. `listed`: it is one of `living`.
        """
        outcome: asyncio.Future[_T] = self._world.loop.create_future()
        process = self._world.process(f"driver {next(self._numbers)}", "")
        process.context.run(current.simulated.set, _Surroundings(self, process, node))
        task = process.spawn(program, name=process.name)
        if listed:
            self._living.append(process)

        def died(cause: str) -> None:
            if listed:
                self._living.remove(process)
            self._cluster.runtimes.pop(process, None)
            if not outcome.done():
                outcome.set_exception(AsyncrayError(f"{process.name} died: {cause}"))

        def ended(task: asyncio.Task[_T]) -> None:
            if not outcome.done():
                if task.cancelled():
                    outcome.cancel()
                elif (error := task.exception()) is not None:
                    outcome.set_exception(error)
                else:
                    outcome.set_result(task.result())
            process.kill("its program has ended")

        process.on_death(died)
        task.add_done_callback(ended, context=Context())
        return outcome

    def join(self, process: Process, node: SimNode | None, namespace: str) -> Runtime:
        """The runtime of a driver that calls `init`. Raises AsyncrayError without a node."""
        nodes = self._cluster.nodes
        node = node or (nodes[0] if nodes else None)
        if node is None:
            raise AsyncrayError("the simulated cluster has no node: await cluster.add_node() before init()")
        process.host = node.host
        platform = self._world.platform(process)
        information = {
            "sys_path": [],
            "namespace": namespace or platform.entropy(8).hex(),
            "pid": process.pid,
            "entrypoint": process.name,
            "address": self._cluster.address,
        }
        directory = socket_dir(node.process)
        membership = Membership(
            node_target=f"unix:{directory}/node",
            control_target=self._cluster.address,
            node_id=node.node_id,
            socket_dir=directory,
            host=node.host,
            node_name=node.name,
        )
        job = Job(platform.entropy(4), information)
        runtime = Runtime(platform, self._world.config, membership, "driver", platform.entropy(16), job)
        self._cluster.runtimes[process] = runtime
        return runtime


class _Surroundings:
    def __init__(self, drivers: Drivers, process: Process, node: SimNode | None) -> None:
        self.runtime: Runtime | None = None
        self._drivers = drivers
        self._process = process
        self._node = node

    def new_driver(self, namespace: str, settings: dict[str, Any]) -> Runtime:
        given = sorted(name for name, value in settings.items() if value)
        if given:
            raise AsyncrayError(f"{', '.join(given)} of a simulated cluster are set by cluster.add_node(...)")
        return self._drivers.join(self._process, self._node, namespace)
