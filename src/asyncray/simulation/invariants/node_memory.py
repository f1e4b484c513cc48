"""A node's store: the allocator's extents, the objects in its blocks, and who reads them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import pairwise

from asyncray.node.service import NodeManager
from asyncray.node.sessions import Session
from asyncray.node.store_manager import StoreManager
from asyncray.simulation.disk import SimulatedDisk
from asyncray.simulation.invariants.naming import node_name, object_name, session_name, short
from asyncray.simulation.invariants.state import ClusterState, Survivors
from asyncray.store.admission import State
from asyncray.store.allocator import Allocator, block_size
from asyncray.store.overflow import Overflow
from asyncray.store.table import NODE, ObjectTable


def inconsistencies(node: NodeManager) -> Iterator[str]:
    """Blocks and free extents tile the used part of the arena; each block is one object's; pins are of blocks."""
    where, store = node_name(node), node.store
    if not hasattr(store, "table"):  # it has not started
        return
    yield from allocator_inconsistencies(where, store.table.allocator)
    yield from overflow_inconsistencies(where, store.table.overflow)
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


def overflow_inconsistencies(where: str, overflow: Overflow) -> Iterator[str]:
    if overflow._allocator is None:
        return
    yield from allocator_inconsistencies(f"{where}, overflow", overflow._allocator)
    blocks = overflow._allocator._blocks
    for offset, size in overflow._freed:
        if blocks.get(offset - overflow.start) != size:
            yield f"{where}: {size} bytes of the overflow at {offset} are to be given back, and are no block"
    if overflow.reserving is not None and overflow.reserving - overflow.start not in blocks:
        yield f"{where}: disk space is being got for what is no block of the overflow"


def table_inconsistencies(where: str, table: ObjectTable) -> Iterator[str]:
    yield from _blocks(where, table)
    writing: dict[int, dict[bytes, None]] = {}
    for key, writers in table._unsealed.items():
        for client in writers:
            writing.setdefault(client, {})[key] = None
        if not writers:
            yield f"{where}: object {object_name(key)} is unsealed, and nobody writes it"
    if writing != table._writing:
        yield f"{where}: the objects being written are not the same by writer"
    owned: dict[bytes, dict[bytes, None]] = {}
    for key, sealed in table._sealed.items():
        owned.setdefault(sealed.owner, {})[key] = None
        if sealed.key != key:
            yield f"{where}: object {object_name(sealed.key)} is listed as {object_name(key)}"
        if sealed.owner in table._lost_owners:
            yield f"{where}: object {object_name(key)} is kept for process {short(sealed.owner)}, which is gone"
    if owned != table._owned:
        yield f"{where}: the sealed objects are not the same by owner"
    yield from _pins(where, table)
    yield from _idle(where, table)
    yield from _files(where, table)


def _blocks(where: str, table: ObjectTable) -> Iterator[str]:
    """Each block belongs to one copy of one object."""
    sealed = [*table._sealed.values(), *(block for kept in table._waiting.values() for block in kept)]
    copies = [(block.key, block.offset, block.size) for block in sealed if block.offset is not None]
    for key, writers in table._unsealed.items():
        copies += [(key, block.offset, block.size) for block in writers.values()]
    users: dict[int, bytes] = {}
    blocks, overflow = table.allocator._blocks, table.overflow
    on_disk = overflow._allocator._blocks if overflow._allocator is not None else {}
    if any(block.in_overflow != (block.offset is not None and block.offset >= overflow.start) for block in sealed):
        yield f"{where}: a block is said to lie in the overflow, and does not, or the other way round"
    for key, offset, size in copies:
        what = f"{where}: object {object_name(key)}"
        if offset in users:
            yield f"{what} shares the block at {offset} with object {object_name(users[offset])}"
        users[offset] = key
        if offset >= overflow.start:
            if on_disk.get(offset - overflow.start, 0) < size:
                yield f"{what} has {size} bytes at {offset}, where the overflow has no block as large"
            if offset == overflow.reserving or offset in dict(overflow._freed):
                yield f"{what} is at {offset}, where a block of the overflow is being got, or given back"
        elif offset not in blocks:
            yield f"{what} is at {offset}, where no block was given out"
        elif blocks[offset] != block_size(size):
            yield f"{what} has {size} bytes, in a block of {blocks[offset]}"
    for offset, size in blocks.items():
        if offset not in users:
            yield f"{where}: the block of {size} bytes at {offset} belongs to no object"


