"""The references of one process: their counts, what is tied to other processes, and the values behind them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from asyncray.messages import STORED
from asyncray.simulation.invariants.naming import object_name, runtime_name, short
from asyncray.simulation.invariants.process_tasks import holders_of_lifetimes, unfinished_tasks
from asyncray.simulation.invariants.state import Survivors
from asyncray.worker.location import Location
from asyncray.worker.objects import PENDING
from asyncray.worker.ownership import Ownership
from asyncray.worker.reference import Execution, Reference
from asyncray.worker.runtime import Runtime
from asyncray.worker.store_client import Pin


def known_references(ownership: Ownership) -> list[Reference]:
    return [*ownership.references.values(), *ownership.references.shadowed.values()]


def inconsistencies(runtime: Runtime) -> Iterator[str]:
    """Counts are at least what can be found to be counted: live `ObjectRef`s cannot be. Values fit their states."""
    where = runtime_name(runtime)
    yield from ownership_inconsistencies(where, runtime.ownership)
    yield from _held_by_runtime(where, runtime)
    for reference in known_references(runtime.ownership):
        yield from _value(where, runtime, reference)
    if runtime.ownership.effects or runtime.stopping:
        return
    for process_id in runtime.ownership.ties:
        if runtime.peers.find(process_id) is None:
            yield f"{where}: it has ties with process {short(process_id)}, and no link"


def ownership_inconsistencies(where: str, ownership: Ownership) -> Iterator[str]:
    """One process's state machine, apart from its runtime."""
    table = ownership.references
    for object_id, reference in table.items():
        if reference.id != object_id:
            yield f"{where}: object {object_name(reference.id)} is listed as {object_name(object_id)}"
    for (object_id, owner), reference in table.shadowed.items():
        first = table.get(object_id)
        if reference.id != object_id or _owner(ownership, reference) != owner or first is None:
            yield f"{where}: object {object_name(object_id)} of process {short(owner)} is kept aside, and need not be"
        elif _owner(ownership, first) == owner:
            yield f"{where}: object {object_name(object_id)} of process {short(owner)} is known twice"
    for reference in known_references(ownership):
        yield from _record(where, ownership, reference)
    yield from _ties(where, ownership)
    yield from _counts(where, ownership)


def _owner(ownership: Ownership, reference: Reference) -> bytes:
    owner: bytes = ownership.process_id if reference.owner is None else reference.owner[0]
    return owner


def _record(where: str, ownership: Ownership, reference: Reference) -> Iterator[str]:
    what = f"{where}: object {object_name(reference.id)}"
    if min(reference.local, reference.tasks, reference.containers, reference.lineage, reference.sequence) < 0:
        yield f"{what} has a count below zero: {reference!r}"
    if not (reference.in_use or reference.lineage):
        yield f"{what} is kept, and nothing uses it"
    if reference.owner is None:
        if reference.sequence or reference.sources is not None:
            yield f"{what} is owned here, and borrowed"
        for process_id in sorted(reference.borrowers or ()):
            ties = ownership.ties.get(process_id)
            if ties is None or reference not in ties.lent:
                yield f"{what} has process {short(process_id)} as a borrower, which is not tied to it"
        return
    owner = reference.owner[0]
    ties = ownership.ties.get(owner)
    if reference.borrowers or reference.contains is not None:
        yield f"{what} is borrowed, and has what only an owner's record can have"
    if owner == ownership.process_id:
        yield f"{what} is borrowed from this very process"
    if bool(reference.sequence) != (ties is not None and reference in ties.borrowed):
        state = "is borrowed" if reference.sequence else "is not borrowed any more"
        yield f"{what} {state}, and its owner {short(owner)} is {'not ' if reference.sequence else ''}tied to it"
    if reference.sources is not None and not reference.sequence:
        yield f"{what} waits for the word of its owner, and is not borrowed"


def _ties(where: str, ownership: Ownership) -> Iterator[str]:
    for process_id, ties in ownership.ties.items():
        what = f"{where}: its ties with process {short(process_id)}"
        if process_id in ownership._lost:
            yield f"{what} are kept, which is lost"
        if not (ties.borrowed or ties.lent or ties.results):
            yield f"{what} are kept, and hold nothing"
        for reference in sorted(ties.borrowed, key=lambda reference: reference.id):
            if not ownership.references.knows(reference) or _owner(ownership, reference) != process_id:
                yield f"{what} have object {object_name(reference.id)} as borrowed, which is not known as its"
        for reference in sorted(ties.lent, key=lambda reference: reference.id):
            if not ownership.references.knows(reference) or process_id not in (reference.borrowers or ()):
                yield f"{what} have object {object_name(reference.id)} as lent, which is not lent to it"
        for task_id, result in ties.results.items():
            if result.outstanding < 1:
                yield f"{what} keep the result of task {short(task_id)}, which waits for no confirmation"


