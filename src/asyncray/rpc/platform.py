"""What is not deterministic, injected: network, processes, random numbers. Time is the loop's."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from asyncray.rpc.network import Network


class WorkerLauncher(Protocol):
    """Starts and ends the worker processes of one node."""

    async def start(self, on_exit: Callable[[bytes, str], None]) -> None:
        """Gets ready; `on_exit(process_id, cause)` is called when a worker process has ended."""
        ...

    def launch(self, process_id: bytes, specification: dict[str, object]) -> None:
        """Starts the worker that will be known as `process_id`; returns at once."""
        ...

    def kill(self, process_id: bytes) -> None:
        """SIGKILL to a worker; nothing if it is gone already."""
        ...

    def clean(self, process_id: bytes) -> None:
        """Removes the socket file that a process of this node, worker or driver, may have left."""
        ...

    async def stop(self) -> None:
        """Ends every worker that is left, and what started them."""
        ...


@dataclass(frozen=True, slots=True)
class Platform:
    """How a service reaches the world outside its own loop."""

    network: Network
    entropy: Callable[[int], bytes] = field(default=os.urandom)
    """`entropy(n)`: n random bytes, for ids."""
