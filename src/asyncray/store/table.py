"""What the node's store holds: a state machine without I/O, which the node manager feeds with messages.

Clients are the sessions of processes of the node, named by any number. A block goes back to the allocator

- unsealed: when its writer aborts or is lost;
- sealed: when its owner frees it or is lost, or another copy of the object is sealed over it (its task ran again),
  and no client has it pinned any more.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from asyncray.bounded import Remembered
from asyncray.store.allocator import Allocator, block_size

_LOST_OWNERS_KEPT: Final = 10_000
"""Of so many lost owners it is remembered that nothing may be sealed for them any more."""


class Reason(enum.Enum):
    TOO_LARGE = "larger than the whole arena"
    FULL = "no free extent is large enough"
    DUPLICATE = "the client is already writing this object"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a block was not created. Sizes in bytes."""

    reason: Reason
    size: int
    capacity: int
    used: int
    largest_free: int


@dataclass(frozen=True, slots=True)
class Statistics:
    """`used` is in bytes, the others count."""

    capacity: int
    used: int
    objects: int
    unsealed: int
    pins: int
    waiting: int
    """Blocks freed by their owners, but still pinned."""


@dataclass(slots=True, eq=False)
class _Unsealed:
    offset: int
    size: int
    freed: bool = False
    """The owner freed the object before the news of its sealing came, on another stream."""


@dataclass(slots=True, eq=False)
class _Sealed:
    object_id: bytes
    offset: int
    size: int
    owner: bytes
    pinned_by: set[int] = field(default_factory=set)


