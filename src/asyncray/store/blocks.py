"""What the table of objects keeps of each copy, and what it says of itself."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from asyncray.ids import owner_of
from asyncray.store.allocator import block_size


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
    """Sizes in bytes; `fragmentation` is the share of free memory outside the largest free extent; the rest count."""

    capacity: int
    used: int
    objects: int
    """In the arena, its overflow or on disk, of which"""
    secondary: int
    unsealed: int
    pins: int
    waiting: int
    """Blocks freed by their owners, but still pinned."""
    evictable: int
    fragmentation: float
    overflow_capacity: int
    overflow_used: int
    spilled_objects: int
    spilled_bytes: int
    spill_files: int
    evictions: int
    """Since the start, as are"""
    restores: int


@dataclass(slots=True, eq=False)
class Unsealed:
    offset: int
    size: int
    in_overflow: bool = False
    freed: bool = False
    """The owner freed the object before the news of its sealing came, on another stream."""


@dataclass(slots=True, eq=False)
class Sealed:
    """A copy of an object. Only the table changes it."""

    key: bytes
    offset: int | None
    """In the arena, or its overflow; None when only a file has the bytes."""
    size: int
    in_overflow: bool = False
    primary: bool = True
    backup: bool = False
    """A secondary copy of which the owner knows."""
    on_disk: bool = False
    orphan: bool = False
    """A secondary copy that nobody can free: it goes when nobody reads it."""
    pinned_by: set[int] = field(default_factory=set)

    @property
    def owner(self) -> bytes:
        return owner_of(self.key)

    @property
    def taken(self) -> int:
        """Bytes of the arena."""
        return block_size(self.size)
