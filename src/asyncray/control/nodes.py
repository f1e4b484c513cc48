"""Membership: a node belongs to the cluster for as long as its session lasts and it is heard."""

from __future__ import annotations

import asyncio
import itertools
import logging
from typing import Any, Protocol

from asyncray.config import Config
from asyncray.control.node_table import NodeRecord, NodeTable
from asyncray.control.session import Handler, Session
from asyncray.control.view_rounds import ViewRounds
from asyncray.errors import AsyncrayError, ProtocolError
from asyncray.ids import NodeId
from asyncray.messages import NODE_ACCEPTED, REGISTER_NODE, RESOURCES, VIEW, Message
from asyncray.resources import Resources
from asyncray.rpc.codec import packer
from asyncray.rpc.service import Manager
from asyncray.rpc.stream import FrameStream, Receiver

_log = logging.getLogger(__name__)

NODE_SESSION = "/asyncray.Control/NodeSession"


class NodeWatcher(Protocol):
    """Who wants to know about nodes."""

    def view_changed(self) -> None:
        """A node has joined, or has different resources than before."""

    def node_lost(self, node_id: NodeId, cause: str) -> None: ...


class Nodes(Manager):
    """Accepts nodes, tells each about the others, finds the dead ones.

    Other managers add to `handlers` what else nodes may send, and themselves to `watchers`.
    """

    def __init__(self, config: Config, cluster_id: bytes) -> None:
        self.table = NodeTable()
        self.watchers: list[NodeWatcher] = []
        self.handlers: dict[int, Handler] = {REGISTER_NODE: self._register, RESOURCES: self._report}
        self.streams = {NODE_SESSION: self.accept}
        self._config = config
        self._cluster_id = cluster_id
        self._sessions: dict[NodeId, Session] = {}
        self._numbers: dict[NodeId, int] = {}
        """A number for each member, which decides when it is told what."""
        self._joins = itertools.count()
        self._pack = packer()
        self._view_changed = asyncio.Event()
        self._joined = asyncio.Event()
        self._serving = True

    def accept(self, stream: FrameStream) -> Receiver:
        return _NodeSession(self, stream)

    def send(self, node_id: NodeId, message: Message) -> None:
        """Does nothing for a node that is gone: whoever cares hears of that as a watcher."""
        session = self._sessions.get(node_id)
        if session is not None:
            session.send(message)

    def broadcast(self, message: Message) -> None:
        for session in tuple(self._sessions.values()):
            session.send(message)

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._tell_changes())
                tasks.create_task(self._find_silent())
        finally:
            # From here on sessions end because the control plane does: that says nothing about the nodes.
            self._serving = False

    def heard(self, node_id: bytes) -> None:
        record = self.table.get(node_id)
        if record is not None:
            record.last_heard = asyncio.get_running_loop().time()

    def closed(self, session: Session, error: Exception | None) -> None:
        if session.peer is not None and self._serving:
            self._lose(NodeId(session.peer), f"its connection ended: {error}" if error else "it has left the cluster")

    def _register(self, session: Session, message: list[Any]) -> None:
        _, node_id, address, info = message
        record = _read_record(node_id, address, info)
        record.last_heard = asyncio.get_running_loop().time()
        self.table.join(record)
        session.peer = record.node_id
        self._sessions[record.node_id] = session
        self._numbers[record.node_id] = next(self._joins)
        session.send((NODE_ACCEPTED, self._cluster_id))
        session.send((VIEW, self.table.full_view()))
        _log.info("node %s joined from %s", record.node_id, address, extra={"node_id": str(record.node_id)})
        self._joined.set()
        self._announce_change()

    def _report(self, session: Session, message: list[Any]) -> None:
        _, available, queued = message
        assert session.peer is not None
        record = self.table.get(session.peer)
        if record is not None and self.table.report(record, _read_units("available", available), queued):
            self._announce_change()

    def _announce_change(self) -> None:
        self._view_changed.set()
        for watcher in self.watchers:
            watcher.view_changed()

    def _lose(self, node_id: NodeId, cause: str) -> None:
        record = self.table.leave(node_id, cause)
        if record is None:
            return
        _log.warning("node %s at %s is dead: %s", node_id, record.address, cause, extra={"node_id": str(node_id)})
        del self._numbers[node_id]
        self._sessions.pop(node_id).close(AsyncrayError(f"declared dead: {cause}"))
        self._view_changed.set()
        for watcher in self.watchers:
            watcher.node_lost(node_id, cause)

    async def _tell_changes(self) -> None:
        rounds = ViewRounds()
        while True:
            if not rounds.goes_on():
                await self._view_changed.wait()
            self._view_changed.clear()
            changed = self.table.take_changes()
            deaths = [record.view for record in changed if not record.alive]
            if deaths:  # that cannot wait for its turn
                self.broadcast((VIEW, deaths))
            rounds.add(record for record in changed if record.alive)
            portions = [[record.news for record in portion if record.alive] for portion in rounds.next_turn()]
            packed = [self._pack((VIEW, entries)) if entries else None for entries in portions]
            if packed:
                for node_id, number in tuple(self._numbers.items()):
                    if (message := packed[number % len(packed)]) is not None:
                        self._sessions[node_id].send_packed(message)
            await asyncio.sleep(self._config.resource_report_interval)

    async def _find_silent(self) -> None:
        """Sleeps until the node that has been silent for longest would be too much so."""
        loop = asyncio.get_running_loop()
        limit = self._config.node_silence_timeout
        while True:
            oldest = self.table.longest_silent()
            if oldest is None:
                self._joined.clear()
                await self._joined.wait()
                continue
            due = oldest + limit
            await asyncio.sleep(max(0.0, due - loop.time()))
            late = loop.time() - due
            if late > limit / 2:
                # This process was suspended or starved, and what the nodes sent meanwhile is still unread.
                _log.warning("the control plane did not run for %.1f s: nodes get a new chance", late)
                self.table.forgive(loop.time())
                continue
            for node_id in self.table.silent_since(max(oldest, loop.time() - limit)):
                self._lose(node_id, f"nothing was heard from it for {limit:g} s")


