"""A node's store: the allocator's extents, the objects in its blocks, and who reads them."""

from __future__ import annotations

from collections.abc import Iterator

from asyncray.node.service import NodeManager
from asyncray.node.store_manager import StoreManager
from asyncray.simulation.invariants.naming import node_name, object_name, session_name, short
from asyncray.simulation.invariants.state import ClusterState, Survivors
from asyncray.store.allocator import Allocator, block_size
from asyncray.store.table import ObjectTable


def inconsistencies(node: NodeManager) -> Iterator[str]:
    """Blocks and free extents tile the used part of the arena; each block is one object's; pins are of blocks."""
    where, store = node_name(node), node.store
    if not hasattr(store, "table"):  # it has not started
        return
    yield from allocator_inconsistencies(where, store.table.allocator)
    yield from table_inconsistencies(where, store.table)
    yield from _clients(where, node, store)


def allocator_inconsistencies(where: str, allocator: Allocator) -> Iterator[str]:
    blocks, free = allocator._blocks, allocator._sizes
    extents = sorted(
        [(offset, size, False) for offset, size in blocks.items()] + [(*item, True) for item in free.items()]
    )
    end, after_free = 0, False
    for offset, size, is_free in extents:
        kind = "free extent" if is_free else "block"
        if offset < end:
            yield f"{where}: the {kind} at {offset} overlaps what ends at {end}"
        elif offset > end:
            yield f"{where}: the arena from {end} to {offset} is neither free nor given out"
        if size <= 0:
            yield f"{where}: the {kind} at {offset} has {size} bytes"
        if is_free and after_free:
            yield f"{where}: the free extent at {offset} is not one with that before it"
        end, after_free = max(end, offset + size), is_free
    if end != allocator.tail or end > allocator.capacity:
        capacity, tail = allocator.capacity, allocator.tail
        yield f"{where}: the arena of {capacity} bytes is used up to {end}, and by its account to {tail}"
    if allocator.used != sum(blocks.values()):
        yield f"{where}: blocks of {sum(blocks.values())} bytes are given out, and {allocator.used} are counted"
    by_end = {offset + size: offset for offset, size in free.items()}
    by_size = sorted((size, offset) for offset, size in free.items())
    if allocator._offsets != by_end or allocator._by_size != by_size:
        yield f"{where}: the free extents of the arena are not the same in all of the allocator's tables"


def table_inconsistencies(where: str, table: ObjectTable) -> Iterator[str]:
    yield from _blocks(where, table)
    writing: dict[int, dict[bytes, None]] = {}
    for object_id, writers in table._unsealed.items():
        for client in writers:
            writing.setdefault(client, {})[object_id] = None
        if not writers:
            yield f"{where}: object {object_name(object_id)} is unsealed, and nobody writes it"
    if writing != table._writing:
        yield f"{where}: the objects being written are not the same by writer"
    owned: dict[bytes, dict[bytes, None]] = {}
    for object_id, sealed in table._sealed.items():
        owned.setdefault(sealed.owner, {})[object_id] = None
        if sealed.object_id != object_id:
            yield f"{where}: object {object_name(sealed.object_id)} is listed as {object_name(object_id)}"
        if sealed.owner in table._lost_owners:
            yield f"{where}: object {object_name(object_id)} is kept for process {short(sealed.owner)}, which is gone"
    if owned != table._owned:
        yield f"{where}: the sealed objects are not the same by owner"
    yield from _pins(where, table)


def _blocks(where: str, table: ObjectTable) -> Iterator[str]:
    """Each block belongs to one copy of one object."""
    copies = [
        (object_id, block.offset, block.size) for object_id, sealed in table._sealed.items() for block in [sealed]
    ]
    copies += [(object_id, block.offset, block.size) for object_id, kept in table._waiting.items() for block in kept]
    for object_id, writers in table._unsealed.items():
        copies += [(object_id, block.offset, block.size) for block in writers.values()]
    users: dict[int, bytes] = {}
    blocks = table.allocator._blocks
    for object_id, offset, size in copies:
        what = f"{where}: object {object_name(object_id)}"
        if offset in users:
            yield f"{what} shares the block at {offset} with object {object_name(users[offset])}"
        users[offset] = object_id
        if offset not in blocks:
            yield f"{what} is at {offset}, where no block was given out"
        elif blocks[offset] != block_size(size):
            yield f"{what} has {size} bytes, in a block of {blocks[offset]}"
    for offset, size in blocks.items():
        if offset not in users:
            yield f"{where}: the block of {size} bytes at {offset} belongs to no object"


