"""What the node's store holds: a state machine without I/O, which the node manager feeds with messages.

Clients are the sessions of processes of the node, named by any positive number; `NODE` is the node manager itself.
Objects are known by their keys (`ids.store_key`). A block goes back to the allocator

- unsealed: when its writer aborts or is lost;
- sealed: when the object's owner frees it or is lost, or another copy is sealed over it (its task ran again), and no
  client has it pinned any more; or when it is evicted.

An object's *primary* copy stays in the arena, or in a file of the node (*spilled*, `spill_files.py`), until the owner
frees it. A *secondary* copy came from another node, and may be evicted whenever nobody has it pinned. When all memory
is pinned, blocks may lie in the arena's overflow on disk (`overflow.py`), which is no part of the arena's account.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from asyncray.bounded import Remembered
from asyncray.ids import owner_of
from asyncray.store.allocator import Allocator, block_size
from asyncray.store.blocks import Reason, Refusal, Sealed, Statistics, Unsealed
from asyncray.store.idle import IdleBlocks
from asyncray.store.overflow import Overflow, overflow_start
from asyncray.store.spill_files import Extent, SpillFiles

NODE: Final = 0
"""The client that writes copies and restored objects, and reads what is sent to other nodes or to disk."""

_LOST_OWNERS_KEPT: Final = 10_000
"""Of so many lost owners it is remembered that nothing may be sealed for them any more."""


class ObjectTable:
    """Objects, their blocks, and who has them pinned."""

    def __init__(self, capacity: int, overflow: int = 0, overflow_retry_delay: float = 1.0) -> None:
        """`overflow`: bytes of it, 0 if there is none."""
        self.allocator = Allocator(capacity)
        self.overflow = Overflow(overflow_start(capacity), overflow, overflow_retry_delay)
        self.idle = IdleBlocks()
        self.files = SpillFiles()
        self.dropped: list[bytes] = []
        """Secondary copies that were evicted, or that went as orphans: whoever reports them takes them from here."""
        self._unsealed: dict[bytes, dict[int, Unsealed]] = {}
        """By key and writer: a task that runs again may write while its first worker still does."""
        self._sealed: dict[bytes, Sealed] = {}
        self._waiting: dict[bytes, list[Sealed]] = {}
        """Blocks to free at their last unpin, by key: a newer copy of the object may exist beside them."""
        self._owned: dict[bytes, dict[bytes, None]] = {}
        """Sealed objects by owner."""
        self._pins: dict[int, dict[bytes, int]] = {}
        """How often each client has pinned an object, whichever copies of it."""
        self._writing: dict[int, dict[bytes, None]] = {}
        """Unsealed objects by client."""
        self._lost_owners: Remembered[bytes, None] = Remembered(_LOST_OWNERS_KEPT)
        self._evictions = 0
        self._restores = 0

    @property
    def used(self) -> int:
        """Bytes that blocks take of the arena."""
        return self.allocator.used

    @property
    def available(self) -> int:
        """Bytes that are free, or could be at once."""
        return self.allocator.capacity - self.allocator.used + self.idle.evictable_bytes

    @property
    def writes(self) -> int:
        """Blocks that somebody writes."""
        return sum(map(len, self._unsealed.values()))

    def statistics(self) -> Statistics:
        usage = self.allocator.usage()
        return Statistics(
            capacity=usage.capacity,
            used=usage.used,
            objects=len(self._sealed),
            secondary=sum(not block.primary for block in self._sealed.values()),
            unsealed=self.writes,
            pins=sum(sum(counts.values()) for counts in self._pins.values()),
            waiting=sum(map(len, self._waiting.values())),
            evictable=self.idle.evictable_bytes,
            fragmentation=usage.fragmentation,
            overflow_capacity=self.overflow.capacity,
            overflow_used=self.overflow.used,
            spilled_objects=len(self.files),
            spilled_bytes=self.files.live_bytes,
            spill_files=self.files.files,
            evictions=self._evictions,
            restores=self._restores,
        )

    def copies(self) -> Iterator[Sealed]:
        """All that can be read."""
        return iter(self._sealed.values())

    def pinned_memory(self) -> tuple[int, int]:
        """Bytes of the arena that clients, the node apart, have pinned; and how many these clients are."""
        blocks = [*self._sealed.values(), *(block for blocks in self._waiting.values() for block in blocks)]
        in_arena = [block for block in blocks if block.offset is not None and not block.in_overflow]
        pinned = sum(block.taken for block in in_arena if block.pinned_by - {NODE})
        return pinned, len(self._pins.keys() - {NODE})

    # ------------------------------------------------------------------- writing

    def create(self, client: int, key: bytes, size: int) -> int | Refusal:
        """The offset of a block of `size` bytes for `client` to write, and then to seal or abort.

        A copy that is sealed already stays readable until this one is sealed. Evicts what must go for it, if that is
        enough. Raises ValueError for a size below 1.
        """
        if client in self._unsealed.get(key, ()):
            return self._refusal(Reason.DUPLICATE, size)
        offset = self.allocator.allocate(size)
        if offset is None and block_size(size) <= self.available:
            while offset is None and self.evict():
                offset = self.allocator.allocate(size)
        if offset is None:
            return self._refusal(Reason.TOO_LARGE if block_size(size) > self.allocator.capacity else Reason.FULL, size)
        self._add_unsealed(client, key, Unsealed(offset, size))
        return offset

    def create_in_overflow(self, client: int, key: bytes, size: int, offset: int) -> Refusal | None:
        """`create`, in a block of the overflow for which there is disk space: it is the table's if this gives None."""
        if client in self._unsealed.get(key, ()):
            return self._refusal(Reason.DUPLICATE, size)
        self._add_unsealed(client, key, Unsealed(offset, size, in_overflow=True))
        return None

    def _add_unsealed(self, client: int, key: bytes, block: Unsealed) -> None:
        self._unsealed.setdefault(key, {})[client] = block
        self._writing.setdefault(client, {})[key] = None

    def is_unsealed(self, key: bytes) -> bool:
        """Whether a writer is at work: who cannot pin the object yet should try again after `seal` or `abort`."""
        return key in self._unsealed and key not in self._sealed

    def is_written_by(self, client: int, key: bytes) -> bool:
        return client in self._unsealed.get(key, ())

    def seal(self, client: int, key: bytes, *, primary: bool = True, backup: bool = False) -> bool:
        """The block is written and can be pinned. It takes the place of an older copy, unless it is a secondary one.

        False when `client` was not writing this object.
        """
        block = self._take_unsealed(client, key)
        if block is None:
            return False
        owner = owner_of(key)
        if block.freed or owner in self._lost_owners or (not primary and key in self._sealed):
            self._give_back(block.offset)
            return True
        self._unlist(key)
        sealed = self._sealed[key] = Sealed(key, block.offset, block.size, block.in_overflow, primary, backup)
        self._owned.setdefault(owner, {})[key] = None
        self.idle.add(sealed)
        return True

    def holds(self, key: bytes) -> bool:
        """In the arena or on disk, sealed."""
        return key in self._sealed

    def is_primary(self, key: bytes) -> bool:
        """Whether the copy here is the one that is kept until the owner frees the object."""
        sealed = self._sealed.get(key)
        return sealed is not None and sealed.primary

    def in_arena(self, key: bytes) -> bool:
        """Sealed, and not only in a file; in the overflow, maybe."""
        block = self._sealed.get(key)
        return block is not None and block.offset is not None

    def has_pins(self, client: int) -> bool:
        return client in self._pins

    def holds_for(self, owner: bytes) -> bool:
        """Whether sealed objects of that owner are here."""
        return owner in self._owned

    def abort(self, client: int, key: bytes) -> bool:
        """The block will not be sealed. False when `client` was not writing this object."""
        block = self._take_unsealed(client, key)
        if block is None:
            return False
        self._give_back(block.offset)
        return True

    # ------------------------------------------------------------------- reading

    def pin(self, client: int, key: bytes) -> tuple[int, int] | None:
        """`(offset, size)` of the sealed object, which stays in place until `client` unpins it as often as it has
        pinned it. None when it is not in the arena."""
        block = self._sealed.get(key)
        if block is None or block.offset is None:
            return None
        if not block.pinned_by:
            self.idle.remove(block)
        block.pinned_by.add(client)
        counts = self._pins.setdefault(client, {})
        counts[key] = counts.get(key, 0) + 1
        return block.offset, block.size

    def unpin(self, client: int, key: bytes) -> bool:
        """Gives one pin back. False when `client` had none.

        A client that has pinned an older and a newer copy of an object keeps both until its last unpin: which of
        them it still reads cannot be told.
        """
        counts = self._pins.get(client)
        count = counts.get(key) if counts is not None else None
        if counts is None or count is None:
            return False
        if count > 1:
            counts[key] = count - 1
            return True
        del counts[key]
        if not counts:
            del self._pins[client]
        self._release(client, key)
        return True

    # ------------------------------------------------------------ copies and files

    def promote(self, key: bytes) -> bool:
        """Makes a secondary copy the primary one: that is lost. False when it is not here."""
        block = self._sealed.get(key)
        if block is None:
            return False
        idle = block.offset is not None and not block.pinned_by
        if idle:
            self.idle.remove(block)
        block.primary, block.orphan = True, False
        if idle:
            self.idle.add(block)
        return True

    def orphan(self, keys: Iterable[bytes]) -> None:
        """Nobody can free these secondary copies: they go when nobody reads them."""
        for key in keys:
            block = self._sealed.get(key)
            if block is None or block.primary:
                continue
            block.orphan = True
            if not block.pinned_by:
                self._drop(block)

    def evict(self) -> bool:
        """Frees the block that is the first to go. False when all are pinned, or nowhere else."""
        key = self.idle.next_to_evict()
        if key is None:
            return False
        self._evictions += 1
        self._evict(self._sealed[key])
        return True

    def trim_overflow(self) -> None:
        """Frees blocks that take disk space though nobody reads them, and that are elsewhere as well."""
        for key in self.idle.redundant:
            self._evict(self._sealed[key])

    def _evict(self, block: Sealed) -> None:
        if block.primary:
            self.idle.remove(block)
            self._free_block(block)
        else:
            self._drop(block)

    def begin_spill(self, keys: Iterable[bytes]) -> list[Sealed]:
        """Keeps idle primary copies in place while they are written to a file."""
        blocks = []
        for key in keys:
            self.pin(NODE, key)
            blocks.append(self._sealed[key])
        return blocks

    def end_spill(self, blocks: Iterable[Sealed], file: tuple[str, list[Extent]] | None) -> None:
        """They were written to a file (path, where in it), or that has failed. Some may have been freed."""
        blocks = list(blocks)
        if file is not None:
            path, extents = file
            written = [
                (block, extent)
                for block, extent in zip(blocks, extents, strict=True)
                if self._sealed.get(block.key) is block
            ]
            for block, _ in written:
                block.on_disk = True
            self.files.add(path, [(block.key, extent) for block, extent in written])
        for block in blocks:
            self.unpin(NODE, block.key)

    def restored(self, key: bytes) -> bool:
        """The block that `NODE` was writing has the bytes of a spilled object again. False when it is not needed."""
        written = self._take_unsealed(NODE, key)
        assert written is not None
        block = self._sealed.get(key)
        if written.freed or block is None or block.offset is not None or block.size != written.size:
            self._give_back(written.offset)
            return False
        block.offset, block.in_overflow = written.offset, written.in_overflow
        self._restores += 1
        self.idle.add(block)
        return True

    def spoiled(self, key: bytes) -> None:
        """What a file has of a spilled object is not what was written: the object is lost."""
        self._unlist(key)

    # -------------------------------------------------------------------- ending

    def free(self, keys: Iterable[bytes]) -> None:
        """Their owners do not need them any more. Blocks in use go at their last unpin, unsealed ones when sealed."""
        for key in keys:
            for block in self._unsealed.get(key, {}).values():
                block.freed = True
            self._unlist(key)

    def client_lost(self, client: int) -> list[bytes]:
        """Gives back what `client` had not sealed, and its pins. Returns the keys of what it was writing.

        Only when its process cannot write to the arena any more.
        """
        written = list(self._writing.get(client, ()))
        for key in written:
            self.abort(client, key)
        for key in self._pins.pop(client, ()):
            self._release(client, key)
        return written

    def owner_lost(self, owner: bytes) -> list[bytes]:
        """Nobody is left to free what `owner` owned, so all of it is freed; what is sealed for it later, too.

        Returns the keys.
        """
        self._lost_owners[owner] = None
        keys = list(self._owned.get(owner, ()))
        for key in keys:
            self._unlist(key)
        return keys

    def owner_returned(self, owner: bytes) -> None:
        """It was out of reach, and lives: what is sealed for it from now on stays."""
        self._lost_owners.pop(owner, None)

    # ----------------------------------------------------------------- internals

    def _refusal(self, reason: Reason, size: int) -> Refusal:
        allocator = self.allocator
        return Refusal(reason, size, allocator.capacity, allocator.used, allocator.largest_free)

    def _take_unsealed(self, client: int, key: bytes) -> Unsealed | None:
        writers = self._unsealed.get(key, {})
        block = writers.pop(client, None)
        if block is None:
            return None
        if not writers:
            del self._unsealed[key]
        writing = self._writing[client]
        del writing[key]
        if not writing:
            del self._writing[client]
        return block

    def _unlist(self, key: bytes) -> None:
        """Nobody can pin the sealed copy from now on; its block goes when nobody has."""
        block = self._sealed.pop(key, None)
        if block is None:
            return
        owned = self._owned[block.owner]
        del owned[key]
        if not owned:
            del self._owned[block.owner]
        if block.pinned_by:
            self._waiting.setdefault(key, []).append(block)
        elif block.offset is not None:
            self.idle.remove(block)
            self._free_block(block)
        if block.on_disk:
            self.files.forget(key)

    def _drop(self, block: Sealed) -> None:
        """A secondary copy goes though its owner has not freed it."""
        self.dropped.append(block.key)
        self._unlist(block.key)

    def _free_block(self, block: Sealed) -> None:
        assert block.offset is not None
        self._give_back(block.offset)
        block.offset, block.in_overflow = None, False

    def _give_back(self, offset: int) -> None:
        if offset < self.overflow.start:
            self.allocator.free(offset)
        else:
            self.overflow.free(offset)

    def _release(self, client: int, key: bytes) -> None:
        """`client` reads no copy of the object any more."""
        current = self._sealed.get(key)
        if current is not None and client in current.pinned_by:
            current.pinned_by.remove(client)
            if not current.pinned_by:
                self.idle.add(current)
                if current.orphan:
                    self._drop(current)
        waiting = self._waiting.get(key)
        if waiting is None:
            return
        for block in waiting:
            block.pinned_by.discard(client)
            if not block.pinned_by:
                self._free_block(block)
        waiting = [block for block in waiting if block.pinned_by]
        if waiting:
            self._waiting[key] = waiting
        else:
            del self._waiting[key]
