"""A node's tables, right and spoiled."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from asyncray import messages
from asyncray.ids import store_key
from asyncray.node.lease_queue import Allocation, LeaseRequest
from asyncray.node.local_scheduler import Lease
from asyncray.node.service import NodeManager
from asyncray.node.worker_pool import Claim
from asyncray.simulation.invariants import ClusterState, consistency, quiescence
from asyncray.simulation.invariants.node_memory import (
    allocator_inconsistencies,
    overflow_inconsistencies,
    table_inconsistencies,
)
from asyncray.store.allocator import Allocator
from asyncray.store.table import ObjectTable

from .invariant_parts import JOB, Node, busy_node


async def test_a_busy_node_is_consistent() -> None:
    node = await busy_node()
    assert consistency(node.state) == []
    assert len(node.manager.leases.leases) == 3 and len(node.manager.leases.queue) == 1


async def test_a_node_that_is_given_back_everything_is_quiet() -> None:
    node = await Node(CPU=1).start()
    (worker,) = node.come_up()
    node.driver.ask(1)
    ((_, lease, _),) = node.driver.granted()
    assert quiescence(node.state) != []
    node.driver.say(messages.LEASE_RETURN, lease)
    node.driver.hang_up()
    node.manager.control._on_job_ended(JOB)
    node.launches.exited(worker.process_id, "its job ended")
    worker.hang_up()
    node.come_up()
    left = quiescence(node.state)
    assert all("in its pool, and does not live" in text or "does not live" in text for text in left), left


def first_lease(node: NodeManager) -> Lease:
    return next(iter(node.leases.leases.values()))


def unassigned(node: NodeManager) -> Lease:
    return next(iter(node.leases.scheduler._unassigned.values()))


def take_cpu(node: NodeManager) -> None:
    node.resources.available["CPU"] += 5000


def overcommit_memory(node: NodeManager) -> None:
    first_lease(node).allocation.demand["memory"] = 90_000
    node.resources.available["memory"] -= 90_000


def overcommit_cpus_of_nobody(node: NodeManager) -> None:
    unassigned(node).allocation.demand["CPU"] += 60_000
    node.resources.available["CPU"] -= 60_000


def forget_that_tasks_were_blocked(node: NodeManager) -> None:
    overcommit_cpus_of_nobody(node)
    node.leases.queue._blocks = 0


def share_a_gpu(node: NodeManager) -> None:
    node.resources._free_instances["GPU"][1] -= 1000


def lose_a_worker(node: NodeManager) -> None:
    del node.pool.workers[first_lease(node).worker or b""]


def free_a_leased_worker(node: NodeManager) -> None:
    node.pool.workers[first_lease(node).worker or b""].busy = False


def forget_a_lease(node: NodeManager) -> None:
    node.leases.scheduler._end(first_lease(node))


def drop_a_claim(node: NodeManager) -> None:
    claim = node.leases._claims[unassigned(node).lease_id]
    node.pool._claims.remove(claim)


def claim_for_nobody(node: NodeManager) -> None:
    node.pool._claims.append(Claim(JOB, lambda worker: None, dedicated=False))


def count_a_lease_too_many(node: NodeManager) -> None:
    node.leases.queue.held[first_lease(node).request.claimant] += 1


def count_a_job_too_busy(node: NodeManager) -> None:
    node.leases.queue.active[JOB] += 1


def lose_a_request(node: NodeManager) -> None:
    del node.leases.queue._by_key[b"d" * 16, 3]


def ask_for_a_stranger(node: NodeManager) -> None:
    node.leases.queue.add(LeaseRequest((b"x" * 16, 1), {"CPU": 10_000}, JOB, 0.0))


def block_a_stranger(node: NodeManager) -> None:
    node.leases.queue._blocked[b"x" * 16] = 9


def lose_the_drivers_session(node: NodeManager) -> None:
    del node.sessions.by_process[b"d" * 16]


def host_twice(node: NodeManager) -> None:
    node.actors._by_worker[b"w" * 16] = next(iter(node.actors.actors.values()))


def cancel_the_actors_claim(node: NodeManager) -> None:
    actor = next(iter(node.actors.actors.values()))
    assert actor.claim is not None
    actor.claim.cancelled = True


def keep_a_dead_actors_resources(node: NodeManager) -> None:
    node.leases.actors[b"w" * 16] = Allocation({})


def ask_for_a_pin_without_being_a_client(node: NodeManager) -> None:
    del node.store._clients[node.sessions.by_process[b"d" * 16]]


def forget_who_waits_for_a_writer(node: NodeManager) -> None:
    unsealed = store_key(b"\3" * 20, b"d" * 16)
    node.store.table._unsealed.clear()
    assert node.store._pins._by_key[unsealed]


def lose_a_client(node: NodeManager) -> None:
    node.store._clients.clear()


PLANTED = [
    (take_cpu, "node 6e6e6e6e: 2 CPU is free by its account, but of 3 in all 1.5 is taken by leases and actors"),
    (overcommit_memory, "node 6e6e6e6e: memory is overcommitted by 3"),
    (overcommit_cpus_of_nobody, "node 6e6e6e6e: CPU is overcommitted by 4.5, and only 1 can have resumed"),
    (forget_that_tasks_were_blocked, "node 6e6e6e6e: CPU is overcommitted by 4.5, though no task was ever blocked"),
    (share_a_gpu, "node 6e6e6e6e: 0.9 of GPU 1 is free by its account, and 1 is"),
    (lose_a_worker, "of driver 64646464 is for worker 01000000, which does not exist"),
    (free_a_leased_worker, "of driver 64646464 is for worker 01000000, which is idle as the pool knows it"),
    (forget_a_lease, "node 6e6e6e6e: worker 01000000 is busy, and nobody has a lease of it"),
    (drop_a_claim, "of driver 64646464 has no worker, and no claim for one waits in the pool"),
    (claim_for_nobody, "node 6e6e6e6e: a worker of job 6a6f6231 is claimed, and nobody waits for it"),
    (count_a_lease_too_many, "driver 64646464 holds 1 leases of 1 CPU, 0.5 GPU, and 2 are counted"),
    (count_a_job_too_busy, "node 6e6e6e6e: job 6a6f6231 has 2 leases at work, and 3 are counted"),
    (lose_a_request, "request 3 of process 64646464 waits in one table of the queue only"),
    (ask_for_a_stranger, "node 6e6e6e6e: request 1 waits, and its process 78787878 has no session"),
    (block_a_stranger, "node 6e6e6e6e: process 78787878 counts as blocked, and has no session"),
    (lose_the_drivers_session, "is held by process 64646464, which has no session"),
    (host_twice, "node 6e6e6e6e: worker 77777777 is listed with actor 6163746f"),
    (cancel_the_actors_claim, "node 6e6e6e6e: actor 6163746f has no worker, and no claim for one waits in the pool"),
    (keep_a_dead_actors_resources, "resources are kept for an actor in worker 77777777, which does not exist"),
    (
        ask_for_a_pin_without_being_a_client,
        "object 03030303.50529027 is waited for by driver 64646464, which is no client, and will get no answer",
    ),
    (
        forget_who_waits_for_a_writer,
        "object 03030303.50529027 is waited for by driver 64646464, and nobody writes it",
    ),
    (lose_a_client, "node 6e6e6e6e: the store's client 1 pins or writes objects, and is no session's"),
]


@pytest.mark.parametrize(("plant", "sentence"), PLANTED, ids=[plant.__name__ for plant, _ in PLANTED])
async def test_what_is_wrong_on_a_node_is_named(plant: Callable[[NodeManager], None], sentence: str) -> None:
    node = await busy_node()
    plant(node.manager)
    found = consistency(node.state)
    assert any(sentence in text for text in found), found


LEFT = [
    "node 6e6e6e6e: actor 6163746f",
    "node 6e6e6e6e: lease 04000000 of worker 01000000 is held by driver 64646464, which is dead",
    "node 6e6e6e6e: request 3 of driver 64646464 for 3 CPU waits",
    "node 6e6e6e6e: worker 01000000 counts as blocked, and has no task",
    "node 6e6e6e6e: it is kept when job 6a6f6231 was served, which has ended",
    "node 6e6e6e6e: worker 01000000 is busy, though everything is over",
    "node 6e6e6e6e: a claim of job 6a6f6231 for a worker waits",
    "node 6e6e6e6e: what a worker must know of job 6a6f6231 is kept, which has ended",
    "node 6e6e6e6e: object 02020202.33686018 of process 64646464 is in the store",
    "node 6e6e6e6e: object 00000000.0 is pinned by worker 02000000",
    "node 6e6e6e6e: object 03030303.50529027 was not sealed by worker 01000000",
    "node 6e6e6e6e: object 03030303.50529027 is waited for by 1 pins",
    "node 6e6e6e6e: 1.5 GPU is free, and not 2",
]


async def test_what_is_left_on_a_node_is_named() -> None:
    node = await busy_node()
    node.manager.actors.actors.clear()  # without a control plane actors may live on
    found = quiescence(node.state)
    for sentence in LEFT[1:]:
        assert any(text.startswith(sentence) for text in found), (sentence, found)
    assert not any(text.startswith(LEFT[0]) for text in found)


OWNER = b"owner-----------"
KEYS = [store_key(bytes([number]) * 20, OWNER) for number in range(6)]


def stored() -> ObjectTable:
    table = ObjectTable(1 << 20, 1 << 20)
    for number in range(4):
        table.create(1, KEYS[number], 1000 + number)
    for number in range(3):
        table.seal(1, KEYS[number])
    table.pin(2, KEYS[0])
    table.pin(2, KEYS[1])
    table.free([KEYS[0]])
    table.create(3, KEYS[2], 100_000)
    table.free([KEYS[2]])
    for number, primary in ((4, True), (5, False)):
        offset = table.overflow.begin(1000, 0.0)
        assert offset is not None
        table.overflow.end(offset)
        table.create_in_overflow(1, KEYS[number], 1000, offset)
        table.seal(1, KEYS[number], primary=primary)
    return table


def test_a_table_of_objects_in_all_states_is_consistent() -> None:
    table = stored()
    assert list(allocator_inconsistencies("store", table.allocator)) == []
    assert list(table_inconsistencies("store", table)) == []
    assert list(overflow_inconsistencies("store", table.overflow)) == []


def overlap(allocator: Allocator) -> None:
    allocator._blocks[64] = 1024


def leave_a_gap(allocator: Allocator) -> None:
    allocator._by_size.clear()
    allocator._sizes.clear()
    allocator._offsets.clear()


def split_a_free_extent(allocator: Allocator) -> None:
    ((offset, size),) = allocator._sizes.items()
    allocator._sizes.update({offset: 64, offset + 64: size - 64})


def move_the_tail(allocator: Allocator) -> None:
    allocator.tail += 64


def miscount(allocator: Allocator) -> None:
    allocator.used -= 64


ARENA = [
    (overlap, "store: the block at 64 overlaps what ends at 1024"),
    (leave_a_gap, "is neither free nor given out"),
    (split_a_free_extent, "is not one with that before it"),
    (move_the_tail, "store: the arena of 1048576 bytes is used up to 106496, and by its account to 106560"),
    (miscount, "bytes are given out, and"),
]


@pytest.mark.parametrize(("plant", "sentence"), ARENA, ids=[plant.__name__ for plant, _ in ARENA])
def test_what_is_wrong_in_an_arena_is_named(plant: Callable[[Allocator], None], sentence: str) -> None:
    allocator = Allocator(1 << 20)
    offsets = [allocator.allocate(size) for size in (1000, 2000, 1000, 100_000)]
    allocator.free(offsets[1] or 0)
    assert list(allocator_inconsistencies("store", allocator)) == []
    plant(allocator)
    found = list(allocator_inconsistencies("store", allocator))
    assert any(sentence in text for text in found), found


def free_under_an_object(table: ObjectTable) -> None:
    table.allocator.free(table._sealed[KEYS[1]].offset)


def use_a_block_twice(table: ObjectTable) -> None:
    table._sealed[KEYS[1]].offset = table._unsealed[KEYS[3]][1].offset


def forget_a_pin(table: ObjectTable) -> None:
    del table._pins[2][KEYS[1]]


def keep_what_nobody_pins(table: ObjectTable) -> None:
    table._waiting[KEYS[0]][0].pinned_by.clear()


def forget_a_writer(table: ObjectTable) -> None:
    del table._writing[1]


def forget_an_owner(table: ObjectTable) -> None:
    del table._owned[OWNER]


def lose_an_owner(table: ObjectTable) -> None:
    table._lost_owners[OWNER] = None


def free_in_the_overflow(table: ObjectTable) -> None:
    table.overflow.free(table._sealed[KEYS[4]].offset or 0)


def forget_a_block_of_the_overflow(table: ObjectTable) -> None:
    table.overflow._allocator.free(0)  # type: ignore[union-attr]


def take_it_for_a_block_of_the_arena(table: ObjectTable) -> None:
    table._sealed[KEYS[4]].in_overflow = False


def queue_a_primary_copy_to_go(table: ObjectTable) -> None:
    table.idle._redundant |= table.idle._resting
    table.idle._resting.clear()


TABLE = [
    (free_in_the_overflow, "where a block of the overflow is being got, or given back"),
    (forget_a_block_of_the_overflow, "has 1000 bytes at 1048576, where the overflow has no block as large"),
    (take_it_for_a_block_of_the_arena, "a block is said to lie in the overflow, and does not"),
    (queue_a_primary_copy_to_go, "object 04040404.67372036 is queued as redundant, and is resting"),
    (free_under_an_object, "object 01010101.16843009 is at 1024, where no block was given out"),
    (use_a_block_twice, "object 03030303.50529027 shares the block at 3072 with object 01010101.16843009"),
    (forget_a_pin, "object 01010101.16843009 is pinned for client 2 by its block only"),
    (keep_what_nobody_pins, "a freed copy of object 00000000.0 is kept, and nobody has it pinned"),
    (forget_a_writer, "the objects being written are not the same by writer"),
    (forget_an_owner, "the sealed objects are not the same by owner"),
    (lose_an_owner, "object 01010101.16843009 is kept for process 6f776e65, which is gone"),
]


@pytest.mark.parametrize(("plant", "sentence"), TABLE, ids=[plant.__name__ for plant, _ in TABLE])
def test_what_is_wrong_in_a_table_of_objects_is_named(plant: Callable[[ObjectTable], None], sentence: str) -> None:
    table = stored()
    plant(table)
    found = list(table_inconsistencies("store", table))
    assert any(sentence in text for text in found), found


async def test_a_node_that_has_not_started_is_consistent_and_not_quiet() -> None:
    node = Node(memory=1)
    del node.manager.store.table
    state = ClusterState(None, [node.manager], [])
    assert consistency(state) == []
    assert quiescence(state) == ["node 6e6e6e6e: it has not started"]
