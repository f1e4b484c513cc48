"""This process's side of the node's shared-memory store: writing new objects, and pinning those it reads."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from asyncray import messages
from asyncray.errors import ObjectLostError, ObjectStoreFullError
from asyncray.store.arena import Arena

if TYPE_CHECKING:
    from asyncray.serialization import Serialized
    from asyncray.worker.node_link import NodeLink
    from asyncray.worker.runtime import Runtime


class _Guard:
    __slots__ = ()


_UNVIEWED: Final = 2
"""References to a guard that no array keeps: the pin's, and the argument of `getrefcount`."""


class Pin:
    """An object of the node's store that this process reads. Held while references or views of it live."""

    __slots__ = ("guard", "holders", "object_id", "view")

    def __init__(self, object_id: bytes, view: memoryview) -> None:
        self.object_id = object_id
        self.view = view
        self.guard = _Guard()
        """Kept alive by every array that was made from the view, in whatever thread that is collected."""
        self.holders = 0
        """Fetched references and running tasks that need the pin, apart from the views."""

    @property
    def viewed(self) -> bool:
        """Whether arrays made from the view live."""
        return sys.getrefcount(self.guard) > _UNVIEWED


class StoreClient:
    """Loop thread only, but for `write`, which copies on the caller's thread."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._arena: Arena | None = None
        self._pins: dict[bytes, Pin] = {}
        self._unused: list[Pin] = []

    @property
    def _node(self) -> NodeLink:
        node = self._runtime.nodes.own
        assert node is not None
        return node

    def _attached(self) -> Arena:
        if self._arena is None:
            self._arena = Arena.attach(self._node.arena_path, self._node.arena_capacity)
        return self._arena

    async def create(self, object_id: bytes, size: int) -> memoryview:
        """A block of `size` bytes to write. Raises ObjectStoreFullError with the sizes."""
        offset, why = await self._node.request(messages.CREATE, object_id, size)
        if offset < 0:
            raise ObjectStoreFullError(why)
        return self._attached().view(offset, size)

    def seal(self, object_id: bytes, owner: bytes) -> None:
        self._node.send(messages.SEAL, object_id, owner)

    def abort(self, object_id: bytes) -> None:
        self._node.send(messages.ABORT, object_id)

    async def put(self, object_id: bytes, serialized: Serialized, owner: bytes) -> None:
        """Stores a value under `object_id`."""
        block = await self.create(object_id, serialized.size)
        try:
            serialized.write_into(block)
        except BaseException:
            self.abort(object_id)
            raise
        self.seal(object_id, owner)

    async def pin(self, object_id: bytes) -> Pin:
        """Makes sure that the object stays where it is. Raises ObjectLostError when it is not in the store.

        The caller counts in `holders`, and calls `unhold` in the end.
        """
        pin = self._pins.get(object_id)
        if pin is None:
            offset, size = await self._node.request(messages.PIN, object_id)
            if size < 0:
                raise ObjectLostError(f"object {object_id.hex()} is not in its node's store any more")
            known = self._pins.get(object_id)
            if known is not None:  # two requests crossed: one pin of ours is enough
                self._node.send(messages.UNPIN, object_id)
                pin = known
            else:
                pin = self._pins[object_id] = Pin(object_id, self._attached().view(offset, size))
        pin.holders += 1
        return pin

    def unhold(self, pin: Pin) -> None:
        pin.holders -= 1
        if pin.holders == 0:
            self._unused.append(pin)

    def sweep(self) -> None:
        """Gives pins back that neither a reference nor a view needs any more. Called from time to time, so that
        tasks which take the same object one after the other do not pin it anew each time."""
        if not self._unused:
            return
        kept = []
        for pin in self._unused:
            if pin.holders or self._pins.get(pin.object_id) is not pin:
                continue
            if pin.viewed:
                kept.append(pin)
                continue
            del self._pins[pin.object_id]
            if not self._node.lost:
                self._node.send(messages.UNPIN, pin.object_id)
        self._unused = kept

    def close(self) -> None:
        if self._arena is not None:
            self._arena.close()