def _pins(where: str, table: ObjectTable) -> Iterator[str]:
    pinned: set[tuple[int, bytes]] = set()
    for key, sealed in table._sealed.items():
        pinned |= {(client, key) for client in sealed.pinned_by}
    for key, blocks in table._waiting.items():
        pinned |= {(client, key) for block in blocks for client in block.pinned_by}
        if not blocks or not all(block.pinned_by for block in blocks):
            yield f"{where}: a freed copy of object {object_name(key)} is kept, and nobody has it pinned"
    counted = {(client, key): count for client, counts in table._pins.items() for key, count in counts.items()}
    for client, key in sorted(pinned ^ counted.keys()):
        how = "by its block only" if (client, key) in pinned else "by its count only"
        yield f"{where}: object {object_name(key)} is pinned for client {client} {how}"
    for (client, key), count in counted.items():
        if count < 1:
            yield f"{where}: client {client} has pinned object {object_name(key)} {count} times"


def _idle(where: str, table: ObjectTable) -> Iterator[str]:
    """Whatever nobody reads is in the queue of those that may go for its kind."""
    idle = table.idle
    queues = {"evictable": idle._evictable, "backup": idle._backups, "spillable": idle._spillable}
    queues |= {"redundant": idle._redundant, "resting": idle._resting}
    queued = {key: kind for kind, queue in queues.items() for key in queue}
    right: dict[bytes, str] = {}
    for key, block in table._sealed.items():
        if block.offset is None:
            if not block.on_disk:
                yield f"{where}: object {object_name(key)} is neither in the arena nor on disk"
            continue
        if not block.pinned_by:
            spillable, backup = block.primary and not block.on_disk, block.backup and not block.primary
            right[key] = "spillable" if spillable else "backup" if backup else "evictable"
            if block.in_overflow:
                right[key] = "resting" if spillable else "redundant"
            if block.orphan and not block.primary:
                yield f"{where}: the copy of object {object_name(key)} is an orphan, and nobody reads it"
    for key in sorted(queued.keys() | right.keys()):
        if queued.get(key) != right.get(key):
            yield f"{where}: object {object_name(key)} is queued as {queued.get(key)}, and is {right.get(key)}"
    counted = (idle.evictable_bytes, idle.spillable_bytes)
    evictable = sum(block.taken for queue in (idle._evictable, idle._backups) for block in queue.values())
    spillable_bytes = sum(block.taken for block in idle._spillable.values())
    if counted != (evictable, spillable_bytes):
        yield (
            f"{where}: {evictable} bytes can be evicted and {spillable_bytes} spilled, and by its account"
            f" {counted[0]} and {counted[1]}"
        )


def _files(where: str, table: ObjectTable) -> Iterator[str]:
    """What is on disk is in one file, which is kept for that."""
    files = table.files
    on_disk = {key for key, block in table._sealed.items() if block.on_disk}
    for key in sorted(on_disk ^ files._extents.keys()):
        which = "should be in a file, and is in none" if key in on_disk else "is in a file, and need not be"
        yield f"{where}: object {object_name(key)} {which}"
    for path, file in files._files.items():
        extents = sorted((extent.offset, extent.size) for key, extent in files._extents.items() if extent.path == path)
        if any(offset + size > after for (offset, size), (after, _) in pairwise(extents)):
            yield f"{where}: objects overlap in the file {path}"
        if not file.live and not file.readers:
            yield f"{where}: the file {path} is kept for nothing"
        if file.live.keys() != {key for key, extent in files._extents.items() if extent.path == path}:
            yield f"{where}: the objects in the file {path} are not the same in both tables"
    if files.live_bytes != sum(extent.size for extent in files._extents.values()):
        yield f"{where}: {files.live_bytes} bytes are spilled by its account, and that is wrong"


def _clients(where: str, node: NodeManager, store: StoreManager) -> Iterator[str]:
    table, numbers = store.table, {NODE, *store._clients.values(), *store.survivors.clients}
    for session in store._clients:
        if node.sessions.by_process.get(session.process_id) is not session:
            yield f"{where}: {session_name(session)} is a client of the store, and its session has ended"
    for client in {**table._pins, **table._writing}:
        if client not in numbers:
            yield f"{where}: the store's client {client} pins or writes objects, and is no session's"
    for key, requests in store._pins._by_key.items():
        what = f"{where}: object {object_name(key)}"
        restoring = table.holds(key)
        for request in requests:
            who = session_name(request.session)
            if request.session not in store._clients:
                yield f"{what} is waited for by {who}, which is no client, and will get no answer"
            if request.fetching is None and not table.is_unsealed(key) and not restoring:
                yield f"{what} is waited for by {who}, and nobody writes it"
            if request.block is not None and key not in table._pins.get(request.client, ()):
                yield f"{what} is to be told to {who}, and is not pinned for it"
    yield from _queue(where, store)
    yield from _on_disk(where, store)