class ObjectTable:
    """Objects, their blocks, and who has them pinned."""

    def __init__(self, capacity: int) -> None:
        self.allocator = Allocator(capacity)
        self._unsealed: dict[bytes, dict[int, _Unsealed]] = {}
        """By object id and writer: a task that runs again may write while its first worker still does."""
        self._sealed: dict[bytes, _Sealed] = {}
        self._waiting: dict[bytes, list[_Sealed]] = {}
        """Blocks to free at their last unpin, by object id: a newer copy of the object may exist beside them."""
        self._owned: dict[bytes, dict[bytes, None]] = {}
        """Sealed objects by owner."""
        self._pins: dict[int, dict[bytes, int]] = {}
        """How often each client has pinned an object, whichever copies of it."""
        self._writing: dict[int, dict[bytes, None]] = {}
        """Unsealed objects by client."""
        self._lost_owners: Remembered[bytes, None] = Remembered(_LOST_OWNERS_KEPT)

    @property
    def used(self) -> int:
        """Bytes that blocks take."""
        return self.allocator.used

    def statistics(self) -> Statistics:
        return Statistics(
            capacity=self.allocator.capacity,
            used=self.allocator.used,
            objects=len(self._sealed),
            unsealed=sum(map(len, self._unsealed.values())),
            pins=sum(sum(counts.values()) for counts in self._pins.values()),
            waiting=sum(map(len, self._waiting.values())),
        )

    # ------------------------------------------------------------------- writing

    def create(self, client: int, object_id: bytes, size: int) -> int | Refusal:
        """The offset of a block of `size` bytes for `client` to write, and then to seal or abort.

        A copy that is sealed already stays readable until this one is sealed. Raises ValueError for a size below 1.
        """
        if client in self._unsealed.get(object_id, ()):
            return self._refusal(Reason.DUPLICATE, size)
        offset = self.allocator.allocate(size)
        if offset is None:
            return self._refusal(Reason.TOO_LARGE if block_size(size) > self.allocator.capacity else Reason.FULL, size)
        self._unsealed.setdefault(object_id, {})[client] = _Unsealed(offset, size)
        self._writing.setdefault(client, {})[object_id] = None
        return offset

    def is_unsealed(self, object_id: bytes) -> bool:
        """Whether a writer is at work: who cannot pin the object yet should try again after `seal` or `abort`."""
        return object_id in self._unsealed and object_id not in self._sealed

    def seal(self, client: int, object_id: bytes, owner: bytes) -> bool:
        """The block is written and can be pinned. It takes the place of an older copy.

        False when `client` was not writing this object.
        """
        block = self._take_unsealed(client, object_id)
        if block is None:
            return False
        if block.freed or owner in self._lost_owners:
            self.allocator.free(block.offset)
            return True
        self._unlist(object_id)
        self._sealed[object_id] = _Sealed(object_id, block.offset, block.size, owner)
        self._owned.setdefault(owner, {})[object_id] = None
        return True

    def holds_for(self, owner: bytes) -> bool:
        """Whether sealed objects of that owner are here."""
        return owner in self._owned

    def abort(self, client: int, object_id: bytes) -> bool:
        """The block will not be sealed. False when `client` was not writing this object."""
        block = self._take_unsealed(client, object_id)
        if block is None:
            return False
        self.allocator.free(block.offset)
        return True

    # ------------------------------------------------------------------- reading

    def pin(self, client: int, object_id: bytes) -> tuple[int, int] | None:
        """`(offset, size)` of the sealed object, which stays in place until `client` unpins it as often as it has
        pinned it. None when it is not there."""
        block = self._sealed.get(object_id)
        if block is None:
            return None
        block.pinned_by.add(client)
        counts = self._pins.setdefault(client, {})
        counts[object_id] = counts.get(object_id, 0) + 1
        return block.offset, block.size

    def unpin(self, client: int, object_id: bytes) -> bool:
        """Gives one pin back. False when `client` had none.

        A client that has pinned an older and a newer copy of an object keeps both until its last unpin: which of
        them it still reads cannot be told.
        """
        counts = self._pins.get(client)
        count = counts.get(object_id) if counts is not None else None
        if counts is None or count is None:
            return False
        if count > 1:
            counts[object_id] = count - 1
            return True
        del counts[object_id]
        if not counts:
            del self._pins[client]
        self._release(client, object_id)
        return True

    # -------------------------------------------------------------------- ending

    def free(self, object_ids: Iterable[bytes]) -> None:
        """Their owners do not need them any more. Blocks in use go at their last unpin, unsealed ones when sealed."""
        for object_id in object_ids:
            for block in self._unsealed.get(object_id, {}).values():
                block.freed = True
            self._unlist(object_id)

    def client_lost(self, client: int) -> list[bytes]:
        """Gives back what `client` had not sealed, and its pins. Returns the ids of what it was writing.

        Only when its process cannot write to the arena any more.
        """
        written = list(self._writing.get(client, ()))
        for object_id in written:
            self.abort(client, object_id)
        for object_id in self._pins.pop(client, ()):
            self._release(client, object_id)
        return written

    def owner_lost(self, owner: bytes) -> None:
        """Nobody is left to free what `owner` owned, so all of it is freed; what is sealed for it later, too."""
        self._lost_owners[owner] = None
        for object_id in list(self._owned.get(owner, ())):
            self._unlist(object_id)

    def owner_returned(self, owner: bytes) -> None:
        """It was out of reach, and lives: what is sealed for it from now on stays."""
        self._lost_owners.pop(owner, None)

    # ----------------------------------------------------------------- internals

    def _refusal(self, reason: Reason, size: int) -> Refusal:
        allocator = self.allocator
        return Refusal(reason, size, allocator.capacity, allocator.used, allocator.largest_free)

    def _take_unsealed(self, client: int, object_id: bytes) -> _Unsealed | None:
        writers = self._unsealed.get(object_id, {})
        block = writers.pop(client, None)
        if block is None:
            return None
        if not writers:
            del self._unsealed[object_id]
        writing = self._writing[client]
        del writing[object_id]
        if not writing:
            del self._writing[client]
        return block

    def _unlist(self, object_id: bytes) -> None:
        """Nobody can pin the sealed copy from now on; its block goes when nobody has."""
        block = self._sealed.pop(object_id, None)
        if block is None:
            return
        owned = self._owned[block.owner]
        del owned[object_id]
        if not owned:
            del self._owned[block.owner]
        if block.pinned_by:
            self._waiting.setdefault(object_id, []).append(block)
        else:
            self.allocator.free(block.offset)

    def _release(self, client: int, object_id: bytes) -> None:
        """`client` reads no copy of the object any more."""
        current = self._sealed.get(object_id)
        if current is not None:
            current.pinned_by.discard(client)
        waiting = self._waiting.get(object_id)
        if waiting is None:
            return
        for block in waiting:
            block.pinned_by.discard(client)
            if not block.pinned_by:
                self.allocator.free(block.offset)
        waiting = [block for block in waiting if block.pinned_by]
        if waiting:
            self._waiting[object_id] = waiting
        else:
            del self._waiting[object_id]
