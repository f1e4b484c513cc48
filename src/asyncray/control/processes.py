"""Who is alive among the processes that run user code, as told by their nodes and their own sessions."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from asyncray.bounded import Remembered
from asyncray.control.nodes import Nodes
from asyncray.control.session import Handler, Session
from asyncray.errors import ProtocolError
from asyncray.ids import NodeId, ProcessId
from asyncray.messages import HELLO, OWNER_HELD, PROCESS_DIED, Message
from asyncray.rpc.service import Manager
from asyncray.rpc.stream import FrameStream, Receiver

_log = logging.getLogger(__name__)

PROCESS_SESSION = "/asyncray.Control/ProcessSession"
DEAD_PROCESSES_KEPT: Final = 100_000
ROLES: Final = ("driver", "worker")


class ProcessWatcher(Protocol):
    """Who wants to know about processes."""

    def session_closed(self, session: Session) -> None:
        """The process may live on: it only talks to the control plane no more."""

    def process_died(self, process_id: ProcessId, cause: str) -> None: ...


@dataclass(slots=True)
class ProcessRecord:
    """A process that the control plane has heard of."""

    process_id: ProcessId
    node_id: NodeId
    role: str
    sessions: dict[Session, None] = field(default_factory=dict)


class Processes(Manager):
    """Accepts process sessions, and spreads the news of a death: once, to `watchers` and to those whom it concerns.

    That are the nodes whose stores hold what the process owned. To tell all would be deaths times nodes.

    A worker dies when its node says so, or with its node. A driver is nobody's child: the end of the
    session that carries its job is its death (`jobs.py`).
    """

    def __init__(self, nodes: Nodes) -> None:
        self.watchers: list[ProcessWatcher] = []
        self.handlers: dict[int, Handler] = {HELLO: self._hello}
        self.streams = {PROCESS_SESSION: self.accept}
        self._nodes = nodes
        self._living: dict[bytes, ProcessRecord] = {}
        self._dead: Remembered[bytes, str] = Remembered(DEAD_PROCESSES_KEPT)
        self._holders: dict[bytes, dict[NodeId, None]] = {}
        """The nodes that hold objects of other nodes' processes, by these."""
        self._serving = True
        nodes.handlers |= {PROCESS_DIED: self._reported_dead, OWNER_HELD: self._held}
        nodes.watchers.append(self)

    def accept(self, stream: FrameStream) -> Receiver:
        return Session(stream, HELLO, self.handlers, self._closed)

    def get(self, process_id: bytes) -> ProcessRecord | None:
        """A living process that the control plane has heard of."""
        return self._living.get(process_id)

    def death_cause(self, process_id: bytes) -> str | None:
        """Why it died; None if it is not known to be dead."""
        return self._dead.get(process_id)

    def send(self, process_id: bytes, message: Message) -> bool:
        """Whether the process has a session to send it on."""
        record = self._living.get(process_id)
        session = next(iter(record.sessions), None) if record is not None else None
        if session is None:
            return False
        session.send(message)
        return True

    def learn(self, process_id: bytes, node_id: bytes, role: str) -> ProcessRecord:
        """Takes note of where a living process is, so that it dies with its node."""
        record = self._living.get(process_id)
        if record is None:
            record = ProcessRecord(ProcessId(process_id), NodeId(node_id), role)
            self._living[process_id] = record
        return record

    def died(self, process_id: bytes, cause: str, *, reporter: NodeId | None = None) -> None:
        """Only the first report of a death counts. `reporter`: the node that knows already."""
        if process_id in self._dead:
            return
        self._forget(ProcessId(process_id), cause, reporter)

    def view_changed(self) -> None:
        pass

    def node_lost(self, node_id: NodeId, cause: str) -> None:
        """Its workers are dead, and it holds nothing any more."""
        for holders in self._holders.values():
            holders.pop(node_id, None)
        lost = [record for record in self._living.values() if record.node_id == node_id and record.role == "worker"]
        for record in lost:
            self._forget(record.process_id, f"its node died: {cause}")

    async def run(self) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            # As in `Nodes.run`: sessions that end from here on say nothing about their processes.
            self._serving = False

    def _hello(self, session: Session, message: list[Any]) -> None:
        _, address, role = message
        process_id, node_id = read_address(address)
        if role not in ROLES:
            raise ProtocolError(f"a process is one of {', '.join(ROLES)}, not {role!r}")
        cause = self._dead.get(process_id)
        if cause is not None:
            raise ProtocolError(f"process {process_id} was declared dead: {cause}")
        if role == "worker" and (cause := self._nodes.table.death_cause(node_id)) is not None:
            # Nobody will report its end: what it asks for from now on, an actor for one, would never end either.
            self.died(process_id, f"its node died: {cause}")
            raise ProtocolError(f"node {node_id} was declared dead, and its workers with it: {cause}")
        session.peer = process_id
        self.learn(process_id, node_id, role).sessions[session] = None

    def _reported_dead(self, session: Session, message: list[Any]) -> None:
        _, process_id, cause = message
        _check_length("process", process_id, ProcessId.LENGTH)
        assert session.peer is not None
        self.died(process_id, cause, reporter=NodeId(session.peer))

    def _held(self, session: Session, message: list[Any]) -> None:
        """A node wants to know when the process dies, of which the control plane may never have heard."""
        _, process_id, home = message
        _check_length("process", process_id, ProcessId.LENGTH)
        assert session.peer is not None
        if home:
            _check_length("node", home, NodeId.LENGTH)
            if (cause := self._nodes.table.death_cause(home)) is not None:
                self.died(process_id, f"its node died: {cause}")
            elif process_id not in self._dead and self._nodes.table.get(home) is not None:
                self.learn(process_id, home, "worker")
        if (cause := self._dead.get(process_id)) is not None:
            session.send((PROCESS_DIED, process_id, cause))
        else:
            self._holders.setdefault(process_id, {})[NodeId(session.peer)] = None

    def _closed(self, session: Session, error: Exception | None) -> None:
        if session.peer is None or not self._serving:
            return
        record = self._living.get(session.peer)
        if record is not None:
            record.sessions.pop(session, None)
        for watcher in self.watchers:
            watcher.session_closed(session)
        if record is not None and record.role == "driver" and not record.sessions:
            self.died(record.process_id, "its session has ended")  # before its job began: else that has ended, too

    def _forget(self, process_id: ProcessId, cause: str, reporter: NodeId | None = None) -> None:
        self._dead[process_id] = cause
        for node_id in self._holders.pop(process_id, ()):
            if node_id != reporter:
                self._nodes.send(node_id, (PROCESS_DIED, process_id, cause))
        record = self._living.pop(process_id, None)
        if record is not None:
            for session in tuple(record.sessions):
                session.close()
        for watcher in self.watchers:
            watcher.process_died(process_id, cause)


def _check_length(whose: str, id: bytes, length: int) -> None:
    if len(id) != length:
        raise ProtocolError(f"a {whose} id has {length} bytes, got {len(id)}")


def read_address(address: list[Any]) -> tuple[ProcessId, NodeId]:
    """The two ids at the start of an address; ProtocolError if it is malformed."""
    if [type(part) for part in address] != [bytes, bytes, str, str]:
        raise ProtocolError(f"an address is [process_id, node_id, unix_path, tcp], got {address!r}")
    process_id, node_id = address[:2]
    if len(process_id) != ProcessId.LENGTH or len(node_id) != NodeId.LENGTH:
        raise ProtocolError(f"an address begins with two ids of {ProcessId.LENGTH} bytes, got {address!r}")
    return ProcessId(process_id), NodeId(node_id)