def _on_disk(where: str, store: StoreManager) -> Iterator[str]:
    """What is needed of the spilled objects is there, and what is under way is known."""
    disk, files = store._platform.disk, store.table.files
    there = disk.contents.files() if files._files and isinstance(disk, SimulatedDisk) else {}
    for path in files._files if isinstance(disk, SimulatedDisk) else ():
        ends = [extent.offset + extent.size for extent in files._extents.values() if extent.path == path]
        needed = max(ends, default=0)
        if there.get(path, -1) < needed:
            yield f"{where}: the file {path} has less than {needed} bytes, or is not there"
    if store.table.overflow.reserving is not None and not store._background:
        yield f"{where}: disk space is being got for the overflow, and nobody gets it"
    for directory in store._spill.decisions.directories:
        if directory.busy and not store._background:
            yield f"{where}: objects are being written to {directory.path}, and nobody writes"
    for key in store._spill._restoring:
        if not store._background:
            yield f"{where}: object {object_name(key)} is being restored, and nobody reads it"


def _queue(where: str, store: StoreManager) -> Iterator[str]:
    """Whoever waits for room will be told."""
    waiting = list(store._room.admission)
    for ticket in waiting:
        what = f"{where}: a block for object {object_name(ticket.key)}"
        if ticket not in store._room.tickets:
            yield f"{what} waits for room, and nobody will be told"
        if ticket.state is not State.WAITING:
            yield f"{what} waits for room, and is {ticket.state.name.lower()}"
    if len(store._room.tickets) != len(waiting):
        yield f"{where}: {len(waiting)} blocks wait for room, and {len(store._room.tickets)} are waited for"
    for (session, number), ticket in store._room.creations.items():
        if ticket not in store._room.tickets or store._clients.get(session) != ticket.client:
            yield f"{where}: creation {number} of {session_name(session)} waits for a block that is not waited for"
    if waiting and store._room.timer is None:
        yield f"{where}: {len(waiting)} blocks wait for room without an end"


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
        for key in runtime.store._pins:
            if key not in counts:
                yield f"{reader} reads object {object_name(key)} without a pin"


def leftovers(node: NodeManager, survivors: Survivors) -> Iterator[str]:
    """No block, but for objects of detached actors and their pins."""
    where, store = node_name(node), node.store
    if not hasattr(store, "table"):
        yield f"{where}: it has not started"
        return
    table = store.table
    sessions = {number: session for session, number in store._clients.items()}
    kept = {number for number, session in sessions.items() if session.process_id in survivors.processes}
    for key, sealed in table._sealed.items():
        if sealed.owner not in survivors.processes and not sealed.pinned_by & kept:
            yield f"{where}: object {object_name(key)} of process {short(sealed.owner)} is in the store"
    for client, counts in table._pins.items():
        for key in counts if client not in kept else ():
            yield f"{where}: object {object_name(key)} is pinned by {_client_name(sessions, client)}"
    for key, writers in table._unsealed.items():
        for client in writers:
            yield f"{where}: object {object_name(key)} was not sealed by {_client_name(sessions, client)}"
    for key, waiting in store._pins._by_key.items():
        yield f"{where}: object {object_name(key)} is waited for by {len(waiting)} pins"
    for ticket in store._room.admission:
        yield f"{where}: a block for object {object_name(ticket.key)} waits for room"
    if store._spill.decisions.busy or store._spill._restoring:
        yield f"{where}: objects are on their way to disk or back"
    for path, file in table.files._files.items():
        if file.readers:
            yield f"{where}: the file {path} is read by {file.readers}"
    disk = store._platform.disk
    if not table.files._files and isinstance(disk, SimulatedDisk):
        for path in disk.contents.files():
            if os.path.dirname(path) in store._spill._made:
                yield f"{where}: the file {path} is left"
    if not (table._sealed or table._unsealed or table._waiting) and table.used:
        yield f"{where}: {table.used} bytes of the arena are in use"
    if not (table._sealed or table._unsealed or table._waiting) and table.overflow.used:
        yield f"{where}: {table.overflow.used} bytes of the overflow are in use"
    if table.idle.redundant:
        yield f"{where}: {len(table.idle.redundant)} blocks lie in the overflow for nothing"


def _client_name(sessions: dict[int, Session], client: int) -> str:
    if client == NODE:
        return "the node itself"
    return session_name(sessions[client]) if client in sessions else f"client {client}"
