"""`Cluster`: a control plane and nodes, each of processes of its own, on this machine."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import psutil

from asyncray.api.connection import disconnect
from asyncray.cli.local_cluster import TOKEN_VARIABLE
from asyncray.session import SessionInfo
from asyncray.testing.daemon_family import DaemonFamily
from asyncray.worker import current

_log = logging.getLogger(__name__)

_STORE: Final = 1024 * 1024 * 1024


class Node:
    """A node of a Cluster."""

    def __init__(self, family: DaemonFamily, info: SessionInfo) -> None:
        self._family = family
        self._info = info

    @property
    def node_id(self) -> str:
        """In hexadecimal, as `get_runtime_context().get_node_id()` and `nodes()` have it."""
        return self._info.node_id

    @property
    def pid(self) -> int:
        """The node manager's."""
        return self._family.pid

    @property
    def directory(self) -> Path:
        """Where it keeps its files while it lives: `logs/`, for one."""
        return Path(self._info.directory)

    def workers(self) -> list[psutil.Process]:
        """The processes that run its tasks and actors, or are about to."""
        return self._family.workers()

    def output(self) -> str:
        """What the node manager has printed."""
        return self._family.output()

    def __repr__(self) -> str:
        return f"<Node {self.node_id[:12]} of pid {self.pid}>"


class Cluster:
    """Real processes on this machine, which share no more than those of several machines do.

        async with Cluster() as cluster:
            node = await cluster.add_node(num_cpus=2)
            async with asyncray.init(address=cluster.address):
                ...
            await cluster.kill_node(node)

    Nodes have an object store and a session directory each, and reach each other by TCP. At the end of the block all
    of it ends, and also when this process does, however that comes. Programs must have left by then; the one of this
    loop is disconnected if it has not. A driver joins the oldest node.
    """

    def __init__(self, *, tls_cert: str = "", tls_key: str = "", tls_ca: str = "") -> None:
        """With `tls_...`, files in PEM, all TCP is by TLS: certificate, key, and who has signed those of the others."""
        self.nodes: list[Node] = []
        """Those that were neither removed nor killed, oldest first."""
        self._tls = {"tls_cert": tls_cert, "tls_key": tls_key, "tls_ca": tls_ca}
        self._token = os.environ.get(TOKEN_VARIABLE) or secrets.token_urlsafe(32)
        self._control: DaemonFamily | None = None
        self._control_info: SessionInfo | None = None

    @property
    def address(self) -> str:
        """`host:port` of the control plane, for `init(address=...)`."""
        return self._started().address

    def _started(self) -> SessionInfo:
        if self._control_info is None:
            raise RuntimeError("the cluster has not been started: use it as `async with Cluster() as cluster`")
        return self._control_info

    async def __aenter__(self) -> Cluster:
        self._control, self._control_info = await self._start({"role": "control"}, "the control plane")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self._disconnect()
        finally:
            try:
                nodes, self.nodes = self.nodes, []
                await _all([self._stop(node) for node in nodes])
            finally:
                if self._control is not None:
                    await self._control.stop()
                    self._control = None

    async def _disconnect(self) -> None:
        runtime = current.get_runtime()
        if runtime is None or runtime.loop is not asyncio.get_running_loop():
            return
        if runtime.role == "driver" and runtime.job.get("address") == self.address:
            await disconnect()

    async def add_node(
        self,
        num_cpus: float = 1,
        *,
        num_gpus: float = 0,
        memory: int | None = None,
        resources: Mapping[str, float] | None = None,
        labels: Mapping[str, str] | None = None,
        object_store_memory: int = _STORE,
    ) -> Node:
        """A new node. Returns when it has joined; other nodes learn of it within a tenth of a second.

        Raises AsyncrayError, with the reason, when it cannot start.
        """
        settings = {
            "role": "node",
            "address": self.address,
            "num_cpus": num_cpus,
            "num_gpus": num_gpus,
            "memory": memory,
            "resources": dict(resources or {}),
            "labels": dict(labels or {}),
            "object_store_memory": object_store_memory,
        }
        node = Node(*await self._start(settings, "the node"))
        self.nodes.append(node)
        return node

    async def remove_node(self, node: Node) -> None:
        """Stops a node in order, as SIGTERM would. Returns when it has ended."""
        self.nodes.remove(node)
        await self._stop(node)

    async def kill_node(self, node: Node) -> None:
        """SIGKILL to all of a node: its manager, its zygote, its workers. Returns when they have ended."""
        self.nodes.remove(node)
        await node._family.kill(node._info.directory)

    async def kill_control(self) -> None:
        """SIGKILL to the control plane. Returns when it has ended. Its nodes end, each as soon as it notices."""
        if self._control is None:
            raise RuntimeError("the control plane does not run")
        control, self._control = self._control, None
        await control.kill(self._started().directory)

    async def restart_control(self) -> None:
        """Starts another control plane, with the address of the one that was killed, and nothing of what it knew.

        Returns when it serves. Nodes and jobs of before do not come back: the nodes have ended by then.
        """
        before = self._started()
        if self._control is not None:
            raise RuntimeError("the control plane still runs")
        nodes, self.nodes = self.nodes, []
        await _all([self._stop(node) for node in nodes])
        settings = {"role": "control", "port": int(before.address.rpartition(":")[2])}
        self._control, self._control_info = await self._start(settings, "the control plane")

    async def _start(self, settings: dict[str, Any], name: str) -> tuple[DaemonFamily, SessionInfo]:
        family = DaemonFamily({**settings, **self._tls, "token": self._token}, name)
        return family, await family.started()

    async def _stop(self, node: Node) -> None:
        if node._family.has_ended() and self._control is not None:
            _log.error("%r had ended before it was stopped. It had printed:\n%s", node, node.output())
        await node._family.stop()


async def _all(coroutines: list[Any]) -> None:
    """Waits for all of them, whichever fail."""
    for outcome in await asyncio.gather(*coroutines, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
