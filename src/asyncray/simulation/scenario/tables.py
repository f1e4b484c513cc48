"""The live state of a cluster as tables: a line for each thing, in an order that does not depend on ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from typing import Final

from asyncray.ids import object_of
from asyncray.messages import ERROR, GONE, INLINE, STORED
from asyncray.simulation.cluster import SimCluster
from asyncray.simulation.node import SimNode
from asyncray.simulation.scenario.message_text import amounts, size
from asyncray.simulation.scenario.names import Names
from asyncray.store.table import NODE
from asyncray.worker.reference import Reference

_STATES: Final = {0: "pending", INLINE: "inline", STORED: "stored", ERROR: "an error", GONE: "gone"}


def nodes(cluster: SimCluster, names: Names) -> list[str]:
    """As the control plane sees them; as they see themselves when it is dead."""
    if cluster.control is None:
        return [f"{node.name}: {amounts(node.manager.resources.available)} free" for node in cluster.nodes]
    lines = []
    for record in cluster.control.nodes.table.all():
        name = names.process(record.node_id)
        if record.alive:
            waiting = f", {len(record.queued)} wait" if record.queued else ""
            lines.append(f"{name}: {amounts(record.available)} free of {amounts(record.total)}{waiting}")
        else:
            lines.append(f"{name}: dead ({names.in_text(record.death_cause)})")
    return sorted(lines)


def leases(cluster: SimCluster, names: Names) -> list[str]:
    """Those granted, and requests that wait."""
    lines = []
    for node in cluster.nodes:
        scheduler = node.manager.leases.scheduler
        for lease in scheduler.leases.values():
            worker = f"on {names.process(lease.worker)}" if lease.worker is not None else "without a worker yet"
            marks = {
                "blocked": lease.allocation.blocked,
                "wanted": lease.wanted,
                "draining": lease.draining_since is not None,
            }
            state = ", ".join(mark for mark, holds in marks.items() if holds)
            demand = amounts(lease.request.demand)
            text = f"{node.name}: {names.lease(lease.lease_id)} of {names.process(lease.holder)} {worker} ({demand})"
            lines.append(f"{text} {state}".rstrip())
        waiting = Counter((names.process(request.key[0]), amounts(request.demand)) for request in scheduler.queue)
        for (requester, demand), count in waiting.items():
            times = f" {count} times" if count > 1 else ""
            lines.append(f"{node.name}: {requester} waits for {demand}{times}")
    return sorted(lines)


def workers(cluster: SimCluster, names: Names) -> list[str]:
    """Of all nodes, and what for they are."""
    return [
        f"{process.name}: {_occupation(node, worker_id, names)}"
        for node in cluster.nodes
        for worker_id, process in node.workers.items()
    ]


def references(cluster: SimCluster, names: Names, chosen: Collection[str] = ()) -> list[str]:
    """Of all drivers and workers, with what keeps them: all, or those with the chosen names."""
    lines = []
    for process, runtime in cluster.runtimes.items():
        table = runtime.ownership.references
        for reference in (*table.values(), *table.shadowed.values()):
            if not chosen or names.object(reference.id) in chosen:
                lines.append(f"{process.name}: {_reference(reference, names)}")
    return sorted(lines)


def actors(cluster: SimCluster, names: Names) -> list[str]:
    """As the control plane knows them."""
    if cluster.control is None:
        return ["nobody knows: the control plane is dead"]
    lines = []
    for record in cluster.control.actors.table:
        where = f" on {names.process(record.process_id)}" if record.process_id is not None else ""
        lines.append(f"{names.actor(record.actor_id)}: {record.class_name} {record.life.state.lower()}{where}")
    return sorted(lines)


def store(cluster: SimCluster, names: Names) -> list[str]:
    """Of all nodes that have something in it."""
    lines = []
    for node in cluster.nodes:
        table = node.manager.store.table
        readers = {number: names.process(session.process_id) for session, number in node.manager.store._clients.items()}
        readers[NODE] = node.name
        if table.used:
            lines.append(f"{node.name}: {size(table.used)} used")
        if table.overflow.used:
            lines.append(f"{node.name}: {size(table.overflow.used)} of the overflow used")
        for block in table._sealed.values():
            pinned = sorted(readers[client] for client in block.pinned_by)
            pins = f", pinned by {', '.join(pinned)}" if pinned else ""
            what = f"{names.object(object_of(block.key))} of {names.process(block.owner)}, {size(block.size)}"
            kind = "" if block.primary else ", a backup" if block.backup else ", a copy"
            disk = "" if not block.on_disk else ", on disk" if block.offset is None else ", on disk too"
            overflow = ", in the overflow" if block.in_overflow else ""
            lines.append(f"{node.name}: {what}{kind}{overflow}{disk}{pins}")
    return sorted(lines)


def files(cluster: SimCluster, names: Names) -> list[str]:
    """On the disks of machines whose nodes live."""
    return sorted(
        f"{node.name}: {path.rpartition('/')[2]}, {size(count)}"
        for node in cluster.nodes
        for path, count in cluster.world.disk(node.host).contents.files().items()
    )


TABLES: Final[dict[str, Callable[[SimCluster, Names], list[str]]]] = {
    "nodes": nodes,
    "leases": leases,
    "workers": workers,
    "references": references,
    "actors": actors,
    "store": store,
    "files": files,
}


def _occupation(node: SimNode, worker_id: bytes, names: Names) -> str:
    worker = node.manager.pool.workers.get(worker_id)
    if worker is None:
        return "unknown to its node"
    if worker.ending:
        return "ends"
    if worker.session is None:
        return "starts"
    if worker.dedicated:
        actor = node.manager.actors._by_worker.get(worker_id)
        return f"hosts {names.actor(actor.actor_id)}" if actor is not None else "hosts nothing any more"
    job = f" with {names.job(worker.job_id)}" if worker.job_id is not None else ""
    return f"{'busy' if worker.busy else 'idle'}{job}"


def _reference(reference: Reference, names: Names) -> str:
    """Its counts, those that are not zero."""
    owner = "owned" if reference.owner is None else f"borrowed from {names.address(reference.owner)}"
    counts = {
        "local": reference.local,
        "tasks": reference.tasks,
        "containers": reference.containers,
        "lineage": reference.lineage,
    }
    parts = [owner, _STATES[reference.state], *(f"{name}={count}" for name, count in counts.items() if count)]
    if reference.borrowers:
        parts.append(f"lent to {', '.join(sorted(map(names.process, reference.borrowers)))}")
    if reference.contains:
        parts.append(f"contains {', '.join(names.object(inner.id) for inner in reference.contains)}")
    return f"{names.object(reference.id)} {', '.join(parts)}"
