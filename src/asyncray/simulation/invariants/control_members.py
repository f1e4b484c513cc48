"""The control plane's nodes, processes and jobs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from asyncray.control.node_table import NodeRecord, NodeTable
from asyncray.control.service import ControlPlane
from asyncray.control.session import Session
from asyncray.resources import Resources, give, in_words
from asyncray.simulation.invariants.naming import peer_name, short


def inconsistencies(control: ControlPlane) -> Iterator[str]:
    """Who lives is in the tables of the living and has its sessions; who is dead is in neither, nor is what it had."""
    yield from table_inconsistencies(control.nodes.table)
    yield from _node_sessions(control)
    yield from _processes(control)
    yield from _jobs(control)


def table_inconsistencies(table: NodeTable) -> Iterator[str]:
    if list(map(bytes, table._order)) != sorted(map(bytes, table._alive)):
        yield "control plane: the order of the nodes is not that of the ids of the living"
    for node_id, record in table._alive.items():
        what = f"control plane: node {short(node_id)}"
        if record.node_id != node_id or not record.alive:
            yield f"{what} is listed among the living, as {'another' if record.alive else 'a dead'} node"
        if node_id in table._dead:
            yield f"{what} is alive, and remembered as dead"
        yield from _reservations(what, record)
    for node_id, record in table._dead.items():
        if record.alive or record.reserved:
            state = "alive" if record.alive else "to take actors"
            yield f"control plane: node {short(node_id)} is remembered as dead, and is {state}"


def _reservations(what: str, record: NodeRecord) -> Iterator[str]:
    """What is promised is the sum of what was reserved for actors on their way."""
    promised = _sum(demand.resources for demand in record.reserved.values())
    pressure = _sum(demand.peak for demand in record.reserved.values())
    for name, counted, expected in (("promised", record.promised, promised), ("expected", record.pressure, pressure)):
        if _nonzero(counted) != _nonzero(expected):
            yield f"{what} has {in_words(counted)} {name} to actors, and {in_words(expected)} is reserved for them"


def _sum(demands: Iterable[Resources]) -> Resources:
    total: Resources = {}
    for demand in demands:
        give(total, demand)
    return total


def _nonzero(resources: Resources) -> Resources:
    return {name: units for name, units in resources.items() if units}


def _node_sessions(control: ControlPlane) -> Iterator[str]:
    alive = control.nodes.table._alive
    sessions: dict[bytes, Session] = dict(control.nodes._sessions.items())
    for node_id in [*alive, *(node_id for node_id in sessions if node_id not in alive)]:
        session = sessions.get(node_id)
        if session is None:
            yield f"control plane: node {short(node_id)} is alive, and has no session"
        elif node_id not in alive:
            yield f"control plane: node {short(node_id)} has a session, and is no member"
        elif session.peer != node_id:
            yield f"control plane: node {short(node_id)} has the session of {peer_name(session)}"


def _processes(control: ControlPlane) -> Iterator[str]:
    processes = control.processes
    for process_id, record in processes._living.items():
        what = f"control plane: {record.role} {short(process_id)}"
        if record.process_id != process_id:
            yield f"{what} is listed under an id not its own"
        if process_id in processes._dead:
            yield f"{what} is alive, and was declared dead"
        if record.role == "worker" and control.nodes.table.death_cause(record.node_id) is not None:
            yield f"{what} is alive, and its node {short(record.node_id)} is dead"
        if any(session.peer != process_id for session in record.sessions):
            yield f"{what} has a session of another process"
    for process_id, holders in processes._holders.items():
        what = f"control plane: process {short(process_id)}"
        if process_id in processes._dead:
            yield f"{what} was declared dead, and nodes are still to be told of that"
        for node_id in holders:
            if control.nodes.table.get(node_id) is None:
                yield f"{what} owns objects on node {short(node_id)}, which is no member"


def _jobs(control: ControlPlane) -> Iterator[str]:
    jobs, processes = control.jobs, control.processes
    for job_id, record in jobs._running.items():
        what = f"control plane: job {short(job_id)}"
        driver = processes.get(record.driver)
        if record.job_id != job_id or not record.alive or job_id in jobs._ended:
            yield f"{what} is listed among those that run, and is not one"
        if driver is None:
            yield f"{what} runs, and its driver {short(record.driver)} does not"
        elif record.session not in driver.sessions:
            yield f"{what} runs, and the session that carries it has ended"
    for job_id, record in jobs._ended.items():
        if record.alive:
            yield f"control plane: job {short(job_id)} is remembered as ended, and runs"


def leftovers(control: ControlPlane) -> Iterator[str]:
    """No actors on their way, nothing that nodes have not been told, no lease that waits as nodes report it."""
    table = control.nodes.table
    for record in table:
        what = f"control plane: node {short(record.node_id)}"
        for actor_id in record.reserved:
            yield f"{what} is to take actor {short(actor_id)}, and will not report it"
        if record.queued:
            yield f"{what} has {len(record.queued)} requests waiting, as it last reported"
    for node_id in table._changed:
        yield f"control plane: the nodes have not been told the news of node {short(node_id)}"
