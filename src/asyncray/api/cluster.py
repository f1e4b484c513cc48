"""Joining and leaving a cluster, and what it consists of."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from asyncray.api.connection import Connection, disconnect, require_runtime
from asyncray.worker import current


def init(
    address: str | None = None,
    *,
    num_cpus: float | None = None,
    num_gpus: float | None = None,
    memory: int | None = None,
    object_store_memory: int | None = None,
    object_spilling_directory: str | Sequence[str] = (),
    resources: Mapping[str, float] | None = None,
    labels: Mapping[str, str] | None = None,
    namespace: str = "",
    token: str | None = None,
    log_to_driver: bool = True,
    ignore_reinit_error: bool = False,
) -> Connection:
    """Connects this process, on the running loop: `await init()`, or `async with init():`.

    Without an address (and without `ASYNCRAY_ADDRESS`) it starts a cluster of its own, which ends with this
    process. `address` is the `host:port` of a cluster that has a node on this machine, or `auto` for the one
    that runs here. `memory` and `object_store_memory` are bytes. Objects that do not fit into the store's memory go to
    `object_spilling_directory`: paths or fsspec URLs, by default the session's folder.
    What workers print appears on this process's own output, unless `log_to_driver` is False.

    Raises ConnectionFailed, AuthenticationError, and ValueError for settings of a cluster that exists already.
    """
    address = address or os.environ.get("ASYNCRAY_ADDRESS") or None
    if isinstance(object_spilling_directory, str):
        object_spilling_directory = [object_spilling_directory]
    settings = {
        "num_cpus": num_cpus,
        "num_gpus": num_gpus,
        "memory": memory,
        "object_store_memory": object_store_memory,
        "object_spilling_directory": list(object_spilling_directory),
        "resources": dict(resources or {}),
        "labels": dict(labels or {}),
    }
    if address is not None:
        given = sorted(name for name, value in settings.items() if value)
        if given:
            raise ValueError(f"{', '.join(given)} can only be set for a new cluster, not for the one at {address}")
    connection = Connection(address, token, namespace, settings, log_to_driver=log_to_driver)
    if ignore_reinit_error and current.get_runtime() is not None:
        connection.reuse(require_runtime())
    return connection


async def shutdown() -> None:
    """Leaves the cluster; one that `init` started ends. Nothing happens when there is none."""
    await disconnect()


def is_initialized() -> bool:
    return current.get_runtime() is not None


async def nodes() -> list[dict[str, Any]]:
    """The nodes of the cluster, dead ones included, as dictionaries with Ray's keys."""
    from asyncray.proto import Empty

    stub = await require_runtime().control.stub()
    reply = await stub.list_nodes(Empty())
    return [
        {
            "NodeID": node.node_id.hex(),
            "Alive": node.alive,
            "NodeManagerAddress": node.address.rpartition(":")[0],
            "NodeManagerPort": int(node.address.rpartition(":")[2] or 0),
            "NodeManagerHostname": node.hostname,
            "Resources": dict(node.total) if node.alive else {},
            "Available": dict(node.available) if node.alive else {},
            "Labels": dict(node.labels),
            "IsHead": node.head,
            "DeathCause": node.death_cause,
        }
        for node in reply.nodes
    ]


async def cluster_resources() -> dict[str, float]:
    """Total resources of all live nodes by name; memory in bytes."""
    return _sum([node["Resources"] for node in await nodes()])


async def available_resources() -> dict[str, float]:
    """What of them is free (a tenth of a second old at most)."""
    return {name: amount for name, amount in _sum([node["Available"] for node in await nodes()]).items() if amount}


def _sum(amounts: list[dict[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for entry in amounts:
        for name, amount in entry.items():
            total[name] = total.get(name, 0.0) + amount
    return total
