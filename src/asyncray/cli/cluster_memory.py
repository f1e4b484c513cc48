"""Who holds which objects of a cluster, gathered from its nodes by unary calls."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import msgpack

from asyncray.cli.cluster_status import CALL_TIMEOUT, open_control, reach_node
from asyncray.errors import AsyncrayError
from asyncray.proto import Empty, MemoryRequest, NodeInfo, NodeMemory
from asyncray.rpc.network import GrpcNetwork
from asyncray.rpc.tls import TlsConfig

_PATIENCE: Final = 2.0
"""Seconds that a process may take to answer its node."""
_ROWS: Final = 10_000
"""Of each process and each store; the largest ones."""

PLACES: Final = ("", "arena", "overflow")
"""Where a node says that it has an object's bytes, apart from files."""

_Key = tuple[bytes, bytes]
"""An object and its owner."""


@dataclass(slots=True)
class ClusterMemory:
    """Plain data, as `--format json` prints it. Sizes are bytes, ids hexadecimal."""

    address: str
    nodes: list[dict[str, Any]]
    """The arena of each: what it has, what is in use; or why the node does not answer."""
    references: list[dict[str, Any]]
    """A row for each object that a process holds, and for each stored one that none does which answered."""
    silent: list[dict[str, Any]]
    """Processes that did not answer in time: their loops are blocked, and what they hold is not known."""
    left_out: int = 0
    """Rows that were too many to be gathered: small objects."""
    totals: dict[str, dict[str, int]] = field(default_factory=dict)
    """Objects and bytes by group."""


async def gather_memory(address: str, token_file: str | None, tls: TlsConfig | None) -> ClusterMemory:
    """Asks all nodes of the cluster at `address` at the same time.

    Raises ConnectionFailed, AuthenticationError, AsyncrayError.
    """
    network, channel, control = await open_control(address, token_file, tls)
    try:
        async with asyncio.timeout(CALL_TIMEOUT):
            nodes = [node for node in (await control.list_nodes(Empty())).nodes if node.alive]
    except TimeoutError:
        raise AsyncrayError(f"the control plane at {address} did not answer within {CALL_TIMEOUT:g} s") from None
    finally:
        channel.close()
    answers = await asyncio.gather(*(_ask(network, node) for node in nodes))
    return join_reports(address, list(zip(nodes, answers, strict=True)))


async def _ask(network: GrpcNetwork, node: NodeInfo) -> NodeMemory | str:
    """What the node reports; else why there is no answer."""
    try:
        async with asyncio.timeout(CALL_TIMEOUT + _PATIENCE), reach_node(network, node) as stub:
            return await stub.memory(MemoryRequest(rows=_ROWS, patience=_PATIENCE))
    except TimeoutError:
        return f"it did not answer within {CALL_TIMEOUT + _PATIENCE:g} s"
    except AsyncrayError as error:
        return str(error)


