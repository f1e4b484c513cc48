"""Where a stored object is, and how far this process has got with reading it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from asyncray.ids import store_key
from asyncray.messages import FOR_GET

if TYPE_CHECKING:
    from asyncray.worker.reference import Waiter
    from asyncray.worker.store_client import Pin

Place = list[Any]
"""A node with a copy, as it travels: `[node_id, node_address]`."""


class Location:
    """`Reference.value` of a stored object."""

    __slots__ = (
        "copies",
        "error",
        "fetch",
        "former",
        "gone",
        "node_address",
        "node_id",
        "origin",
        "owner",
        "pin",
        "read_at",
        "priority",
        "size",
        "told",
    )

    def __init__(
        self, node_id: bytes, node_address: str, size: int, owner: bytes, copies: Sequence[Place] = (), origin: str = ""
    ) -> None:
        self.node_id = node_id
        """Of the primary copy."""
        self.node_address = node_address
        self.size = size
        self.owner = owner
        """The `ProcessId` of the object's owner."""
        self.copies = list(copies)
        """Others that are known."""
        self.origin = origin
        """What made the object; only its owner knows."""
        self.gone = False
        """The primary copy is: its node is dead or has lost it. Only its owner knows."""
        self.former: list[Place] = []
        """Nodes that had the primary copy, and may have it still: they were out of reach. Only the owner knows."""
        self.pin: Pin | None = None
        self.read_at: float | None = None
        """When the value was last read through this pin, in the loop's time."""
        self.told: WeakSet[Any] | None = None
        """Callbacks that have learned that it is settled, those that live, once there were any."""
        self.error: bytes | None = None
        """Why this process cannot read it, as a value. Others may, and it is still to be freed."""
        self.priority = FOR_GET
        """Of the PIN that is, or would be, asked for."""
        self.fetch: Fetch | None = None

    @property
    def is_settled(self) -> bool:
        """Whether it has been fetched, or never will be."""
        return self.pin is not None or self.error is not None

    def key(self, object_id: bytes) -> bytes:
        """What the store knows the object by."""
        return store_key(object_id, self.owner)

    def primary(self) -> Place:
        return [self.node_id, self.node_address]

    def sources(self) -> list[Place]:
        """Those that may have it, the primary copy first."""
        return [self.primary(), *self.copies]

    def pack(self) -> list[Any]:
        """As it travels."""
        return [self.node_id, self.node_address, self.size, self.owner, self.copies]

    def moved_to(self, place: Place) -> None:
        """The copy there is the primary now."""
        self.node_id, self.node_address = place
        self.copies = [copy for copy in self.copies if copy[0] != place[0]]
        self.former = [copy for copy in self.former if copy[0] != place[0]]

    def holders(self) -> list[Place]:
        """Whom to tell that the object is freed.

        Each node tells those that copied from it. But the primary's may be dead, without anybody knowing yet.
        """
        return [*([] if self.gone else [self.primary()]), *self.copies, *self.former]

    def moved(self, location: Sequence[Any]) -> None:
        """The owner says where the object is now."""
        self.node_id, self.node_address, _, _, self.copies = location


class Fetch:
    """A pin that this process has asked for."""

    __slots__ = ("lasting", "task", "waiting")

    def __init__(self) -> None:
        self.waiting: list[Waiter] = []
        self.lasting = False
        """It goes on when nobody waits: who polls comes back."""
        self.task: asyncio.Task[None]
