"""What components must agree on once everything is over: messages on their way excuse nothing any more."""

from __future__ import annotations

from collections.abc import Iterator

from asyncray.control.service import ControlPlane
from asyncray.node.service import NodeManager
from asyncray.resources import Resources, in_words
from asyncray.simulation.invariants.naming import node_id, node_name, runtime_name, session_name, short
from asyncray.simulation.invariants.state import ClusterState
from asyncray.worker.runtime import Runtime

_ById = dict[bytes, Runtime]


def disagreements(state: ClusterState) -> Iterator[str]:
    nodes, runtimes = state.nodes_by_id(), state.runtimes_by_id()
    workers: dict[bytes, _ById] = {}
    linked: dict[bytes, _ById] = {}
    for runtime in state.runtimes:
        if runtime.role == "worker":
            workers.setdefault(runtime.membership.node_id, {})[runtime.process_id] = runtime
        for link in runtime.nodes.all():
            linked.setdefault(link.node_id, {})[runtime.process_id] = runtime
    told = _told_of_their_jobs(state)
    for id, node in nodes.items():
        yield from _workers(node, workers.get(id, {}), told)
        yield from _sessions(node, linked.get(id, {}), runtimes)
    for runtime in state.runtimes:
        yield from _links(runtime, nodes, runtimes)
    if state.control is not None:
        yield from _members(state.control, nodes)
        yield from _processes(state.control, runtimes)
        yield from _jobs(state.control, state.runtimes)
        for node in state.nodes:
            yield from _view(state.control, node)
            yield from _actors(state.control, node)
            yield from _owners(state.control, node, runtimes)


def _told_of_their_jobs(state: ClusterState) -> set[bytes]:
    """Workers that have been sent word of their job: by the holder of a lease, or by the node of an actor.

    The pool knows earlier: it gives a worker to a job with a lease, which the holder may return at once.
    """
    by_nodes = {process_id for node in state.nodes for process_id in node.actors._by_worker}
    return by_nodes | {
        process_id for runtime in state.runtimes for process_id, link in runtime.peers._links.items() if link.leased
    }


def _workers(node: NodeManager, living: _ById, told: set[bytes]) -> Iterator[str]:
    """A node's workers are the runtimes that live on it."""
    where = node_name(node)
    for process_id in {**living, **node.pool.workers}:
        what, worker, runtime = (
            f"{where}: worker {short(process_id)}",
            node.pool.workers.get(process_id),
            living.get(process_id),
        )
        if runtime is None or worker is None:
            yield f"{what} {'lives, and is not in its pool' if worker is None else 'is in its pool, and does not live'}"
            continue
        if worker.job_id != runtime.job_id and (runtime.job_id is not None or process_id in told):
            yield f"{what} is of one job, and of another in its pool"
        hosted = node.actors._by_worker.get(process_id)
        known = hosted.actor_id if hosted is not None else None
        if runtime.executor is not None and runtime.executor.actor.actor_id != known:
            yield f"{what} hosts an actor that its node does not know, or the reverse"


def _sessions(node: NodeManager, linked: _ById, runtimes: _ById) -> Iterator[str]:
    """A node has a session with each process that has a link with it."""
    where = node_name(node)
    for process_id, session in node.sessions.by_process.items():
        what = f"{where}: {session_name(session)}"
        if process_id not in linked:
            yield f"{what} has a session, and {'has no link' if process_id in runtimes else 'does not live'}"
        elif session.stream.closed or session.stream.unsent:
            yield f"{what} has a session that is closed, or has {session.stream.unsent} bytes unsent"
    for process_id, runtime in linked.items():
        if process_id not in node.sessions.by_process:
            yield f"{where}: {runtime_name(runtime)} has a link, and no session"


def _links(runtime: Runtime, nodes: dict[bytes, NodeManager], runtimes: _ById) -> Iterator[str]:
    where = runtime_name(runtime)
    for process_id in runtime.peers._links:
        other = runtimes.get(process_id)
        if other is None:
            yield f"{where}: it has a link with process {short(process_id)}, which does not live"
        elif other.peers.find(runtime.process_id) is None:
            yield f"{where}: it has a link with {runtime_name(other)}, which has none with it"
    for link in runtime.nodes.all():
        if link.node_id not in nodes:
            yield f"{where}: it has a link with the node at {link.target}, which does not live"
    if runtime.membership.node_id not in nodes and runtime.role == "worker":  # a driver outlives its node
        yield f"{where}: it lives, and its node {short(runtime.membership.node_id)} does not"


