"""The control plane's actors: their lives, the indexes that find them, those that wait for a node, who listens."""

from __future__ import annotations

from collections.abc import Iterator

from asyncray.control.actor_lifecycle import Phase
from asyncray.control.actor_subscriptions import ActorSubscriptions
from asyncray.control.actor_table import ActorRecord, ActorTable
from asyncray.control.placement_queue import PlacementQueue
from asyncray.control.service import ControlPlane
from asyncray.resources import in_words
from asyncray.simulation.invariants.naming import peer_name, short
from asyncray.simulation.invariants.state import Survivors


def inconsistencies(control: ControlPlane) -> Iterator[str]:
    """Each actor is where its phase says it is, on a living node, in a living process; and so is who it belongs to."""
    table = control.actors.table
    for actor_id, record in table._living.items():
        what = _name(record)
        if record.actor_id != actor_id or record.life.phase is Phase.DEAD:
            yield f"{what} is listed among the living as {short(actor_id)}, in phase {record.life.phase.name}"
        if actor_id in table._dead or actor_id in table._dead_ids:
            yield f"{what} is alive, and remembered as dead"
        yield from _life(what, record)
        yield from _place(what, control, record)
        yield from _belonging(what, control, record)
    for record in table._dead.values():
        if record.life.phase is not Phase.DEAD or record.creation:
            state = "keeps its arguments" if record.creation else f"is in phase {record.life.phase.name}"
            yield f"{_name(record)} is remembered as dead, and {state}"
    yield from index_inconsistencies(table)
    yield from queue_inconsistencies(control.scheduler._queue)
    yield from _waiting(control)
    yield from subscription_inconsistencies(control.actors._subscriptions)
    for actor_id in control.actors._subscriptions._by_actor:
        if table.has_died(actor_id):
            yield f"control plane: actor {short(actor_id)} is dead, and there are subscribers to it"


def _name(record: ActorRecord) -> str:
    return f"control plane: actor {record.class_name} {short(record.actor_id)}"


def _life(what: str, record: ActorRecord) -> Iterator[str]:
    life = record.life
    placed = life.phase in (Phase.PLACING, Phase.ALIVE, Phase.ENDING)
    runs = life.phase in (Phase.ALIVE, Phase.ENDING)
    if (life.node_id is not None) != placed or record.node_id != life.node_id:
        yield f"{what} is {life.phase.name}, on node {_of(life.node_id)}, and listed on node {_of(record.node_id)}"
    if (life.address is not None) != runs:
        yield f"{what} is {life.phase.name}, and {'lacks' if runs else 'has'} an address"
    elif life.address is not None and record.process_id != life.address[0]:
        yield f"{what} lives in worker {short(life.address[0])}, and is listed in worker {_of(record.process_id)}"


def _of(id: bytes | None) -> str:
    return "none" if id is None else short(id)


def _place(what: str, control: ControlPlane, record: ActorRecord) -> Iterator[str]:
    if record.node_id is not None and control.nodes.table.get(record.node_id) is None:
        yield f"{what} is {record.life.phase.name} on node {short(record.node_id)}, which is not a living member"
    if record.process_id is not None and control.processes.get(record.process_id) is None:
        yield f"{what} is {record.life.phase.name} in worker {short(record.process_id)}, which is not known to live"
    if (record.life.phase is Phase.WAITING) != (record.actor_id in control.scheduler._queue):
        state = "is not" if record.life.phase is Phase.WAITING else "is"
        yield f"{what} is {record.life.phase.name}, and {state} in the queue for a node"


def _belonging(what: str, control: ControlPlane, record: ActorRecord) -> Iterator[str]:
    if not record.outlives_job and record.job_id not in control.jobs._running:
        yield f"{what} is {record.life.phase.name}, and its job {short(record.job_id)} does not run"
    if not record.detached and control.processes.death_cause(record.owner) is not None:
        yield f"{what} is {record.life.phase.name}, and its owner {short(record.owner)} is dead"


