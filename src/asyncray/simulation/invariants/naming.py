"""What the sentences of the checks call things: kinds and the first digits of ids, as the logs do."""

from __future__ import annotations

from asyncray.control.session import Session as ControlSession
from asyncray.ids import ObjectId, ProcessId, object_of
from asyncray.node.service import NodeManager
from asyncray.node.sessions import Session, Sessions
from asyncray.resources import UNITS
from asyncray.worker.runtime import Runtime

_PUT = 1 << 31


def short(id: bytes) -> str:
    return id.hex()[:8]


def object_name(object_id: bytes) -> str:
    """Of an id, or of a key: the task that made the object, and whether it was its return value or put by it."""
    if len(object_id) == ObjectId.LENGTH + ProcessId.LENGTH:
        object_id = object_of(object_id)
    if len(object_id) != ObjectId.LENGTH:
        return object_id.hex()
    index = int.from_bytes(object_id[16:], "big")
    return f"{short(object_id)}.put{index - _PUT}" if index & _PUT else f"{short(object_id)}.{index}"


def node_id(node: NodeManager) -> bytes:
    return node.leases._node_id


def node_name(node: NodeManager) -> str:
    return f"node {short(node_id(node))}"


def runtime_name(runtime: Runtime) -> str:
    return f"{runtime.role} {short(runtime.process_id)}"


def process_name(sessions: Sessions, process_id: bytes) -> str:
    """As a node knows it."""
    session = sessions.by_process.get(process_id)
    return session_name(session) if session is not None else f"process {short(process_id)}"


def session_name(session: Session) -> str:
    return f"{session.role or 'process'} {short(session.process_id)}"


def peer_name(session: ControlSession) -> str:
    """Who is behind a session with the control plane."""
    return f"process {short(session.peer)}" if session.peer is not None else "a nameless process"


def amount(units: int) -> str:
    return f"{units / UNITS:g}"
