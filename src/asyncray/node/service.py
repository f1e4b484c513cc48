"""The node manager: one per machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from asyncray import messages
from asyncray.config import Config
from asyncray.node.actor_host import ActorHost
from asyncray.node.control_link import ControlLink, NodeIdentity
from asyncray.node.exchange import Exchange
from asyncray.node.handlers import NodeHandlers
from asyncray.node.lease_manager import LeaseManager
from asyncray.node.lease_queue import NodeResources
from asyncray.node.memory_monitor import MemoryMonitor
from asyncray.node.memory_report import MemoryReporter
from asyncray.node.sessions import Session, Sessions
from asyncray.node.store_manager import StoreManager
from asyncray.node.transfer_manager import TransferManager
from asyncray.node.worker_pool import WorkerPool
from asyncray.platform import Platform, WorkerLauncher
from asyncray.resources import UNITS
from asyncray.rpc.own_address import reachable
from asyncray.rpc.service import Manager, Service
from asyncray.rpc.sockets import format_address


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """What one node is to be."""

    identity: NodeIdentity
    resources: Mapping[str, int]
    """Totals, in units of 0.0001."""
    control_target: str
    unix_path: str
    host: str = "127.0.0.1"
    port: int = 0
    worker_specification: dict[str, Any] = field(default_factory=dict)
    spill_directories: tuple[str, ...] = ()
    """Of this node alone, for objects that do not fit into memory; by default, one in its session directory."""
    memory_threshold: float = 0.0
    """Share of the machine's memory above which workers are ended; 0: never."""
    notices: list[str] = field(default_factory=list)
    """What is not as users would want it: the drivers of the machine are told when they join."""


class NodeManager(Service):
    """Its managers, in the order in which they start."""

    def __init__(self, settings: NodeSettings, platform: Platform, launcher: WorkerLauncher, config: Config) -> None:
        identity = settings.identity
        self.sessions = Sessions(identity.node_id, lambda: self.address)
        self.sessions.on_lost.append(lambda session: launcher.clean(session.process_id))
        self.sessions.on_registered.append(lambda session: _give_notice(session, settings))
        self.resources = NodeResources(settings.resources)
        capacity = settings.resources.get("object_store_memory", 0) // UNITS
        spill = settings.spill_directories or (f"{identity.session_dir}/spilled",)
        self.store = StoreManager(
            self.sessions, platform, capacity, config, identity.node_id, spill, identity.session_dir
        )
        self.pool = WorkerPool(self.sessions, launcher, platform, config, settings.worker_specification)
        self.pool.keep_ready(settings.resources.get("CPU", 0) // UNITS)
        self.leases = LeaseManager(identity.node_id, self.resources, self.sessions, self.pool, platform, config)
        self.actors = ActorHost(self.sessions, self.pool, self.leases)
        self.sessions.services = [NodeHandlers(settings, self)]
        self.control = ControlLink(
            identity,
            settings.control_target,
            platform,
            config,
            self.sessions,
            self.pool,
            self.leases,
            self.actors,
            self.store,
            lambda: self.address,
        )
        self.exchange = Exchange(identity.node_id, lambda: self.address, platform, config)
        self.control.on_node_died.append(self.exchange.node_died)
        self.transfers = TransferManager(
            identity.node_id, settings.host, capacity, self.store, self.exchange, platform, config
        )
        managers: list[Manager] = [self.store, self.exchange, self.transfers]
        managers += [self.sessions, self.pool, self.leases, self.actors, self.control]
        self.memory = MemoryReporter(settings.identity, self.sessions, self.pool, self.leases, self.actors, self.store)
        if settings.memory_threshold:
            watched = (self.sessions, self.pool, self.leases, self.actors)
            threshold = settings.memory_threshold
            managers.append(MemoryMonitor(identity.hostname, threshold, platform.memory, *watched, config))
        super().__init__(
            f"node {identity.node_id.hex()[:8]}",
            managers,
            platform.network,
            unix_path=settings.unix_path,
            host=settings.host,
            port=settings.port,
        )

    @property
    def address(self) -> str:
        """`host:port` of its service, while it listens."""
        assert self.listener is not None
        return format_address(reachable(self.listener.host), self.listener.port)


def _give_notice(session: Session, settings: NodeSettings) -> None:
    if session.role == "driver" and session.address[1] == settings.identity.node_id:
        for text in settings.notices:
            session.send(messages.WARNING, text)
