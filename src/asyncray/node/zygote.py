"""The zygote: a warm, single-threaded process that forks workers in milliseconds.

It talks to its node manager over one SOCK_SEQPACKET socket, a msgpack array per packet:

    node -> zygote   ["launch", process_id, specification]   ["kill", process_id]
    zygote -> node   ["exited", process_id, cause]

When the socket ends, the node manager is gone, however it went: the zygote kills what it forked, removes
the files that the node would have removed, and ends. When the zygote itself dies, the kernel kills its
workers (PR_SET_PDEATHSIG, which works because the forking thread is the zygote's only one).
"""

from __future__ import annotations

import ctypes
import gc
import os
import random
import select
import signal
import socket
from dataclasses import dataclass, field
from typing import Any, Final

import msgpack

from asyncray.session import remove_session

PACKET_LIMIT: Final = 1 << 20
_PR_SET_PDEATHSIG: Final = 1


def die_with_parent(parent: int) -> None:
    """The kernel ends this process with SIGKILL when its parent `parent` ends."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before prctl took effect
        os._exit(1)


def describe_exit(status: int) -> str:
    """What a person reads of a wait status: `killed by SIGSEGV`, `exit code 3`."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


@dataclass(slots=True)
class Zygote:
    """State of the fork server. `serve()` returns a specification in each forked worker, None in the zygote."""

    control: socket.socket
    leftovers: list[str] = field(default_factory=list)
    """Files and folders to remove when the node manager vanishes."""
    children: dict[int, bytes] = field(default_factory=dict)

    def serve(self) -> dict[str, Any] | None:
        wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        for ignored in (signal.SIGINT, signal.SIGTERM):
            signal.signal(ignored, signal.SIG_IGN)
        gc.collect()
        gc.freeze()  # what is shared stays shared: the collector of a child does not write to these pages
        poll = select.poll()
        poll.register(self.control.fileno(), select.POLLIN)
        poll.register(wake_read, select.POLLIN)
        while True:
            for descriptor, _ in poll.poll():
                if descriptor == wake_read:
                    os.read(wake_read, 4096)
                    self._reap()
                    continue
                packet = self._receive()
                if not packet:
                    self._abandon()
                    return None
                specification = self._obey(msgpack.unpackb(packet))
                if specification is not None:
                    os.close(wake_read)
                    os.close(wake_write)
                    return specification

    def _receive(self) -> bytes:
        try:
            return self.control.recv(PACKET_LIMIT)
        except ConnectionError:
            return b""

    def _obey(self, command: list[Any]) -> dict[str, Any] | None:
        """Carries out one command. Returns the specification in a new child."""
        if command[0] == "kill":
            for pid, process_id in self.children.items():
                if process_id == command[1]:
                    os.kill(pid, signal.SIGKILL)
            return None
        _, process_id, specification = command
        parent = os.getpid()
        pid = os.fork()
        if pid:
            self.children[pid] = process_id
            return None
        die_with_parent(parent)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        self.control.close()
        random.seed()
        return dict(specification)

    def _reap(self) -> None:
        while self.children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            process_id = self.children.pop(pid, None)
            if process_id is not None:
                try:
                    self.control.send(msgpack.packb(["exited", process_id, describe_exit(status)]))
                except OSError:
                    return  # the node is gone: poll() is about to say so

    def _abandon(self) -> None:
        for pid in self.children:
            os.kill(pid, signal.SIGKILL)
        for pid in self.children:
            os.waitpid(pid, 0)
        for path in self.leftovers:
            if os.path.isdir(path):
                remove_session(path)
            elif os.path.exists(path):
                os.unlink(path)
