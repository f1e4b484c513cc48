"""A node's sessions, its worker pool and the actors in it."""

from __future__ import annotations

from collections.abc import Iterator

from asyncray.node.service import NodeManager
from asyncray.node.worker_pool import Worker
from asyncray.simulation.invariants.naming import node_name, session_name, short
from asyncray.simulation.invariants.state import Survivors


def inconsistencies(node: NodeManager) -> Iterator[str]:
    """Sessions, workers, claims and actors refer to each other; who is busy works for a lease or hosts an actor."""
    yield from _sessions(node)
    for process_id, worker in node.pool.workers.items():
        what = f"{node_name(node)}: worker {short(process_id)}"
        if worker.process_id != process_id:
            yield f"{what} is listed under an id not its own"
        yield from _worker(what, node, worker)
    yield from _claims(node)
    yield from _actors(node)


def _sessions(node: NodeManager) -> Iterator[str]:
    where, sessions = node_name(node), node.sessions
    for process_id, session in sessions.by_process.items():
        if session.process_id != process_id:
            yield f"{where}: the session of {session_name(session)} is listed as that of process {short(process_id)}"
        if session not in sessions._all:
            yield f"{where}: the session of {session_name(session)} has ended, and is listed"


def _worker(what: str, node: NodeManager, worker: Worker) -> Iterator[str]:
    session = worker.session
    if worker.dismissed and not worker.ending:
        yield f"{what} was dismissed, and may still be given work"
    if session is None:
        if worker.busy or worker.job_id is not None:
            yield f"{what} is in use, and has not registered"
        return
    if session.process_id != worker.process_id:
        yield f"{what} has the session of process {short(session.process_id)}"
    elif node.sessions.by_process.get(worker.process_id) is not session and not worker.ending:
        yield f"{what} has lost its session, and may still be given work"
    if session.job_id != worker.job_id:
        yield f"{what} is of one job for the pool, and of another for its session"
    if worker.busy and worker.job_id is None:
        yield f"{what} is busy, and belongs to no job"
    if worker.ending:
        return
    if worker.dedicated and worker.process_id not in node.actors._by_worker:
        yield f"{what} is dedicated to an actor, and hosts none"
    elif worker.busy and not worker.dedicated and worker.process_id not in node.leases.scheduler._by_worker:
        yield f"{what} is busy, and nobody has a lease of it"


def _claims(node: NodeManager) -> Iterator[str]:
    wanted = set(node.leases._claims.values())
    wanted |= {actor.claim for actor in node.actors.actors.values() if actor.claim is not None and actor.worker is None}
    for claim in node.pool._claims:
        if not claim.cancelled and claim not in wanted:
            yield f"{node_name(node)}: a worker of job {short(claim.job_id)} is claimed, and nobody waits for it"


def _actors(node: NodeManager) -> Iterator[str]:
    where, host, workers = node_name(node), node.actors, node.pool.workers
    waiting = set(node.pool._claims)
    for actor_id, actor in host.actors.items():
        what = f"{where}: actor {short(actor.actor_id)}"
        if actor.actor_id != actor_id:
            yield f"{what} is listed as {short(actor_id)}"
        if actor.worker is None:
            if actor.claim is None or actor.claim.cancelled or actor.claim not in waiting:
                yield f"{what} has no worker, and no claim for one waits in the pool"
            continue
        process_id = actor.worker.process_id
        if host._by_worker.get(process_id) is not actor:
            yield f"{what} is not listed as that of its worker {short(process_id)}"
        if workers.get(process_id) is not actor.worker:
            yield f"{what} lives in worker {short(process_id)}, which does not exist"
        elif not (actor.worker.busy and actor.worker.dedicated):
            yield f"{what} lives in worker {short(process_id)}, which is not dedicated to it"
        if node.leases.actors.get(process_id) is not actor.allocation:
            yield f"{what} has resources that will not be given back with its worker {short(process_id)}"
    for process_id, actor in host._by_worker.items():
        here = actor.worker is not None and actor.worker.process_id == process_id
        if not here or host.actors.get(actor.actor_id) is not actor:
            yield f"{where}: worker {short(process_id)} is listed with actor {short(actor.actor_id)}, which is not its"
    for process_id in node.leases.actors:
        worker = workers.get(process_id)
        if worker is None:
            yield f"{where}: resources are kept for an actor in worker {short(process_id)}, which does not exist"
        elif process_id not in host._by_worker and not worker.ending:
            yield f"{where}: resources are kept for an actor in worker {short(process_id)}, which hosts none"


def leftovers(node: NodeManager, survivors: Survivors) -> Iterator[str]:
    """Idle workers only, of no job or one that lives, and the hosts of detached actors."""
    where, pool = node_name(node), node.pool
    for process_id, worker in pool.workers.items():
        what = f"{where}: worker {short(process_id)}"
        if worker.ending or worker.session is None:
            yield f"{what} is on its way {'out' if worker.ending else 'up'}"
        elif worker.busy and process_id not in survivors.processes:
            yield f"{what} is busy, though everything is over"
        elif worker.job_id is not None and worker.job_id not in survivors.jobs:
            yield f"{what} is kept for job {short(worker.job_id)}, which has ended"
    for claim in pool._claims:
        state = "was cancelled, and is kept" if claim.cancelled else "waits"
        yield f"{where}: a claim of job {short(claim.job_id)} for a worker {state}"
    for actor in node.actors.actors.values():
        if actor.actor_id not in survivors.actors:
            yield f"{where}: actor {short(actor.actor_id)} is there, and nobody has a handle of it"
    for job_id in node.sessions.jobs:
        if job_id not in survivors.jobs:
            yield f"{where}: what a worker must know of job {short(job_id)} is kept, which has ended"
    known = set(node.sessions.by_process.values())
    for session in node.sessions._all:
        if session in known:
            continue
        yield f"{where}: the session of {session_name(session)} is open, and has not registered"
