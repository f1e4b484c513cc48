"""A node's account of its resources: what is free, and who has the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from asyncray.node.lease_queue import Allocation
from asyncray.node.service import NodeManager
from asyncray.resources import UNITS
from asyncray.simulation.invariants.naming import amount, node_name
from asyncray.simulation.invariants.state import Survivors


def allocations(node: NodeManager) -> dict[Allocation, bool]:
    """What was taken for leases and actors; and whether there is a worker for it, which may have been blocked once."""
    scheduler = node.leases.scheduler
    taken = {lease.allocation: lease.worker is not None for lease in scheduler.leases.values()}
    taken |= {actor.allocation: actor.worker is not None for actor in node.actors.actors.values()}
    return taken | dict.fromkeys(scheduler.actors.values(), True)


def inconsistencies(node: NodeManager) -> Iterator[str]:
    """Free is what nobody has taken, to the last unit and GPU.

    Only CPUs can be overcommitted, and by no more than what tasks have that may have resumed: whether one of them was
    blocked before is written nowhere, but that none ever was is.
    """
    where = node_name(node)
    account, taken = node.resources, allocations(node)
    names = {*account.total, *account.available, *(name for allocation in taken for name in allocation.demand)}
    for name in sorted(names):
        total, free = account.total.get(name, 0), account.available.get(name, 0)
        held = sum(allocation.holds(name) for allocation in taken)
        if free != total - held:
            yield (
                f"{where}: {amount(free)} {name} is free by its account, but of {amount(total)} in all"
                f" {amount(held)} is taken by leases and actors"
            )
        if free >= 0:
            continue
        if name != "CPU":
            yield f"{where}: {name} is overcommitted by {amount(-free)}"
        elif not node.leases.queue._blocks:
            yield f"{where}: CPU is overcommitted by {amount(-free)}, though no task was ever blocked"
        elif -free > (resumed := sum(allocation.holds(name) for allocation, works in taken.items() if works)):
            yield f"{where}: CPU is overcommitted by {amount(-free)}, and only {amount(resumed)} can have resumed"
    yield from _instances(where, node, taken)


def _instances(where: str, node: NodeManager, taken: dict[Allocation, bool]) -> Iterator[str]:
    account = node.resources
    for name, shares in account._free_instances.items():
        given: Counter[int] = Counter()
        for allocation in taken:
            wanted, indices = allocation.demand.get(name, 0), allocation.instances.get(name, [])
            if wanted and len(indices) != max(1, wanted // UNITS):
                yield f"{where}: {amount(wanted)} {name} was taken, with {len(indices)} instances of it"
            for index in indices:
                given[index] += min(wanted, UNITS)
        for index, share in enumerate(shares):
            expected = min(UNITS, account.total[name] - index * UNITS) - given[index]
            if share != expected:
                yield f"{where}: {amount(share)} of {name} {index} is free by its account, and {amount(expected)} is"
            elif share < 0:
                yield f"{where}: {name} {index} is overcommitted by {amount(-share)}"


def leftovers(node: NodeManager, survivors: Survivors) -> Iterator[str]:
    """All is free, but for what detached actors live on."""
    where, account = node_name(node), node.resources
    kept = [node.leases.actors[process_id] for process_id in node.leases.actors if process_id in survivors.processes]
    for name in sorted({*account.total, *account.available}):
        expected = account.total.get(name, 0) - sum(allocation.holds(name) for allocation in kept)
        free = account.available.get(name, 0)
        if free != expected:
            yield f"{where}: {amount(free)} {name} is free, and not {amount(expected)}"