def _pins(where: str, table: ObjectTable) -> Iterator[str]:
    pinned: set[tuple[int, bytes]] = set()
    for object_id, sealed in table._sealed.items():
        pinned |= {(client, object_id) for client in sealed.pinned_by}
    for object_id, blocks in table._waiting.items():
        pinned |= {(client, object_id) for block in blocks for client in block.pinned_by}
        if not blocks or not all(block.pinned_by for block in blocks):
            yield f"{where}: a freed copy of object {object_name(object_id)} is kept, and nobody has it pinned"
    counted = {
        (client, object_id): count for client, counts in table._pins.items() for object_id, count in counts.items()
    }
    for client, object_id in sorted(pinned ^ counted.keys()):
        how = "by its block only" if (client, object_id) in pinned else "by its count only"
        yield f"{where}: object {object_name(object_id)} is pinned for client {client} {how}"
    for (client, object_id), count in counted.items():
        if count < 1:
            yield f"{where}: client {client} has pinned object {object_name(object_id)} {count} times"


def _clients(where: str, node: NodeManager, store: StoreManager) -> Iterator[str]:
    table, numbers = store.table, set(store._clients.values())
    for session in store._clients:
        if node.sessions.by_process.get(session.process_id) is not session:
            yield f"{where}: {session_name(session)} is a client of the store, and its session has ended"
    for client in {**table._pins, **table._writing}:
        if client not in numbers:
            yield f"{where}: the store's client {client} pins or writes objects, and is no session's"
    for object_id, waiting in store._waiting.items():
        what = f"{where}: object {object_name(object_id)}"
        if not table.is_unsealed(object_id):
            yield f"{what} is waited for by {len(waiting)} pins, and nobody writes it"
        for session, _ in waiting:
            alive = node.sessions.by_process.get(session.process_id) is session
            if alive and session not in store._clients:
                yield f"{what} is waited for by {session_name(session)}, which is no client, and will get no answer"


def pin_inconsistencies(state: ClusterState) -> Iterator[str]:
    """What a process reads in the arena, its node keeps in place for it.

    The stream with the own node is never dialled again, so while the node has the session, it has the pins.
    """
    nodes = state.nodes_by_id()
    for runtime in state.runtimes:
        node = nodes.get(runtime.membership.node_id)
        session = node.sessions.by_process.get(runtime.process_id) if node is not None else None
        if node is None or session is None or runtime.stopping:
            continue
        reader = f"{node_name(node)}: {session_name(session)}"
        counts = node.store.table._pins.get(node.store._clients.get(session, 0), {})
        for object_id in runtime.store._pins:
            if object_id not in counts:
                yield f"{reader} reads object {object_name(object_id)} without a pin"


def leftovers(node: NodeManager, survivors: Survivors) -> Iterator[str]:
    """No block, but for objects of detached actors and their pins."""
    where, store = node_name(node), node.store
    if not hasattr(store, "table"):
        yield f"{where}: it has not started"
        return
    table = store.table
    sessions = {number: session for session, number in store._clients.items()}
    kept = {number for number, session in sessions.items() if session.process_id in survivors.processes}
    for object_id, sealed in table._sealed.items():
        if sealed.owner not in survivors.processes and not sealed.pinned_by & kept:
            yield f"{where}: object {object_name(object_id)} of process {short(sealed.owner)} is in the store"
    for client, counts in table._pins.items():
        for object_id in counts if client not in kept else ():
            who = session_name(sessions[client]) if client in sessions else f"client {client}"
            yield f"{where}: object {object_name(object_id)} is pinned by {who}"
    for object_id, writers in table._unsealed.items():
        for client in writers:
            who = session_name(sessions[client]) if client in sessions else f"client {client}"
            yield f"{where}: object {object_name(object_id)} was not sealed by {who}"
    for object_id, waiting in store._waiting.items():
        yield f"{where}: object {object_name(object_id)} is waited for by {len(waiting)} pins"
    if not (table._sealed or table._unsealed or table._waiting) and table.used:
        yield f"{where}: {table.used} bytes of the arena are in use"
