"""The node's membership: its stream with the control plane."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from sys import intern
from typing import Any, Final

from asyncray import messages
from asyncray.config import Config
from asyncray.errors import ConnectionFailed, ProtocolError
from asyncray.node.actor_host import ActorHost
from asyncray.node.lease_manager import LeaseManager
from asyncray.node.scheduling import NodeView
from asyncray.node.sessions import Session, Sessions
from asyncray.node.store_manager import StoreManager
from asyncray.node.worker_pool import Worker, WorkerPool
from asyncray.platform import Platform
from asyncray.resources import Resources
from asyncray.rpc.network import Channel
from asyncray.rpc.service import Manager
from asyncray.rpc.stream import FrameStream

_log = logging.getLogger(__name__)

ROUTE = "/asyncray.Control/NodeSession"

_NO_LABELS: Final[dict[str, str]] = {}


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """What the cluster knows a node by."""

    node_id: bytes
    hostname: str
    pid: int
    session_dir: str
    labels: dict[str, str] = field(default_factory=dict)
    head: bool = False


class ControlLink(Manager):
    """Registers the node, reports its resources, carries out what the control plane asks."""

    def __init__(
        self,
        identity: NodeIdentity,
        target: str,
        platform: Platform,
        config: Config,
        sessions: Sessions,
        pool: WorkerPool,
        leases: LeaseManager,
        actors: ActorHost,
        store: StoreManager,
        node_address: Callable[[], str],
    ) -> None:
        self._identity = identity
        self._target = target
        self._platform = platform
        self._config = config
        self._sessions = sessions
        self._pool = pool
        self._leases = leases
        self._actors = actors
        self._store = store
        self._node_address = node_address
        self.registered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the control plane knows the node."""
        self.on_node_died: list[Callable[[bytes], None]] = []
        """Called with the id of another node."""
        self._channel: Channel | None = None
        self._stream: FrameStream | None = None
        self._reported: dict[str, int] = {}
        self._totals: dict[tuple[tuple[str, int], ...], Resources] = {}
        """What nodes have in total, each once."""
        self._lost: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        self._handlers: dict[int, Callable[..., None]] = {
            messages.NODE_ACCEPTED: self._on_accepted,
            messages.VIEW: self._on_view,
            messages.PLACE_ACTOR: actors.place,
            messages.STOP_ACTOR: actors.stop_actor,
            messages.PROCESS_DIED: self._on_process_died,
            messages.JOB_ENDED: self._on_job_ended,
        }
        actors.report = self._send
        store.on_first_held = self._first_held
        pool.on_death.append(self._worker_died)
        sessions.on_lost.append(self._session_lost)

    async def _register(self) -> None:
        """Raises ConnectionFailed, AuthenticationError."""
        identity = self._identity
        self._channel = await self._platform.network.connect(self._target, keepalive=True)
        information = {
            "hostname": identity.hostname,
            "pid": identity.pid,
            "total": self._leases.resources.total,
            "labels": identity.labels,
            "session_dir": identity.session_dir,
            "head": identity.head,
        }
        register = (messages.REGISTER_NODE, identity.node_id, self._node_address(), information)
        self._stream = await self._channel.open(ROUTE, self, register)

    async def run(self) -> None:
        """Registers; then reports changes, at most every `resource_report_interval`, and else signs of life."""
        await self._register()
        while True:
            changed = asyncio.ensure_future(self._leases.changed.wait())
            try:
                await asyncio.wait(
                    (changed, self._lost), timeout=self._config.ping_interval, return_when=asyncio.FIRST_COMPLETED
                )
            finally:
                changed.cancel()
            if self._lost.done():
                raise ConnectionFailed(f"the control plane at {self._target} is gone: {self._lost.result()}")
            self._report(changed=self._leases.changed.is_set())
            if len(self._leases.queue):
                self._leases.respill()  # which looks at other nodes each time, where there are many
            await asyncio.sleep(self._config.resource_report_interval)

    async def stop(self) -> None:
        if self._stream is not None:
            self._stream.close()
        if self._channel is not None:
            self._channel.close()

    def on_message(self, stream: FrameStream, message: list[Any]) -> None:
        handler = self._handlers.get(message[0])
        if handler is None:
            stream.close(ProtocolError(f"message {message[0]} does not belong on a node's control stream"))
            return
        handler(*message[1:])

    def on_close(self, stream: FrameStream, error: Exception | None) -> None:
        if not self._lost.done():
            self._lost.set_result(error or ConnectionError("it closed the connection"))

    def _on_accepted(self, cluster_id: bytes) -> None:
        if not self.registered.done():
            self.registered.set_result(None)

    def _send(self, *message: Any) -> None:
        if self._stream is not None:
            self._stream.send(message)

    def _report(self, *, changed: bool) -> None:
        self._leases.changed.clear()
        available = self._leases.resources.available
        changes = {name: amount for name, amount in available.items() if self._reported.get(name) != amount}
        if changed and not changes:  # one took what another gave back: the control plane counts the one twice till then
            changes = dict(available)
        self._reported = dict(available)
        shapes = [request.demand for request in self._leases.queue][:10]
        self._send(messages.RESOURCES, changes, shapes)

    def _on_view(self, nodes: list[list[Any]]) -> None:
        for entry in nodes:
            if len(entry) == 2:
                self._on_news(*entry)
                continue
            node_id, address, total, available, labels, alive = entry
            if not alive:
                self._leases.view.pop(node_id, None)
                self._sessions.broadcast(messages.NODE_DIED, node_id)
                for callback in self.on_node_died:
                    callback(node_id)
            elif node_id != self._identity.node_id:
                # Most nodes are alike: one dictionary for all that have the same is a third of the view's memory.
                total = self._totals.setdefault(tuple(total.items()), total)
                self._leases.view[node_id] = NodeView(node_id, intern(address), total, available, labels or _NO_LABELS)
        self._leases.respill()

    def _on_news(self, node_id: bytes, available: Resources) -> None:
        known = self._leases.view.get(node_id)
        if known is not None:
            self._leases.view[node_id] = NodeView(node_id, known.address, known.total, available, known.labels)

    def _first_held(self, owner: bytes) -> None:
        """How its own processes end the node sees itself; of others only the control plane can tell."""
        session = self._sessions.by_process.get(owner)
        at_home = session is not None and session.address[1] == self._identity.node_id
        if owner in self._pool.workers or at_home:
            return
        # With a worker's node known, its death is that of the worker, too. A driver can outlive its node.
        home = session.address[1] if session is not None and session.role == "worker" else b""
        self._send(messages.OWNER_HELD, owner, home)

    def _on_process_died(self, process_id: bytes, cause: str) -> None:
        self._store.owner_lost(process_id)

    def _on_job_ended(self, job_id: bytes) -> None:
        self._leases.end_job(job_id)
        self._pool.end_job(job_id)
        self._sessions.end_job(job_id)

    def _worker_died(self, worker: Worker, cause: str) -> None:
        self._store.owner_lost(worker.process_id)
        self._send(messages.PROCESS_DIED, worker.process_id, cause)

    def _session_lost(self, session: Session) -> None:
        if session.role == "driver" and not session.left:
            self._store.owner_lost(session.process_id)
