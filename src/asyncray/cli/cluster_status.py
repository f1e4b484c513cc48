"""What a cluster says of itself, gathered from its control plane and its nodes by unary calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from asyncray.cli.local_cluster import find_token, sessions_at
from asyncray.errors import AsyncrayError
from asyncray.proto import ControlStub, Empty, NodeInfo, NodeStatus, NodeStub
from asyncray.rpc.network import Channel, GrpcNetwork
from asyncray.rpc.tls import TlsConfig
from asyncray.session import running_sessions, tls_config

CALL_TIMEOUT: Final = 5.0
"""Seconds that a daemon may take to answer."""


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """Plain data, as `--format json` prints it. Amounts are cores and bytes, ids hexadecimal."""

    address: str
    resources: dict[str, dict[str, float]]
    """`total` and `used` of all live nodes together, by name."""
    nodes: list[dict[str, Any]]
    actors: list[dict[str, Any]]
    jobs: list[dict[str, Any]]


async def gather_status(address: str, token_file: str | None, tls: TlsConfig | None) -> ClusterStatus:
    """Asks the cluster at `address`. A node that does not answer is listed with the reason.

    Raises ConnectionFailed, AuthenticationError, AsyncrayError.
    """
    network, channel, control = await open_control(address, token_file, tls)
    try:
        try:
            async with asyncio.timeout(CALL_TIMEOUT):
                nodes = (await control.list_nodes(Empty())).nodes
                actors = (await control.list_actors(Empty())).actors
                jobs = (await control.list_jobs(Empty())).jobs
        except TimeoutError:
            raise AsyncrayError(f"the control plane at {address} did not answer within {CALL_TIMEOUT:g} s") from None
    finally:
        channel.close()
    answers = await asyncio.gather(*(_ask_node(network, node) for node in nodes))
    return ClusterStatus(
        address=address,
        resources=_sum([node for node in nodes if node.alive]),
        nodes=[_node(node, answer) for node, answer in zip(nodes, answers, strict=True)],
        actors=[
            {
                "actor_id": actor.actor_id.hex(),
                "class": actor.class_name,
                "name": actor.name,
                "namespace": actor.namespace,
                "state": actor.state,
                "pid": actor.pid,
                "node_id": actor.node_id.hex(),
                "job_id": actor.job_id.hex(),
                "death_cause": actor.death_cause,
            }
            for actor in actors
        ],
        jobs=[
            {
                "job_id": job.job_id.hex(),
                "alive": job.alive,
                "pid": job.driver_pid,
                "started": job.started,
                "entrypoint": job.entrypoint,
            }
            for job in jobs
        ],
    )


async def open_control(
    address: str, token_file: str | None, tls: TlsConfig | None
) -> tuple[GrpcNetwork, Channel, ControlStub]:
    """The control plane at `address`, on a channel which the caller closes.

    Raises ConnectionFailed, AuthenticationError.
    """
    local = sessions_at(address)
    known = next((tls_config(info.tls) for info in local), None)
    network = GrpcNetwork(find_token(address, token_file), tls=tls or known)
    # On its own machine the control plane has a Unix socket, which needs no TLS.
    target = next((info.control_target for info in local if info.role != "node"), address)
    channel = await network.connect(target, timeout=CALL_TIMEOUT)
    return network, channel, channel.stub(ControlStub)


@asynccontextmanager
async def reach_node(network: GrpcNetwork, node: NodeInfo) -> AsyncIterator[NodeStub]:
    """A node's service, while the context lasts. Raises ConnectionFailed, AuthenticationError."""
    local = {info.directory: info.node_target for info in running_sessions()}
    channel = await network.connect(local.get(node.session_dir, node.address), timeout=CALL_TIMEOUT)
    try:
        yield channel.stub(NodeStub)
    finally:
        channel.close()


async def _ask_node(network: GrpcNetwork, node: NodeInfo) -> NodeStatus | str:
    """What the node itself knows; else why there is no answer."""
    if not node.alive:
        return ""
    try:
        async with asyncio.timeout(CALL_TIMEOUT), reach_node(network, node) as stub:
            return await stub.status(Empty())
    except TimeoutError:
        return f"it did not answer within {CALL_TIMEOUT:g} s"
    except AsyncrayError as error:
        return str(error)


def _node(node: NodeInfo, answer: NodeStatus | str) -> dict[str, Any]:
    described: dict[str, Any] = {
        "node_id": node.node_id.hex(),
        "address": node.address,
        "hostname": node.hostname,
        "alive": node.alive,
        "head": node.head,
        "pid": node.pid,
        "labels": dict(node.labels),
        "total": dict(node.total),
        "used": _used(node) if node.alive else {},
        "death_cause": node.death_cause,
        "session_dir": node.session_dir,
    }
    if isinstance(answer, str):
        return {**described, "no_answer": answer} if answer else described
    return {
        **described,
        "workers": answer.workers,
        "idle_workers": answer.idle_workers,
        "leases": answer.leases,
        "queued_leases": answer.queued_leases,
        "object_store": {
            "capacity": answer.store_capacity,
            "used": answer.store_used,
            "objects": answer.store_objects,
            "pins": answer.pins,
            "overflow": answer.store_overflow_used,
            "spilled": answer.spilled_bytes,
            "spilled_objects": answer.spilled_objects,
            "spill_files": answer.spill_files,
            "restores": answer.restores,
        },
    }


def _used(node: NodeInfo) -> dict[str, float]:
    # Rounded to the unit of accounting: the difference of two floats is not exact.
    return {name: round(total - node.available.get(name, 0.0), 4) for name, total in node.total.items()}


def _sum(nodes: list[NodeInfo]) -> dict[str, dict[str, float]]:
    totals: dict[str, float] = {}
    used: dict[str, float] = {}
    for node in nodes:
        for amounts, summed in ((node.total, totals), (_used(node), used)):
            for name, amount in amounts.items():
                summed[name] = round(summed.get(name, 0.0) + amount, 4)
    return {"total": totals, "used": used}
