"""The `WorkerLauncher` of a simulated node: workers are simulated processes of its machine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from asyncray.simulation.process import Process


class Machine(Protocol):
    """What a launcher needs of the simulation."""

    def start_worker(self, node: Process, process_id: bytes, specification: dict[str, Any]) -> Process:
        """A new process of the node's machine, which will run a worker."""
        ...

    def start_delay(self) -> float:
        """Seconds from the order to fork until the worker's first instruction."""
        ...

    def exit_delay(self) -> float:
        """Seconds from the death of a worker until its node knows."""
        ...


class SimulatedLauncher:
    """As the zygote: what it has started does not outlive the node."""

    def __init__(self, machine: Machine, node: Process) -> None:
        self._machine = machine
        self._node = node
        self._workers: dict[bytes, Process] = {}
        self._on_exit: Callable[[bytes, str], None] | None = None
        node.on_death(lambda cause: self._end_all(f"its node died: {cause}"))

    async def start(self, on_exit: Callable[[bytes, str], None]) -> None:
        self._on_exit = on_exit

    def launch(self, process_id: bytes, specification: dict[str, object]) -> None:
        process = self._workers[process_id] = self._machine.start_worker(self._node, process_id, specification)
        process.on_death(partial(self._died, process_id))

    def kill(self, process_id: bytes) -> None:
        if (process := self._workers.get(process_id)) is not None:
            process.kill("killed by SIGKILL")

    def clean(self, process_id: bytes) -> None:
        """The network forgets where dead processes listened."""

    async def stop(self) -> None:
        self._on_exit = None
        self._end_all("its node stopped")

    def _died(self, process_id: bytes, cause: str) -> None:
        del self._workers[process_id]
        if self._node.alive:
            loop = asyncio.get_running_loop()
            loop.call_later(self._machine.exit_delay(), self._tell, process_id, cause, context=self._node.context)

    def _tell(self, process_id: bytes, cause: str) -> None:
        if self._on_exit is not None:
            self._on_exit(process_id, cause)

    def _end_all(self, cause: str) -> None:
        for process in list(self._workers.values()):
            process.kill(cause)