def _counts(where: str, ownership: Ownership) -> Iterator[str]:
    containers: Counter[Reference] = Counter()
    local: Counter[Reference] = Counter()
    pending: Counter[Execution] = Counter()
    known = known_references(ownership)
    for reference in known:
        containers.update(reference.contains or ())
        for source in reference.sources or ():
            if isinstance(source, Reference):
                local[source] += 1
            else:
                pending[source] += 1
    for ties in ownership.ties.values():
        for result in ties.results.values():
            local.update(result.inners)
    for reference in {**dict.fromkeys(known), **containers}:
        if reference.containers != containers[reference]:
            found = containers[reference]
            yield (
                f"{where}: object {object_name(reference.id)} is inside {found} objects of this process,"
                f" and {reference.containers} are counted"
            )
    for reference, least in local.items():
        if reference.local < least:
            what = f"object {object_name(reference.id)}"
            yield f"{where}: {what} is held {least} times, and {reference.local} are counted"
    for execution, count in pending.items():
        if execution.pending != count:
            who = short(execution.process_id)
            yield f"{where}: a reply to {who} waits for {count} owners, and {execution.pending} are counted"


def _held_by_runtime(where: str, runtime: Runtime) -> Iterator[str]:
    """The holds of tasks that can be found, and `ObjectRef`s that are gone but not yet counted as such."""
    held: Counter[Reference] = Counter(holders_of_lifetimes(runtime))
    for task in unfinished_tasks(runtime):
        held.update(task.held or ())
    for reference, least in held.items():
        if reference.tasks < least:
            what = f"object {object_name(reference.id)}"
            yield f"{where}: {what} is held by {least} unfinished tasks, and {reference.tasks} are counted"
    for reference, least in Counter(runtime.dropped).items():
        if reference.local < least:
            what = f"object {object_name(reference.id)}"
            yield f"{where}: {what} was dropped {least} times, and {reference.local} local references are counted"


def _value(where: str, runtime: Runtime, reference: Reference) -> Iterator[str]:
    what = f"{where}: object {object_name(reference.id)}"
    if reference.state != PENDING and reference.waiters is not None:
        yield f"{what} has its outcome, and {len(reference.waiters)} wait for it"
    if (reference.state == STORED) != (type(reference.value) is Location):
        yield f"{what} is {'' if reference.state == STORED else 'not '}stored, and its value says otherwise"
    elif reference.state == STORED:
        pin: Pin | None = reference.value.pin
        if pin is not None and (runtime.store._pins.get(pin.key) is not pin or pin.holders < 1):
            yield f"{what} is read from the store, and its pin is given back"


def leftovers(runtime: Runtime, survivors: Survivors) -> Iterator[str]:
    """No reference and no tie, but with the workers of detached actors; these may keep what they like."""
    where, ownership = runtime_name(runtime), runtime.ownership
    if runtime.process_id in survivors.processes:
        return
    for reference in known_references(ownership):
        borrowers = sorted(set(reference.borrowers or ()) - survivors.processes)
        counts = reference.local, reference.tasks, reference.containers, reference.lineage
        if any(counts) or borrowers or not reference.borrowers:
            lent = f", borrowed by {', '.join(map(short, borrowers))}" if borrowers else ""
            owner = f" of process {short(reference.owner[0])}" if reference.owner is not None else ""
            kept = "local {}, tasks {}, containers {}, lineage {}".format(*counts)
            yield f"{where}: object {object_name(reference.id)}{owner} is kept: {kept}{lent}"
        if reference.waiters:
            yield f"{where}: object {object_name(reference.id)} is waited for {len(reference.waiters)} times"
    for process_id, ties in ownership.ties.items():
        if process_id in survivors.processes:
            continue
        what = f"{where}: its ties with process {short(process_id)}"
        for task_id, result in ties.results.items():
            yield f"{what} keep {len(result.inners)} references of task {short(task_id)}, whose result is unconfirmed"
        for kind, references in (("borrowed", ties.borrowed), ("lent", ties.lent)):
            for reference in sorted(references, key=lambda reference: reference.id):
                yield f"{what} have object {object_name(reference.id)} as {kind}"
    if runtime.dropped:
        yield f"{where}: {len(runtime.dropped)} dropped references have not been counted"
    if ownership.effects:
        yield f"{where}: {len(ownership.effects)} effects of reference counting have not been carried out"
