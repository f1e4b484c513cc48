"""The control plane as one service: its managers, and how they depend on each other."""

from __future__ import annotations

import os

from asyncray.config import DEFAULT, Config
from asyncray.control.actor_scheduler import ActorScheduler
from asyncray.control.actors import Actors
from asyncray.control.handlers import ControlHandlers
from asyncray.control.jobs import Jobs
from asyncray.control.kv import KeyValue
from asyncray.control.nodes import Nodes
from asyncray.control.processes import Processes
from asyncray.rpc.network import Network
from asyncray.rpc.service import Service


class ControlPlane(Service):
    """One per cluster: a process of its own, or one of the two services of a head.

    Listens on TCP if `host` is given (port 0: any free one), on a Unix socket if `unix_path` is.
    """

    def __init__(
        self,
        network: Network,
        config: Config = DEFAULT,
        *,
        host: str | None = None,
        port: int = 0,
        unix_path: str | None = None,
        cluster_id: bytes | None = None,
    ) -> None:
        self.cluster_id = cluster_id or os.urandom(16)
        self.nodes = Nodes(config, self.cluster_id)
        self.processes = Processes(self.nodes)
        self.jobs = Jobs(self.nodes, self.processes)
        self.scheduler = ActorScheduler(config, self.nodes)
        self.actors = Actors(config, self.nodes, self.processes, self.jobs, self.scheduler)
        self.key_value = KeyValue()
        self.nodes.services = [ControlHandlers(self.nodes, self.jobs, self.actors, self.key_value)]
        super().__init__(
            "control plane",
            [self.nodes, self.processes, self.jobs, self.scheduler, self.actors, self.key_value],
            network,
            unix_path=unix_path,
            host=host,
            port=port,
        )

    @property
    def port(self) -> int:
        """The TCP port that it listens on; 0 while it does not."""
        return self.listener.port if self.listener is not None else 0
