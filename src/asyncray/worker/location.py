"""Where a stored object is, and how far this process has got with reading it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from asyncray.ids import store_key

if TYPE_CHECKING:
    from asyncray.worker.reference import Waiter
    from asyncray.worker.store_client import Pin


class Location:
    """`Reference.value` of a stored object."""

    __slots__ = ("copies", "error", "node_address", "node_id", "owner", "pin", "size", "waiting")

    def __init__(
        self, node_id: bytes, node_address: str, size: int, owner: bytes, copies: Sequence[list[Any]] = ()
    ) -> None:
        self.node_id = node_id
        """Of the primary copy."""
        self.node_address = node_address
        self.size = size
        self.owner = owner
        """The `ProcessId` of the object's owner."""
        self.copies = list(copies)
        """`[node_id, node_address]` of others that are known."""
        self.pin: Pin | None = None
        self.error: bytes | None = None
        """Why this process cannot read it, as a value. Others may, and it is still to be freed."""
        self.waiting: list[Waiter] | None = None
        """Who waits for the pin that has been asked for."""

    @property
    def is_settled(self) -> bool:
        """Whether it has been fetched, or never will be."""
        return self.pin is not None or self.error is not None

    def key(self, object_id: bytes) -> bytes:
        """What the store knows the object by."""
        return store_key(object_id, self.owner)

    def sources(self) -> list[list[Any]]:
        """`[node_id, node_address]` of those that may have it, the primary copy first."""
        return [[self.node_id, self.node_address], *self.copies]

    def pack(self) -> list[Any]:
        """As it travels."""
        return [self.node_id, self.node_address, self.size, self.owner, self.copies]
