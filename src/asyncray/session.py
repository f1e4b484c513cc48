"""Session directories: where the daemons of one machine keep sockets, logs, the token, and how to be found.

    <base>/asyncray-<uid>/<session>/     mode 0700, one per daemon
        session.json                     what `find` reads
        token                            mode 0600
        s/                               Unix sockets
        logs/

`<base>` is `ASYNCRAY_TMPDIR`, else the system's folder for temporary files.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from asyncray.errors import AsyncrayError
from asyncray.rpc.own_address import is_same
from asyncray.rpc.tls import TlsConfig

_CLOCK_ERROR: Final = 1.0
"""Seconds by which a process's start, counted in ticks since boot, may seem later than it was."""


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """What a running daemon tells the other processes of its machine."""

    directory: str
    role: str
    """`head`, `node` or `control`."""
    pid: int
    address: str
    """`host:port` of the cluster's control plane."""
    control_target: str
    """How processes of this machine reach the control plane: `unix:/path` on its own machine, else `host:port`."""
    node_target: str
    """`unix:/path` of the node manager; empty without one."""
    node_id: str
    """In hexadecimal."""
    embedded: bool
    """Belongs to the process that has started it: `auto` does not find it."""
    host: str = "127.0.0.1"
    tls: tuple[str, ...] = ()
    """Files for TCP, in PEM: certificate, key, authority (may be empty). No TLS when there are none."""

    @property
    def socket_dir(self) -> str:
        return f"{self.directory}/s"

    def token(self) -> str:
        return Path(self.directory, "token").read_text().strip()


def base_directory() -> Path:
    """The folder of this user's sessions."""
    base = os.environ.get("ASYNCRAY_TMPDIR") or tempfile.gettempdir()
    return Path(base) / f"asyncray-{os.getuid()}"


def create_session(token: str) -> Path:
    """A new session directory with its token. Sessions whose daemon is gone are removed on the way."""
    base = base_directory()
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    if base.stat().st_uid != os.getuid():
        raise AsyncrayError(f"{base} belongs to another user: set ASYNCRAY_TMPDIR to a folder of your own")
    running_sessions(remove_stale=True)
    directory = base / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    directory.mkdir(mode=0o700)
    for name in ("s", "logs"):
        (directory / name).mkdir(mode=0o700)
    write_private(directory / "token", token)
    return directory


def write_private(path: Path, text: str) -> None:
    """Creates a file of mode 0600, at once whole."""
    draft = path.with_suffix(".new")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    draft.rename(path)


def publish(info: SessionInfo) -> None:
    """Lets other processes of the machine find the daemon."""
    write_private(Path(info.directory, "session.json"), json.dumps(asdict(info)))


def remove_session(directory: str) -> None:
    """Removes the directory, and the user's base folder when it was the last."""
    shutil.rmtree(directory, ignore_errors=True)
    with contextlib.suppress(OSError):  # others are there
        base_directory().rmdir()


def running_sessions(*, remove_stale: bool = False) -> list[SessionInfo]:
    """The daemons of this user on this machine, newest first."""
    sessions = []
    base = base_directory()
    for path in sorted(base.glob("*/session.json")):
        try:
            info = SessionInfo(**json.loads(path.read_text()))
            written = path.stat().st_mtime
        except (OSError, ValueError, TypeError):
            continue
        if _is_running(info, written):
            sessions.append((written, info))
        elif remove_stale:
            shutil.rmtree(path.parent, ignore_errors=True)
    sessions.sort(key=lambda session: session[0], reverse=True)
    return [info for _, info in sessions]


def find_session(address: str) -> SessionInfo | None:
    """The daemon of this machine to join: `auto`, or the address of a cluster. None when there is none.

    Of several nodes of the cluster it is the head's, else the oldest. Raises AsyncrayError when `auto` is ambiguous.
    """
    candidates = [info for info in running_sessions() if info.node_target]
    if address == "auto":
        candidates = [info for info in candidates if not info.embedded]
        addresses = sorted({info.address for info in candidates})
        if len(addresses) > 1:
            raise AsyncrayError(f"several clusters run on this machine, name one: {', '.join(addresses)}")
    else:
        candidates = [info for info in candidates if is_same(address, info.address)]
    candidates.reverse()
    return min(candidates, key=lambda info: info.role != "head", default=None)


def tls_config(files: Sequence[str]) -> TlsConfig | None:
    """What `SessionInfo.tls` stands for."""
    if not files:
        return None
    certificate, key, authority = files
    return TlsConfig(certificate, key, authority or None)


def process_socket(socket_dir: str, process_id: bytes) -> str:
    """The path of the Unix socket on which a process listens for its peers."""
    return f"{socket_dir}/{process_id.hex()[:16]}"


def _is_running(info: SessionInfo, written: float) -> bool:
    """Whether the process is the one that wrote the session's file, and not another that got its number since."""
    import psutil  # takes 20 ms, which a program with a cluster of its own need not spend

    try:
        process = psutil.Process(info.pid)
        # A zombie runs no more; in a container it may be that nobody ever asks for its exit status.
        return process.create_time() < written + _CLOCK_ERROR and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
