"""This process's side of the node's shared-memory store: writing new objects, and pinning those it reads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from asyncray import messages
from asyncray.errors import ObjectLostError, ObjectStoreFullError
from asyncray.ids import object_of
from asyncray.store.views import PinnedView
from asyncray.worker.node_link import NodeLink

if TYPE_CHECKING:
    from asyncray.serialization import Serialized
    from asyncray.store.arena import SharedMemory
    from asyncray.worker.runtime import Runtime


class Pin:
    """An object of the node's store that this process reads. Held while references or views of it live."""

    __slots__ = ("holders", "key", "view")

    def __init__(self, key: bytes, view: PinnedView) -> None:
        self.key = key
        self.view = view
        self.holders = 0
        """Fetched references and running tasks that need the pin, apart from the views."""


class StoreClient:
    """Loop thread only, but for `write`, which copies on the caller's thread."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._arena: SharedMemory | None = None
        self._pins: dict[bytes, Pin] = {}
        self._unused: dict[Pin, None] = {}
        runtime.nodes.handlers[messages.CREATED] = runtime.nodes.handlers[messages.PINNED] = NodeLink.answered

    @property
    def _node(self) -> NodeLink:
        node = self._runtime.nodes.own
        assert node is not None
        return node

    def _attached(self) -> SharedMemory:
        if self._arena is None:
            self._arena = self._runtime.platform.arenas.attach(self._node.arena_path, self._node.arena_capacity)
        return self._arena

    async def create(self, key: bytes, size: int) -> memoryview:
        """A block of `size` bytes to write. Raises ObjectStoreFullError with the sizes."""
        await self._runtime.joined()
        offset, _, why = await self._ask(
            self._node.request(messages.CREATE, key, size),
            lambda offset, *_: self._give_back(messages.ABORT, key, granted=offset >= 0),
        )
        if offset < 0:
            raise ObjectStoreFullError(why)
        return self._attached().writable(offset, size)

    def seal(self, key: bytes) -> None:
        self._node.send(messages.SEAL, key)

    def free(self, keys: list[bytes]) -> None:
        """Objects of another owner, or of nobody, that were sealed in vain."""
        self._node.send(messages.FREE, keys)

    def abort(self, key: bytes) -> None:
        self._node.send(messages.ABORT, key)

    async def put(self, key: bytes, serialized: Serialized) -> None:
        """Stores a value."""
        block = await self.create(key, serialized.size)
        try:
            serialized.write_into(block)
        except BaseException:
            self.abort(key)
            raise
        self.seal(key)

    def pinned(self, key: bytes) -> Pin | None:
        """The pin that this process has already, counted in `holders` as `pin` does."""
        pin = self._pins.get(key)
        if pin is not None:
            pin.holders += 1
        return pin

    async def pin(self, key: bytes, size: int, sources: list[list[Any]], priority: int) -> Pin:
        """Makes sure that the object is in the store and stays where it is. Raises ObjectLostError if it cannot be had.

        The caller counts in `holders`, and calls `unhold` in the end.
        """
        pin = self._pins.get(key)
        if pin is None:
            offset, size, _, why = await self._ask(
                self._node.request(messages.PIN, key, size, sources, priority),
                lambda _, size, *__: self._give_back(messages.UNPIN, key, granted=size >= 0),
            )
            if size < 0:
                raise ObjectLostError(f"object {object_of(key).hex()} {why}")
            known = self._pins.get(key)
            if known is not None:  # two requests crossed: one pin of ours is enough
                self._node.send(messages.UNPIN, key)
                pin = known
            else:
                pin = self._pins[key] = Pin(key, PinnedView(self._attached().view(offset, size)))
        pin.holders += 1
        return pin

    async def _ask(self, request: Coroutine[Any, Any, list[Any]], undo: Callable[..., None]) -> list[Any]:
        """The answer to a request. If the caller is cancelled, what the node grants nevertheless is given back."""
        task = self._runtime.spawn(request, name="store request")
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:

            def give_back(task: asyncio.Task[list[Any]]) -> None:
                if not task.cancelled() and task.exception() is None:
                    undo(*task.result())

            task.add_done_callback(give_back)
            raise

    def _give_back(self, kind: int, key: bytes, *, granted: bool) -> None:
        if granted:
            self._node.send(kind, key)

    def unhold(self, pin: Pin) -> None:
        pin.holders -= 1
        if pin.holders == 0:
            self._unused[pin] = None

    def sweep(self) -> None:
        """Gives pins back that neither a reference nor a view needs any more. Called from time to time, so that
        tasks which take the same object one after the other do not pin it anew each time."""
        if not self._unused:
            return
        kept: dict[Pin, None] = {}
        for pin in self._unused:
            if pin.holders or self._pins.get(pin.key) is not pin:
                continue
            if pin.view.in_use:
                kept[pin] = None
                continue
            del self._pins[pin.key]
            if not self._node.lost:
                self._node.send(messages.UNPIN, pin.key)
        self._unused = kept

    def close(self) -> None:
        if self._arena is not None:
            self._arena.close()
