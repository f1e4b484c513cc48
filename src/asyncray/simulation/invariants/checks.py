"""All the checks of a cluster, one component after the other."""

from __future__ import annotations

from collections.abc import Iterator

from asyncray.simulation.invariants import (
    control_actors,
    control_members,
    node_account,
    node_leases,
    node_memory,
    node_transfers,
    node_workers,
    process_calls,
    process_links,
    process_tasks,
    references,
)
from asyncray.simulation.invariants.agreement import disagreements
from asyncray.simulation.invariants.state import ClusterState, Survivors


def consistency(state: ClusterState) -> list[str]:
    """What is wrong now, a sentence each, though it may not be at any moment between two callbacks of the loop.

    Faults excuse nothing. Takes time in proportion to what the tables hold.
    """
    return list(_inconsistencies(state))


def quiescence(state: ClusterState, *, idle_links: bool = False) -> list[str]:
    """What is left, a sentence each, once the workload is over: all was awaited, and no user reference is held.

    Detached actors may live on, and keep what they refer to. Everything else takes some virtual seconds to go: leases
    and pins expire, messages travel, idle workers are reaped now and then. So ask until nothing is left, for as long
    as the longest of these takes; and collect garbage before, which may hold references in its cycles. `idle_links`:
    so long is not waited, and links that nobody needs any more may be there.
    """
    left = list(_leftovers(state, Survivors.of(state)))
    for runtime in state.runtimes if not idle_links else ():
        left += process_links.idle(runtime)
    return [*_inconsistencies(state), *left, *disagreements(state), *node_transfers.disagreements(state)]


def _inconsistencies(state: ClusterState) -> Iterator[str]:
    if state.control is not None:
        yield from control_members.inconsistencies(state.control)
        yield from control_actors.inconsistencies(state.control)
    for node in state.nodes:
        yield from node_account.inconsistencies(node)
        yield from node_leases.inconsistencies(node)
        yield from node_workers.inconsistencies(node)
        yield from node_memory.inconsistencies(node)
        yield from node_transfers.inconsistencies(node)
    for runtime in state.runtimes:
        if runtime.stopping:  # on its way out, it drops its tables one by one, and tells nobody
            continue
        yield from references.inconsistencies(runtime)
        yield from process_tasks.inconsistencies(runtime)
        yield from process_calls.inconsistencies(runtime)
        yield from process_links.inconsistencies(runtime)
    yield from process_tasks.exclusivity(state.runtimes)
    yield from node_memory.pin_inconsistencies(state)


def _leftovers(state: ClusterState, survivors: Survivors) -> Iterator[str]:
    if state.control is not None:
        yield from control_members.leftovers(state.control)
        yield from control_actors.leftovers(state.control, survivors)
    for node in state.nodes:
        yield from node_account.leftovers(node, survivors)
        yield from node_leases.leftovers(node, state, survivors)
        yield from node_workers.leftovers(node, survivors)
        yield from node_memory.leftovers(node, survivors)
        yield from node_transfers.leftovers(node, survivors)
    for runtime in state.runtimes:
        yield from references.leftovers(runtime, survivors)
        yield from process_tasks.leftovers(runtime, survivors)
        yield from process_calls.leftovers(runtime)
        yield from process_links.leftovers(runtime, survivors)
