"""How a driver gets its runtime: `init`, or the first `.remote()` without one."""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import sys
from collections.abc import Generator
from types import TracebackType
from typing import Any

from asyncray.api.child_daemon import ChildDaemon
from asyncray.config import DEFAULT
from asyncray.errors import AsyncrayError, ConnectionFailed
from asyncray.platform import Platform
from asyncray.rpc.network import GrpcNetwork
from asyncray.session import SessionInfo, find_session, tls_config
from asyncray.worker import current
from asyncray.worker.runtime import Job, Membership, Runtime

_log = logging.getLogger(__name__)

_cluster_of: dict[Runtime, ChildDaemon] = {}


class Connection:
    """What `init` returns: await it, or use it with `async with`."""

    def __init__(
        self, address: str | None, token: str | None, namespace: str, settings: dict[str, Any], *, log_to_driver: bool
    ) -> None:
        self._address = address
        self._log_to_driver = log_to_driver
        self._token = token
        self._namespace = namespace
        self._settings = settings
        self._runtime: Runtime | None = None

    def __await__(self) -> Generator[Any, None, Connection]:
        return self._connect().__await__()

    async def __aenter__(self) -> Connection:
        return await self._connect()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await disconnect()

    @property
    def address(self) -> str:
        """`host:port` of the cluster's control plane, for `asyncray node --address` and other drivers."""
        assert self._runtime is not None
        return str(self._runtime.job["address"])

    async def _connect(self) -> Connection:
        if self._runtime is not None:
            return self
        existing = current.get_runtime()
        if existing is not None and existing.loop.is_closed():
            await disconnect()
        _check_not_connected()
        if (surroundings := current.simulated.get()) is not None:
            await self._start(surroundings.new_driver(self._namespace, self._settings))
            return self
        if self._address is not None:
            info = _find(self._address)
            await self._join(info, self._token or _read_token(info))
            return self
        cluster = ChildDaemon(self._settings, "the embedded cluster")
        _import_the_rest()
        try:
            info = await cluster.started()
            _check_not_connected()  # another task may have connected meanwhile
            runtime = await self._join(info, info.token())
        except BaseException:
            await cluster.stop()
            raise
        _cluster_of[runtime] = cluster
        return self

    def reuse(self, runtime: Runtime) -> None:
        """Stands for a connection that exists already."""
        self._runtime = runtime

    def connect_soon(self) -> Runtime:
        """For `.remote()` without `init`, on a running loop: starts the cluster, and joins it in the background."""
        if (surroundings := current.simulated.get()) is not None:
            return self._start_soon(surroundings.new_driver(self._namespace, self._settings))
        cluster = ChildDaemon(self._settings, "the embedded cluster")
        _import_the_rest()
        try:
            info = cluster.started_blocking()
        except BaseException:
            cluster.stop_soon()
            raise
        runtime = self._start_soon(self._new_runtime(info, info.token()))
        _cluster_of[runtime] = cluster
        return runtime

    async def _join(self, info: SessionInfo, token: str) -> Runtime:
        return await self._start(self._new_runtime(info, token))

    async def _start(self, runtime: Runtime) -> Runtime:
        self._use(runtime)
        try:
            await runtime.start()
        except BaseException:
            current.set_runtime(None)
            raise
        return runtime

    def _start_soon(self, runtime: Runtime) -> Runtime:
        self._use(runtime)
        runtime.spawn(runtime.start(), name="join cluster").add_done_callback(_report_failure)
        return runtime

    def _use(self, runtime: Runtime) -> None:
        self._runtime = runtime
        runtime.log_to_driver = self._log_to_driver
        current.set_runtime(runtime)

    def _new_runtime(self, info: SessionInfo, token: str) -> Runtime:
        platform = Platform(GrpcNetwork(token, DEFAULT, tls_config(info.tls)))
        membership = Membership(
            node_target=info.node_target,
            control_target=info.control_target,
            node_id=bytes.fromhex(info.node_id),
            socket_dir=info.socket_dir,
            host=info.host,
        )
        information = {
            "sys_path": [path or os.getcwd() for path in sys.path],
            "namespace": self._namespace or os.urandom(8).hex(),
            "pid": os.getpid(),
            "entrypoint": " ".join(sys.argv),
            "address": info.address,
        }
        job = Job(platform.entropy(4), information)
        return Runtime(platform, DEFAULT, membership, "driver", platform.entropy(16), job)


def _check_not_connected() -> None:
    if current.get_runtime() is not None:
        raise AsyncrayError("asyncray is initialised already: call shutdown() first, or init(ignore_reinit_error=True)")


async def disconnect() -> None:
    """Leaves the cluster; an embedded one ends."""
    runtime = current.get_runtime()
    if runtime is None:
        return
    if runtime.executor is not None:
        raise AsyncrayError("shutdown() is for drivers: a task or an actor cannot leave its cluster")
    if not runtime.loop.is_closed():
        try:
            await runtime.stop()
        finally:
            cluster = _cluster_of.pop(runtime, None)
            if cluster is not None:
                await cluster.stop()
        return
    cluster = _abandon(runtime)
    if cluster is not None:
        await cluster.stop()


def _abandon(runtime: Runtime) -> ChildDaemon | None:
    """Its loop was closed without `shutdown`: nothing can be told to anybody any more. Returns its cluster."""
    runtime.stopping = True
    current.set_runtime(None)
    return _cluster_of.pop(runtime, None)


def require_runtime() -> Runtime:
    """The current runtime. Without one, an embedded cluster is started, as Ray does."""
    runtime = current.get_runtime()
    if runtime is not None:
        if not runtime.loop.is_closed():
            return runtime
        cluster = _abandon(runtime)
        if cluster is not None:
            cluster.stop_soon()
    if current.was_forked():
        raise AsyncrayError(
            "this process was forked from one that uses asyncray, whose connections it cannot use:"
            " call asyncray.init(address=...) here, or start the process by another method (spawn)"
        )
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        from asyncray import sync

        sync.init()
        runtime = current.get_runtime()
        assert runtime is not None
        return runtime
    return Connection(None, None, "", {}, log_to_driver=True).connect_soon()


def _import_the_rest() -> None:
    """What takes 80 ms and is needed only now: imported while the daemon starts, instead of with the package.

    That is why what uses `asyncray.proto` in a driver imports it where it does.
    """
    for module in ("asyncray.proto", "asyncray.rpc.channel", "asyncray.rpc.listener"):
        importlib.import_module(module)


def _report_failure(start: asyncio.Task[None]) -> None:
    if not start.cancelled() and start.exception() is not None:
        _log.error("cannot join the cluster that was started: %s", start.exception())


def _find(address: str) -> SessionInfo:
    if address != "auto" and not _is_endpoint(address):
        raise AsyncrayError(f"address {address!r} is neither 'auto' nor host:port")
    info = find_session(address)
    if info is not None:
        return info
    if address == "auto":
        raise ConnectionFailed("no cluster runs on this machine: start one with `asyncray node --head`")
    raise ConnectionFailed(
        f"no node of a cluster at {address} runs on this machine: start one with"
        f" `asyncray node --address {address}`, or check the address"
    )


def _is_endpoint(address: str) -> bool:
    host, _, port = address.rpartition(":")
    return bool(host) and port.isdigit()


def _read_token(info: SessionInfo) -> str:
    return os.environ.get("ASYNCRAY_TOKEN") or info.token()
