"""The processes that serve a cluster: composes control plane, node manager and zygote.

`python -m asyncray.daemon SETTINGS` (JSON; `-` reads them from standard input) is what `asyncray.init()` starts; the
command line calls `run_daemon`.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import uvloop

from asyncray import session
from asyncray.config import DEFAULT
from asyncray.control.service import ControlPlane
from asyncray.errors import AsyncrayError
from asyncray.ids import NodeId
from asyncray.logs import structured_handler
from asyncray.node.control_link import NodeIdentity
from asyncray.node.launcher import ZygoteLauncher
from asyncray.node.machine import detect_resources
from asyncray.node.service import NodeManager, NodeSettings
from asyncray.node.zygote import Zygote
from asyncray.platform import Platform
from asyncray.rpc.network import GrpcNetwork
from asyncray.rpc.service import Service
from asyncray.session import SessionInfo
from asyncray.store import spill_places
from asyncray.store.arena_place import ArenaPlace
from asyncray.store.tcp_bulk import TcpBulk
from asyncray.worker import main as worker_main

_log = logging.getLogger(__name__)

_PRELOADED = ("asyncray.rpc.channel", "asyncray.rpc.listener", "asyncray.sync", "encodings.idna")


@dataclass(slots=True)
class DaemonSettings:
    """What a daemon is to be. Amounts as users give them: cores, bytes."""

    role: str = "head"
    """`head` (control plane and node), `node`, or `control`."""
    address: str = ""
    """The control plane to join, for `node`."""
    host: str = "127.0.0.1"
    port: int = 0
    """TCP port of the control plane (`head`, `control`); 0 picks a free one."""
    node_port: int = 0
    token: str = ""
    num_cpus: float | None = None
    num_gpus: float | None = None
    memory: int | None = None
    object_store_memory: int | None = None
    object_spilling_directory: list[str] = field(default_factory=list)
    """Directories, or fsspec URLs, for objects that do not fit into memory; none: in the session directory."""
    memory_threshold: float | None = None
    """Share of the machine's memory above which workers are ended; 0: never; None: as the environment says."""
    arena_dir: str = field(default_factory=lambda: os.environ.get("ASYNCRAY_ARENA_DIR", ""))
    """Where the object store's file is to be; empty for memory."""
    resources: dict[str, float] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    tls_cert: str = ""
    tls_key: str = ""
    tls_ca: str = ""
    log_level: str = "INFO"
    ready_fd: int = -1
    """Where the JSON of the `SessionInfo`, or of an error, is written once the daemon serves."""
    lifeline_fd: int = -1
    """When this pipe ends, so does the daemon: it belongs to one driver."""

    def tls_files(self) -> tuple[str, ...]:
        """Certificate, key, authority (may be empty), as every process of the node can open them."""
        if not self.tls_cert:
            return ()
        return tuple(os.path.abspath(file) if file else "" for file in (self.tls_cert, self.tls_key, self.tls_ca))


def run_daemon(settings: DaemonSettings, on_ready: Callable[[SessionInfo], None] | None = None) -> int:
    """Serves until a signal, or the end of the lifeline. Raises AsyncrayError when it cannot start.

    Must be called in a process without threads, before any event loop: it forks the zygote. Returns the exit
    status, in the daemon as in every process that it forks.
    """
    settings.token = settings.token or secrets.token_urlsafe(32)
    directory = session.create_session(settings.token)
    try:
        spilled = spill_places.own_folders(settings.object_spilling_directory, str(directory))
        zygote = None
        if settings.role != "control":
            zygote, specification = _fork_zygote([str(directory), *spill_places.local(spilled)], settings)
            if zygote is None:
                _run_forked(specification)
        daemon = _Daemon(settings, directory, spilled, zygote, on_ready)
        return daemon.run()
    finally:
        session.remove_session(str(directory))