def index_inconsistencies(table: ActorTable) -> Iterator[str]:
    """Each index finds the living, all of them, and nothing else."""
    living = list(table._living.values())
    indexes = {
        "owner": (table._by_owner._actors, [(record.owner, record) for record in living]),
        "job": (table._by_job._actors, [(record.job_id, record) for record in living]),
        "node": (table._by_node._actors, [(record.node_id, record) for record in living if record.node_id is not None]),
    }
    for kind, (entries, expected) in indexes.items():
        found = {(key, record) for key, records in entries.items() for record in records}
        for key, record in expected:
            if (key, record) not in found:
                yield f"{_name(record)} is not found by its {kind} {short(key)}"
        for key, records in entries.items():
            for record in records:
                if table._living.get(record.actor_id) is not record:
                    yield f"{_name(record)} is found by its {kind} {short(key)}, and is not alive"
            if not records:
                yield f"control plane: no actor is left of {kind} {short(key)}, which is kept"
        if len(found) > len(set(expected)):
            article = "an" if kind == "owner" else "a"
            yield f"control plane: actors are found under {article} {kind} that is not theirs"
    for process_id, record in table._by_process.items():
        if record.process_id != process_id or table._living.get(record.actor_id) is not record:
            yield f"{_name(record)} is found by its worker {short(process_id)}, and does not live there"
    for (_, name), record in table._by_name.items():
        if table._living.get(record.actor_id) is not record or not record.life.reachable:
            yield f"{_name(record)} is found by its name {name!r}, and is {record.life.phase.name}"
    for record in living:
        if record.process_id is not None and table._by_process.get(record.process_id) is not record:
            yield f"{_name(record)} is not found by its worker {short(record.process_id)}"
        if record.name and record.life.reachable and table.named(record.namespace, record.name) is not record:
            yield f"{_name(record)} is not found by its name {record.name!r}"


def queue_inconsistencies(queue: PlacementQueue) -> Iterator[str]:
    grouped = {actor_id: demand for demand, group in queue._groups.items() for actor_id in group}
    for actor_id in {**grouped, **queue._demands}:
        if grouped.get(actor_id) != queue._demands.get(actor_id):
            yield f"control plane: actor {short(actor_id)} waits for a node in one table of the queue only"
    for demand, group in queue._groups.items():
        if not group:
            yield f"control plane: an empty group of actors that need {in_words(demand.peak)} is kept"


def _waiting(control: ControlPlane) -> Iterator[str]:
    for actor_id in control.scheduler._queue._demands:
        if control.actors.table.living(actor_id) is None:
            yield f"control plane: actor {short(actor_id)} waits for a node, and is not alive"


def subscription_inconsistencies(subscriptions: ActorSubscriptions) -> Iterator[str]:
    for actor_id, sessions in subscriptions._by_actor.items():
        what = f"control plane: actor {short(actor_id)}"
        if not sessions:
            yield f"{what} is listed with subscribers, and has none"
        for session in sessions:
            if actor_id not in subscriptions._by_session.get(session, ()):
                yield f"{what} has {peer_name(session)} as a subscriber, which is not listed as one"
    for session, actor_ids in subscriptions._by_session.items():
        if not actor_ids:
            yield f"control plane: {peer_name(session)} is listed with subscriptions, and has none"
        for actor_id in sorted(actor_ids):
            if session not in subscriptions._by_actor.get(actor_id, ()):
                what = f"actor {short(actor_id)}, which does not list it"
                yield f"control plane: {peer_name(session)} is subscribed to {what}"


def leftovers(control: ControlPlane, survivors: Survivors) -> Iterator[str]:
    """Detached actors only, alive and with nobody who listens but them."""
    table = control.actors.table
    for record in table._living.values():
        if record.actor_id not in survivors.actors:
            yield f"{_name(record)} is {record.life.phase.name}, and nobody has a handle of it"
        elif record.life.phase is not Phase.ALIVE:
            yield f"{_name(record)} is {record.life.phase.name}, though everything is over"
    for session, actor_ids in control.actors._subscriptions._by_session.items():
        if session.peer in survivors.processes:
            continue
        for actor_id in sorted(actor_ids):
            if table.living(actor_id) is None:
                what = f"actor {short(actor_id)}, which is not there"
                yield f"control plane: {peer_name(session)} is subscribed to {what}"
    waiting = control.scheduler._queue.demands()
    for demand in control.scheduler._hopeless:
        if demand not in waiting:
            yield f"control plane: a warning of actors that need {in_words(demand.peak)} is kept, and none waits"
