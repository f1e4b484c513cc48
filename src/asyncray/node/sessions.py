"""The node's streams with processes: its own workers and drivers, and those of other nodes that lease here."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from asyncray import messages
from asyncray.bounded import Remembered
from asyncray.errors import ConnectionFailed, ProtocolError
from asyncray.messages import Address
from asyncray.rpc.service import Manager
from asyncray.rpc.stream import FrameStream
from asyncray.store.arena import SharedMemory

_log = logging.getLogger(__name__)

_ENDED_JOBS_KEPT: Final = 10_000
_JOB_IS_OVER: Final = "its job has ended: the control plane has lost its driver"

Handler = Callable[..., None]


class Session:
    """One process, as this node knows it. Lives as long as its stream."""

    __slots__ = (
        "__weakref__",
        "_sessions",
        "address",
        "ended_here",
        "job_id",
        "left",
        "pid",
        "process_id",
        "role",
        "stream",
    )

    def __init__(self, sessions: Sessions, stream: FrameStream) -> None:
        self._sessions = sessions
        self.stream = stream
        self.address: Address = []
        self.process_id = b""
        self.role = ""
        self.pid = 0
        self.job_id: bytes | None = None
        self.left = False
        """The process needs nothing of this node now: the end of the stream is not its death."""
        self.ended_here = False
        """This node has ended the session: the process may live on, and not know it yet."""

    def __repr__(self) -> str:
        return f"<session of {self.role or 'unknown'} {self.process_id.hex()[:8]} pid {self.pid}>"

    def send(self, *message: Any) -> None:
        self.stream.send(message)

    def on_message(self, stream: FrameStream, message: list[Any]) -> None:
        kind = message[0]
        if kind == messages.HELLO:
            if self.process_id:  # by another name it could not be found again when it ends
                raise ProtocolError("a second HELLO on a stream")
            self.address, self.role = message[1], message[2]
            self.process_id = self.address[0]
            return
        handler = self._sessions.handlers.get(kind)
        if handler is None or not self.process_id:
            stream.close(ProtocolError(f"message {kind} does not belong on a node's stream"))
            return
        self.left = kind == messages.LEAVE
        handler(self, *message[1:])

    def on_close(self, stream: FrameStream, error: Exception | None) -> None:
        self.ended_here = self.ended_here or (stream.closed_here and not self._may_have_left())
        self._sessions.closed(self, error)

    def _may_have_left(self) -> bool:
        """A driver leaves the control plane and its node at the same time: which end is seen first is a matter of
        chance, and a driver that has left keeps what it reads."""
        return self.role == "driver" and self.job_id is not None and self._sessions.has_ended(self.job_id)


class Sessions(Manager):
    """Accepts streams, registers their processes, hands each message to the manager that asked for its kind."""

    def __init__(self, node_id: bytes, node_address: Callable[[], str]) -> None:
        self._node_id = node_id
        self._node_address = node_address
        self.handlers: dict[int, Handler] = {messages.REGISTER: self._on_register}
        self.by_process: dict[bytes, Session] = {}
        self.jobs: dict[bytes, dict[str, Any]] = {}
        """What a worker must know of a job before its first task: `sys_path`, `namespace`."""
        self.on_registered: list[Callable[[Session], None]] = []
        self.on_lost: list[Callable[[Session], None]] = []
        self._all: dict[Session, None] = {}
        self._arena: tuple[str, int, int, str] = ("", 0, 0, "")
        self._ended_jobs: Remembered[bytes, None] = Remembered(_ENDED_JOBS_KEPT)
        """The latest: news of a job's end may overtake what was sent for it."""
        self.streams = {"/asyncray.Node/Session": self._accept}

    def welcome_with(self, arena: SharedMemory) -> None:
        """What a process is told when it registers."""
        self._arena = (arena.path, arena.capacity, arena.overflow, arena.overflow_path)

    def broadcast(self, *message: Any) -> None:
        """To all processes that have registered."""
        for session in self.by_process.values():
            session.send(*message)

    def end_job(self, job_id: bytes) -> None:
        """Forgets the job. A driver that is still there has lost the control plane, and with it its job."""
        self.jobs.pop(job_id, None)
        self._ended_jobs[job_id] = None
        for session in list(self.by_process.values()):
            if session.job_id == job_id and session.role == "driver":
                session.stream.close(ConnectionFailed(_JOB_IS_OVER))

    def has_ended(self, job_id: bytes) -> bool:
        """Whether the control plane has said so."""
        return job_id in self._ended_jobs

    async def stop(self) -> None:
        for session in list(self._all):
            session.stream.close()

    def closed(self, session: Session, error: Exception | None) -> None:
        self._all.pop(session, None)
        if self.by_process.get(session.process_id) is not session:
            return
        del self.by_process[session.process_id]
        if session.role == "driver" and session.job_id is not None and not session.left:
            self.jobs.pop(session.job_id, None)  # its job may not have begun: then nobody will say that it has ended
        _log.debug("%r ended: %s", session, error)
        for callback in self.on_lost:
            callback(session)

    def _accept(self, stream: FrameStream) -> Session:
        session = Session(self, stream)
        self._all[session] = None
        return session

    def _on_register(self, session: Session, pid: int, job_id: bytes | None, job: dict[str, Any]) -> None:
        session.pid, session.job_id = pid, job_id
        previous = self.by_process.get(session.process_id)
        if previous is not None:
            previous.stream.close(ProtocolError("the process registered again on another stream"))
            previous.ended_here = True
            self.closed(previous, None)
        self.by_process[session.process_id] = session
        if job_id is not None and self.has_ended(job_id):
            session.stream.close(ConnectionFailed(_JOB_IS_OVER))
            return
        if job_id is not None:
            self.jobs[job_id] = job
        session.send(messages.WELCOME, self._node_id, self._node_address(), *self._arena)
        for callback in self.on_registered:
            callback(session)