def _run_forked(specification: dict[str, Any] | None) -> NoReturn:
    """The end of a process that the daemon forked: the zygote itself, or one of its workers."""
    code = 1
    try:
        code = worker_main.run(specification) if specification is not None else 0
    except BaseException:
        _log.exception("a forked process failed")
    finally:  # never back into the daemon's own frames, whose state is not this process's
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


def _fork_zygote(leftovers: list[str], settings: DaemonSettings) -> tuple[socket.socket | None, dict[str, Any] | None]:
    """In the daemon: the socket to the zygote. In a forked process: None, and the worker to be, if any."""
    _preload()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork():
        theirs.close()
        return ours, None
    ours.close()
    os.setsid()
    for descriptor in (settings.ready_fd, settings.lifeline_fd):
        if descriptor >= 0:
            os.close(descriptor)
    return None, Zygote(theirs, leftovers).serve()


def _preload() -> None:
    """Imports what every worker needs: once in the zygote, instead of 15 ms in each."""
    for module in _PRELOADED:
        importlib.import_module(module)


class _Daemon:
    """One daemon process: its services, from the first to the last."""

    def __init__(
        self,
        settings: DaemonSettings,
        directory: Path,
        spilled: tuple[str, ...],
        zygote: socket.socket | None,
        on_ready: Callable[[SessionInfo], None] | None,
    ) -> None:
        self._settings = settings
        self._directory = directory
        self._spilled = spilled
        self._zygote = zygote
        self._on_ready = on_ready
        self._services: list[Service] = []
        self._notices: list[str] = []

    def run(self) -> int:
        self._configure_logging()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(self._serve())

    async def _serve(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, signal.Signals(number).name)
        if self._settings.lifeline_fd >= 0:
            loop.add_reader(self._settings.lifeline_fd, self._stop, "its driver has ended")
        try:
            await self._start_services()
        except BaseExceptionGroup as group:
            failure = _first_leaf(group)
            if not isinstance(failure, AsyncrayError):
                raise
            raise failure from None
        return 0

    async def _start_services(self) -> None:
        settings = self._settings
        tls = session.tls_config(settings.tls_files())
        network = GrpcNetwork(settings.token, DEFAULT, tls)
        bulk = TcpBulk(settings.token, DEFAULT, tls)
        platform = Platform(network, bulk=bulk, arenas=ArenaPlace(str(self._directory), self._warn, settings.arena_dir))
        async with asyncio.TaskGroup() as group:
            control_target = address = settings.address
            if settings.role != "node":
                control = ControlPlane(
                    network, host=settings.host, port=settings.port, unix_path=str(self._directory / "s" / "control")
                )
                await self._launch(group, control)
                address = f"{settings.host}:{control.port}"
                control_target = f"unix:{self._directory}/s/control"
            info = SessionInfo(
                directory=str(self._directory),
                role=settings.role,
                pid=os.getpid(),
                address=address,
                control_target=control_target,
                node_target="",
                node_id="",
                embedded=settings.lifeline_fd >= 0,
                host=settings.host,
                tls=settings.tls_files(),
            )
            if settings.role != "control":
                info = await self._start_node(group, platform, info)
            session.publish(info)
            self._announce(info)

    async def _start_node(self, group: asyncio.TaskGroup, platform: Platform, info: SessionInfo) -> SessionInfo:
        settings = self._settings
        node_id = NodeId(platform.entropy(16))
        node_target = f"unix:{self._directory}/s/node"
        hostname = socket.gethostname()
        identity = NodeIdentity(
            node_id, hostname, os.getpid(), str(self._directory), settings.labels, settings.role == "head"
        )
        resources = detect_resources(
            settings.num_cpus,
            settings.num_gpus,
            settings.memory,
            settings.object_store_memory,
            settings.resources,
            host=platform.memory,
            store_on_disk=bool(settings.arena_dir),
            warn=self._warn,
        )
        specification = {
            "node_target": node_target,
            "control_target": info.control_target,
            "node_id": node_id,
            "socket_dir": info.socket_dir,
            "host": settings.host,
            "node_name": hostname,
            "token": settings.token,
            "tls": settings.tls_files(),
            "log_dir": f"{self._directory}/logs",
        }
        assert self._zygote is not None
        launcher = ZygoteLauncher(self._zygote, self._restart_zygote, info.socket_dir)
        node = NodeManager(
            NodeSettings(
                identity=identity,
                resources=resources,
                control_target=info.control_target,
                unix_path=node_target.removeprefix("unix:"),
                host=settings.host,
                port=settings.node_port,
                worker_specification=specification,
                spill_directories=self._spilled,
                memory_threshold=_memory_threshold(settings.memory_threshold, os.environ),
                notices=self._notices,
            ),
            platform,
            launcher,
            DEFAULT,
        )
        serving = await self._launch(group, node)
        await asyncio.wait((node.control.registered, serving), return_when=asyncio.FIRST_COMPLETED)
        return replace(info, node_target=node_target, node_id=node_id.hex())

    async def _launch(self, group: asyncio.TaskGroup, service: Service) -> asyncio.Task[None]:
        """Starts a service in the group; returns once it serves. The task is its whole life."""
        ready = asyncio.get_running_loop().create_future()
        self._services.append(service)
        task = group.create_task(service.serve(on_ready=lambda: ready.set_result(None)), name=service.name)
        await asyncio.wait((ready, task), return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            await task
        return task

    def _warn(self, text: str) -> None:
        """Something is not as the user would want it: drivers show it."""
        _log.warning(text)
        self._notices.append(text)

    def _stop(self, reason: str) -> None:
        if self._settings.lifeline_fd >= 0:
            asyncio.get_running_loop().remove_reader(self._settings.lifeline_fd)
        _log.info("stopping: %s", reason)
        for service in reversed(self._services):
            service.request_stop(reason)

    def _announce(self, info: SessionInfo) -> None:
        if self._settings.ready_fd >= 0:
            report(self._settings.ready_fd, {"directory": info.directory})
            self._settings.ready_fd = -1  # whatever fails from now on is told otherwise
        if self._on_ready is not None:
            self._on_ready(info)

    def _restart_zygote(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", "asyncray.daemon", "--zygote", str(theirs.fileno()), str(self._directory)]
        command += spill_places.local(self._spilled)
        subprocess.Popen(command, pass_fds=[theirs.fileno()], start_new_session=True)
        theirs.close()
        return ours

    def _configure_logging(self) -> None:
        role = self._settings.role
        handler = structured_handler(str(self._directory / "logs" / f"{role}.log"), role)
        logging.basicConfig(level=self._settings.log_level, handlers=[handler], force=True)


def _memory_threshold(given: float | None, environment: Mapping[str, str]) -> float:
    """What was given, else what ASYNCRAY_MEMORY_THRESHOLD says, else the default. Raises AsyncrayError."""
    if given is not None:
        return given
    text = environment.get("ASYNCRAY_MEMORY_THRESHOLD") or str(DEFAULT.memory_threshold)
    try:
        threshold = float(text)
    except ValueError:
        threshold = -1.0
    if not 0 <= threshold <= 1:
        raise AsyncrayError(
            f"ASYNCRAY_MEMORY_THRESHOLD is a share of the memory, from 0 (do not watch it) to 1, not {text!r}"
        )
    return threshold


def report(descriptor: int, message: dict[str, Any]) -> None:
    """Tells whoever started the daemon how that went."""
    os.write(descriptor, json.dumps(message).encode())
    os.close(descriptor)


def _first_leaf(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def main() -> int:
    """Entry of `python -m asyncray.daemon`."""
    if sys.argv[1] == "--zygote":
        control = socket.socket(fileno=int(sys.argv[2]))
        _preload()
        _run_forked(Zygote(control, sys.argv[3:]).serve())
    settings = DaemonSettings(**json.loads(sys.stdin.read() if sys.argv[1] == "-" else sys.argv[1]))
    try:
        return run_daemon(settings)
    except AsyncrayError as error:
        if settings.ready_fd >= 0:
            report(settings.ready_fd, {"error": str(error)})
        else:
            print(f"asyncray: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