def join_reports(address: str, answers: Iterable[tuple[NodeInfo, NodeMemory | str]]) -> ClusterMemory:
    """Puts together what nodes and processes say of the same objects."""
    found = ClusterMemory(address, [], [], [])
    reports = []
    for node, answer in answers:
        found.nodes.append(_node(node, answer))
        if isinstance(answer, NodeMemory):
            reports.append(answer)
    processes = {process.process_id: (report, process) for report in reports for process in report.processes}
    stored: dict[_Key, list[dict[str, Any]]] = {}
    sizes: dict[_Key, int] = {}
    for report in reports:
        found.left_out += report.left_out
        for object_id, owner, size, primary, where, on_disk, pins in msgpack.unpackb(report.stored):
            sizes[object_id, owner] = size
            places = [f"{PLACES[where]} {'primary' if primary else 'copy'}"] if where else []
            places += ["spilled"] if on_disk else []
            copy = {"node_id": report.node_id.hex(), "where": places, "pins": pins}
            stored.setdefault((object_id, owner), []).append(copy)

    def describe(process_id: bytes) -> dict[str, Any]:
        if process_id not in processes:
            return {"process_id": process_id.hex(), "pid": 0, "node_id": "", "role": "", "name": ""}
        report, process = processes[process_id]
        described = {"process_id": process_id.hex(), "pid": process.pid, "node_id": report.node_id.hex()}
        return {**described, "role": process.role, "name": process.name}

    held: set[_Key] = set()
    for _, process in processes.values():
        if not process.answered:
            found.silent.append(describe(process.process_id))
        found.left_out += process.left_out
        for object_id, owner, size, where, types, call_site in msgpack.unpackb(process.references):
            held.add((object_id, owner))
            found.references.append(
                {
                    "object_id": object_id.hex(),
                    "size": size,
                    "state": where,
                    "copies": [],
                    "types": types,
                    "holder": describe(process.process_id),
                    "owner": describe(owner),
                    "call_site": call_site,
                }
            )
    _complete(found.references, stored, sizes)
    for key, copies in stored.items():
        if key not in held:
            object_id, owner = key
            found.references.append(
                {
                    "object_id": object_id.hex(),
                    "size": sizes[key],
                    "state": "store",
                    "copies": copies,
                    "types": [],
                    "holder": None,
                    "owner": describe(owner),
                    "call_site": "",
                }
            )
    return found


def _complete(rows: list[dict[str, Any]], stored: dict[_Key, list[dict[str, Any]]], sizes: dict[_Key, int]) -> None:
    """A process that has not read an object does not know what it is: stores and owners do."""
    own = {row["object_id"]: row for row in rows if row["holder"] == row["owner"]}
    for row in rows:
        key = bytes.fromhex(row["object_id"]), bytes.fromhex(row["owner"]["process_id"])
        owners = own.get(row["object_id"])
        if key in stored and row["state"] in ("pending", "store"):
            row["state"], row["size"], row["copies"] = "store", sizes[key], stored[key]
        elif row["state"] == "pending" and owners is not None and owners["owner"] == row["owner"]:
            row["state"], row["size"] = owners["state"], owners["size"]


def _node(node: NodeInfo, answer: NodeMemory | str) -> dict[str, Any]:
    described: dict[str, Any] = {"node_id": node.node_id.hex(), "hostname": node.hostname, "address": node.address}
    if isinstance(answer, str):
        return {**described, "no_answer": answer}
    return {
        **described,
        "capacity": answer.capacity,
        "used": answer.used,
        "pinned": answer.pinned,
        "objects": answer.objects,
        "spilled": answer.spilled,
        "spilled_objects": answer.spilled_objects,
        "overflow": answer.overflow_used,
        "fragmentation": round(answer.fragmentation, 4),
        "processes": len(answer.processes),
    }


def arrange(found: ClusterMemory, sort_by: str, group_by: str) -> None:
    """Sorts the rows, and adds up the groups."""
    keys = {
        "size": lambda row: (-row["size"], _pid(row)),
        "pid": lambda row: (_pid(row), -row["size"]),
        "type": lambda row: (row["types"][:1], -row["size"]),
    }
    found.references.sort(key=keys[sort_by])
    if group_by != "none":
        found.references.sort(key=lambda row: group_of(row, group_by))  # stable: sorted within each group
        for row in found.references:
            total = found.totals.setdefault(group_of(row, group_by), {"references": 0, "bytes": 0})
            total["references"] += 1
            total["bytes"] += row["size"]


def group_of(row: dict[str, Any], group_by: str) -> str:
    """By the node of whoever holds the object, or the line of code that it comes from."""
    if group_by == "call-site":
        return str(row["call_site"]) or "unknown: set ASYNCRAY_RECORD_CALL_SITES=1 before the program starts"
    if row["holder"] is not None:
        return f"node {row['holder']['node_id'][:8]}"
    return f"node {row['copies'][0]['node_id'][:8]}"


def _pid(row: dict[str, Any]) -> int:
    return row["holder"]["pid"] if row["holder"] is not None else 0
