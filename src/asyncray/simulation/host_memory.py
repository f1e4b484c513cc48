"""The memory of a simulated machine: its processes use what they are said to use."""

from __future__ import annotations

from asyncray.host_memory import ProcessMemory, Usage
from asyncray.simulation.process import Process


class SimulatedHostMemory:
    """Of one machine."""

    def __init__(self) -> None:
        self.total = 64 << 30
        self._used: dict[Process, int] = {}

    def use(self, process: Process, size: int) -> None:
        """A living process has that many bytes from now on, until it ends."""
        if process not in self._used:
            process.on_death(lambda cause: self._forget(process))
        self._used[process] = size

    def _forget(self, process: Process) -> None:
        del self._used[process]

    def usages(self) -> list[Usage]:
        return [Usage(sum(self._used.values()), self.total)]

    def processes(self) -> list[ProcessMemory]:
        found = [ProcessMemory(process.pid, process.name, size) for process, size in self._used.items()]
        return sorted(found, key=lambda process: -process.size)