def _members(control: ControlPlane, nodes: dict[bytes, NodeManager]) -> Iterator[str]:
    table = control.nodes.table
    for known in {**nodes, **dict.fromkeys(map(bytes, table._order))}:
        node, record = nodes.get(known), table.get(known)
        what = f"control plane: node {short(known)}"
        if node is None or record is None:
            yield f"{what} {'lives, and is no member' if record is None else 'is a member, and does not live'}"
            continue
        for kind, own, told in (
            ("has in total", node.resources.total, record.total),
            ("has free", node.resources.available, record.available),
        ):
            if _nonzero(own) != _nonzero(told):
                yield f"{what} {kind} {in_words(own)}, and is thought to have {in_words(told)}"


def _nonzero(resources: Resources) -> Resources:
    return {name: units for name, units in resources.items() if units}


def _view(control: ControlPlane, node: NodeManager) -> Iterator[str]:
    """What a node knows of the others."""
    where, view = node_name(node), node.leases.view
    for record in control.nodes.table:
        other = view.get(record.node_id)
        if record.node_id == node_id(node):
            continue
        what = f"{where}: node {short(record.node_id)}"
        if other is None:
            yield f"{what} is alive, and not so in its view"
        elif _nonzero(other.available) != _nonzero(record.available):
            yield f"{what} has {in_words(record.available)} free, and {in_words(other.available)} in its view"
    for other_id in view:
        if control.nodes.table.get(other_id) is None:
            yield f"{where}: node {short(other_id)} is alive in its view, and no member of the cluster"


def _processes(control: ControlPlane, runtimes: _ById) -> Iterator[str]:
    for process_id, record in control.processes._living.items():
        runtime = runtimes.get(process_id)
        if runtime is None:
            yield f"control plane: {record.role} {short(process_id)} is known as living, and does not"
        elif runtime.role != record.role or runtime.membership.node_id != record.node_id:
            yield f"control plane: {runtime_name(runtime)} is known as a {record.role} on node {short(record.node_id)}"
    for runtime in runtimes.values():
        cause = control.processes.death_cause(runtime.process_id)
        if cause is not None and not _is_cut_off(runtime):
            yield f"control plane: {runtime_name(runtime)} lives, and was declared dead: {cause}"


def _is_cut_off(runtime: Runtime) -> bool:
    """A driver whose session with the control plane broke knows that its job has ended with it."""
    return runtime.role == "driver" and not runtime.control.connected


def _jobs(control: ControlPlane, runtimes: list[Runtime]) -> Iterator[str]:
    drivers = {runtime.job_id: runtime for runtime in runtimes if runtime.role == "driver" and runtime.job_id}
    for job_id, record in control.jobs._running.items():
        driver = drivers.get(job_id)
        if driver is None or driver.process_id != record.driver:
            yield f"control plane: job {short(job_id)} runs, and its driver {short(record.driver)} does not live"
    for known, driver in drivers.items():
        if known is not None and known not in control.jobs._running and not _is_cut_off(driver):
            yield f"control plane: {runtime_name(driver)} lives, and its job {short(known)} does not run"


def _owners(control: ControlPlane, node: NodeManager, runtimes: _ById) -> Iterator[str]:
    """The control plane knows which nodes to tell of the death of an owner that lives on another node."""
    for owner in node.store.table._owned:
        runtime = runtimes.get(owner)
        elsewhere = runtime is not None and runtime.membership.node_id != node_id(node)
        if elsewhere and node_id(node) not in control.processes._holders.get(owner, ()):
            yield f"{node_name(node)}: it holds objects of {short(owner)}, whose death it will not be told"


def _actors(control: ControlPlane, node: NodeManager) -> Iterator[str]:
    """Each living actor is hosted by the node that the control plane thinks it is on, in the same worker."""
    hosted = node.actors.actors
    placed = {bytes(record.actor_id): record for record in control.actors.table.on_node(node_id(node))}
    for actor_id in {**hosted, **placed}:
        actor, record = hosted.get(actor_id), placed.get(actor_id)
        what = f"{node_name(node)}: actor {short(actor_id)}"
        if actor is None or record is None:
            yield f"{what} {'is hosted, and should not be' if record is None else 'should be hosted, and is not'}"
        elif (actor.worker.process_id if actor.worker is not None else None) != record.process_id:
            yield f"{what} lives in another worker than the control plane thinks"