class _NodeSession(Session):
    """Any message is a sign of life."""

    def __init__(self, nodes: Nodes, stream: FrameStream) -> None:
        super().__init__(stream, REGISTER_NODE, nodes.handlers, nodes.closed)
        self._nodes = nodes

    def on_message(self, stream: FrameStream, message: list[Any]) -> None:
        if self.peer is not None:
            self._nodes.heard(self.peer)
        super().on_message(stream, message)


def _read_record(node_id: bytes, address: str, info: dict[str, Any]) -> NodeRecord:
    if len(node_id) != NodeId.LENGTH:
        raise ProtocolError(f"a node id has {NodeId.LENGTH} bytes, got {len(node_id)}")
    labels = info.get("labels", {})
    if not isinstance(labels, dict) or not all(type(text) is str for pair in labels.items() for text in pair):
        raise ProtocolError(f"labels must be texts by name, got {labels!r}")
    pid = info.get("pid", 0)
    if type(pid) is not int or pid < 0:
        raise ProtocolError(f"pid must be the number of a process, got {pid!r}")
    total = _read_units("total", info.get("total", {}))
    return NodeRecord(
        node_id=NodeId(node_id),
        address=address,
        total=total,
        available=dict(total),
        labels=labels,
        hostname=str(info.get("hostname", "")),
        pid=pid,
        session_dir=str(info.get("session_dir", "")),
        head=bool(info.get("head", False)),
    )


def _read_units(name: str, units: Any) -> Resources:
    if not isinstance(units, dict) or not all(type(k) is str and type(v) is int for k, v in units.items()):
        raise ProtocolError(f"{name} must be whole units by resource name, got {units!r}")
    return units
