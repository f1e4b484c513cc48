"""The tasks that a process has submitted: pipelines and their leases, actor calls, and one outcome for each task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from asyncray.resources import in_words
from asyncray.simulation.invariants.naming import object_name, runtime_name, short
from asyncray.simulation.invariants.state import Survivors
from asyncray.worker.actor_client import ActorLane
from asyncray.worker.objects import CANCELLED, PENDING
from asyncray.worker.pipeline import Lease, Pipeline
from asyncray.worker.reference import Reference
from asyncray.worker.runtime import Runtime
from asyncray.worker.task import PendingTask

_LANE_STATES = ("PENDING", "ALIVE", "DEAD", "LOST")


def unfinished_tasks(runtime: Runtime) -> list[PendingTask]:
    """All that can be found: those that wait for their arguments are known to closures only."""
    found: dict[PendingTask, None] = {}
    for template in runtime.functions._templates.values():
        found |= dict.fromkeys(template.waiting)
    for pipeline in runtime.submitter._pipelines.values():
        found |= dict.fromkeys(pipeline.queue)
    found |= dict.fromkeys(runtime.submitter.postponed)
    for lane in runtime.actors.lanes.values():
        found |= dict.fromkeys(lane.queued())
        if lane.creation is not None:
            found[lane.creation] = None
    return [*(found | dict.fromkeys(runtime.submitter.in_flight.values()))]


def holders_of_lifetimes(runtime: Runtime) -> list[Reference]:
    """The lifetime references that pending calls keep, one for each actor."""
    return [lane.lifetime for lane in runtime.actors.lanes.values() if lane.in_flight or lane.queues]


def inconsistencies(runtime: Runtime) -> Iterator[str]:
    """A task is in one place, which all tables agree on; what can go on does, or is about to."""
    where = runtime_name(runtime)
    yield from _leases(where, runtime)
    for key, pipeline in runtime.submitter._pipelines.items():
        what = f"{where}: the pipeline for {in_words(pipeline.demand)}"
        demand = tuple(sorted(pipeline.demand.items()))
        if key[: len(demand)] != demand or len(key) > len(demand) + 1:  # beyond it: the node to which its tasks go
            yield f"{what} is listed under another demand"
        yield from _pipeline(what, runtime, pipeline)
    yield from _requests(where, runtime)
    for actor_id, lane in runtime.actors.lanes.items():
        what = f"{where}: its lane to actor {short(lane.actor_id)}"
        if lane.actor_id != actor_id or lane.lifetime.id[:16] != actor_id:
            yield f"{what} is listed as that to {short(actor_id)}"
        yield from _lane(what, lane)
    yield from _in_flight(where, runtime)
    yield from _places(where, runtime)
    yield from _outcomes(where, runtime)
    if runtime.submitter._dirty and not runtime._turn_scheduled:
        yield f"{where}: {len(runtime.submitter._dirty)} pipelines have news, and nobody is to look at them"


def _leases(where: str, runtime: Runtime) -> Iterator[str]:
    submitter = runtime.submitter
    kept = {lease: pipeline for pipeline in submitter._pipelines.values() for lease in pipeline.leases.values()}
    for lease_id, lease in submitter.leases.held.items():
        what = f"{where}: lease {short(lease.lease_id)} of worker {short(lease.address[0])}"
        if lease.lease_id != lease_id:
            yield f"{what} is listed as {short(lease_id)}"
        if kept.get(lease) is not lease.pipeline:
            yield f"{what} is not in its pipeline"
        if submitter.leases.by_worker.get(lease.address[0]) is not lease:
            yield f"{what} is not found by its worker"
        if lease.alone and not lease.in_flight:
            yield f"{what} takes no task, and has none"
        if lease.drain and not (lease.in_flight or lease.lost) and lease.pipeline not in submitter._dirty:
            yield f"{what} is to be returned, has no task, and is kept"
    for lease in [*kept, *submitter.leases.by_worker.values()]:
        if submitter.leases.held.get(lease.lease_id) is not lease:
            yield f"{where}: lease {short(lease.lease_id)} of worker {short(lease.address[0])} is over, and listed"


def _pipeline(what: str, runtime: Runtime, pipeline: Pipeline) -> Iterator[str]:
    submitter, own = runtime.submitter, runtime.nodes.own
    asked = sum(1 for requester, *_ in submitter.leases.requests.values() if requester is pipeline)
    refusing = own is not None and own.lost
    if pipeline.requested != asked and not (refusing and pipeline.requested > asked):
        yield f"{what} has {asked} requests for leases, and {pipeline.requested} are counted"
    if pipeline.queue and not pipeline.requested and pipeline not in submitter._dirty and own is not None:
        yield f"{what} has {len(pipeline.queue)} tasks waiting, and asks for no lease"


def _requests(where: str, runtime: Runtime) -> Iterator[str]:
    pipelines = set(runtime.submitter._pipelines.values())
    for number, (pipeline, node, _) in runtime.submitter.leases.requests.items():
        if pipeline not in pipelines:
            yield f"{where}: request {number} for a lease is of a pipeline that is gone"
        if node.lost:
            yield f"{where}: request {number} for a lease waits for the node at {node.target}, which is lost"


def _lane(what: str, lane: ActorLane) -> Iterator[str]:
    if lane.state not in _LANE_STATES:
        yield f"{what} is {lane.state}"
    if lane.state in ("DEAD", "LOST"):
        if lane.in_flight or lane.queues or lane.unresolved or lane.creation is not None or lane.link is not None:
            yield f"{what} is {lane.state}, and has calls, a constructor or a link"
        if lane.error is None:
            yield f"{what} is {lane.state}, and nobody knows why"
    elif lane.link is not None and lane.state != "ALIVE":
        yield f"{what} is {lane.state}, and has a link"
    if not lane.unresolved <= set(lane.queued()):
        yield f"{what} has calls that wait for their arguments, and are not in its queue"
    for caller, queue in lane.queues.items():
        if not queue:
            yield f"{what} lists caller {short(caller)}, which has no calls waiting"
        elif lane.link is not None and queue[0] not in lane.unresolved:
            yield f"{what} has {len(queue)} calls of one caller waiting, and the first could be sent"


def _in_flight(where: str, runtime: Runtime) -> Iterator[str]:
    in_flight = runtime.submitter.in_flight
    places: list[Lease | ActorLane] = [*runtime.submitter.leases.held.values(), *runtime.actors.lanes.values()]
    sent = {task_id: task for place in places for task_id, task in place.in_flight.items()}
    for task_id in {**in_flight, **sent}:
        task = in_flight.get(task_id)
        if task is not sent.get(task_id):
            state = (
                "was sent, and no lease or lane has it" if task is not None else "is with a worker, and was not sent"
            )
            yield f"{where}: task {short(task_id)} {state}"
        elif task is not None and task.id != task_id:
            yield f"{where}: task {short(task.id)} is listed as {short(task_id)}"


def _places(where: str, runtime: Runtime) -> Iterator[str]:
    places: Counter[PendingTask] = Counter(runtime.submitter.in_flight.values())
    for pipeline in runtime.submitter._pipelines.values():
        places.update(pipeline.queue)
    places.update(runtime.submitter.postponed)
    for lane in runtime.actors.lanes.values():
        places.update(lane.queued())
    for template in runtime.functions._templates.values():
        places.update(template.waiting)
    for task, count in places.items():
        if count > 1:
            yield f"{where}: task {short(task.id)} ({task.template.name}) is in {count} places: it would run so often"


def _outcomes(where: str, runtime: Runtime) -> Iterator[str]:
    """What is not over has no outcome yet, unless it was cancelled.

    Not of workers, where a task can run again, and then submits tasks whose results may be known already. Nor of
    constructors, which fail a little before their lanes do.
    """
    if runtime.role != "driver":
        return
    creations = {lane.creation for lane in runtime.actors.lanes.values()}
    for task in unfinished_tasks(runtime):
        for reference in task.return_references() if task not in creations else ():
            over = reference.state != PENDING and reference.value is not CANCELLED
            if over and runtime.ownership.references.knows(reference):
                what = f"task {short(task.id)} ({task.template.name})"
                yield f"{where}: {what} is not over, and its result {object_name(reference.id)} has its value already"


def exclusivity(runtimes: list[Runtime]) -> Iterator[str]:
    """A worker is leased to one process at a time."""
    holders: dict[bytes, Runtime] = {}
    for runtime in runtimes:
        for worker_id in runtime.submitter.leases.by_worker:
            other = holders.setdefault(worker_id, runtime)
            if other is not runtime:
                yield f"worker {short(worker_id)} is leased to {runtime_name(other)} and to {runtime_name(runtime)}"


def leftovers(runtime: Runtime, survivors: Survivors) -> Iterator[str]:
    """No task, no pipeline, no lease, no request; no lane, but from a detached actor to others."""
    where, submitter = runtime_name(runtime), runtime.submitter
    for task in unfinished_tasks(runtime):
        yield f"{where}: task {short(task.id)} ({task.template.name}) is not over"
    for pipeline in submitter._pipelines.values():
        counts = f"{len(pipeline.queue)} tasks, {len(pipeline.leases)} leases, {pipeline.requested} requests"
        yield f"{where}: the pipeline for {in_words(pipeline.demand)} is kept, with {counts}"
    for lease in submitter.leases.held.values():
        yield f"{where}: lease {short(lease.lease_id)} of worker {short(lease.address[0])} is kept"
    for number in submitter.leases.requests:
        yield f"{where}: request {number} for a lease is not answered"
    if submitter._cancelled:
        yield f"{where}: cancelled tasks are counted for {len(submitter._cancelled)} pipelines"
    if submitter._dirty:
        yield f"{where}: {len(submitter._dirty)} pipelines have news"
    if runtime.process_id in survivors.processes:
        return
    for lane in runtime.actors.lanes.values():
        yield f"{where}: a lane to actor {short(lane.actor_id)} is kept, {lane.state}"
