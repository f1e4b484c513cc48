"""This process's side of the node's shared-memory store: writing new objects, and pinning those it reads."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from asyncray import messages
from asyncray.errors import AsyncrayError, ObjectLostError, ObjectStoreFullError, OutOfDiskError
from asyncray.ids import object_of
from asyncray.messages import Address
from asyncray.store.views import PinnedView
from asyncray.worker.location import Place
from asyncray.worker.node_link import NodeLink

if TYPE_CHECKING:
    from asyncray.serialization import Serialized
    from asyncray.store.arena import SharedMemory
    from asyncray.worker.runtime import Runtime

_log = logging.getLogger(__name__)

_WRITTEN_AT_ONCE: Final = 16 * 1024 * 1024
"""Bytes between which others have their turn on the loop: 2 ms in memory that was used before, 30 ms in new."""

_CREATION_ERRORS: Final[dict[str, type[AsyncrayError]]] = {"full": ObjectStoreFullError, "disk": OutOfDiskError}
_PIN_ERRORS: Final[dict[int, type[AsyncrayError]]] = {
    messages.PIN_FULL: ObjectStoreFullError,
    messages.PIN_NO_DISK: OutOfDiskError,
}


class Pin:
    """An object of the node's store that this process reads. Held while references or views of it live."""

    __slots__ = ("holders", "key", "offset", "size", "view")

    def __init__(self, key: bytes, offset: int, view: memoryview) -> None:
        self.key = key
        self.offset = offset
        self.size = view.nbytes
        self.view = PinnedView(view)
        self.holders = 0
        """Fetched references and running tasks that need the pin, apart from the views."""


class PinRequest:
    """A PIN that the node has not answered. All readers of an object in this process share one."""

    __slots__ = ("answered", "fields", "number", "owner", "priority", "readers")

    def __init__(self, owner: Address | None, fields: tuple[bytes, int, list[Place]], priority: int) -> None:
        self.owner = owner
        """Who is to hear of the copy that comes to be; None for this process."""
        self.fields = fields
        """The key, the size and the sources."""
        self.priority = priority
        """The best that a reader has had."""
        self.number = 0
        """Of the message; a later one has taken the place of an earlier one when the priority got better."""
        self.readers = 0
        self.answered: asyncio.Future[Refused | None] = asyncio.get_running_loop().create_future()
        """Gives why there is no pin."""


Refused = tuple[type[AsyncrayError], str]
"""An error, and its message."""


class StoreClient:
    """Loop thread only, but for `write`, which copies on the caller's thread."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._arena: SharedMemory | None = None
        self._pins: dict[bytes, Pin] = {}
        self._requests: dict[bytes, PinRequest] = {}
        self._unused: dict[Pin, None] = {}
        for kind in (messages.CREATED, messages.PINNED, messages.PROMOTED):
            runtime.nodes.handlers[kind] = NodeLink.answered
        runtime.nodes.handlers[messages.RELIEVE] = self._on_relieve

    @property
    def _node(self) -> NodeLink:
        node = self._runtime.nodes.own
        assert node is not None
        return node

    def _attached(self) -> SharedMemory:
        if self._arena is None:
            self._arena = self._runtime.platform.arenas.attach(*self._node.arena)
        return self._arena

    async def create(self, key: bytes, size: int) -> memoryview:
        """A block of `size` bytes to write. Raises ObjectStoreFullError with the sizes, OutOfDiskError.

        If the caller is cancelled, a block that the node grants nevertheless is given back.
        """
        await self._runtime.joined()
        node = self._node
        number, answer = node.ask(messages.CREATE, key, size)
        try:
            offset, kind, why = await asyncio.shield(answer)
        except asyncio.CancelledError:
            if not answer.done():
                node.send(messages.CANCEL, number)
            answer.add_done_callback(partial(self._give_back, key))
            raise
        if offset < 0:
            raise _CREATION_ERRORS.get(kind, ObjectLostError)(why)
        try:
            arena = self._attached()
            if size <= _WRITTEN_AT_ONCE:
                return arena.writable(offset, size)
            # In new memory this takes two seconds for a gigabyte, for which the loop must not stand still.
            block = await asyncio.to_thread(arena.writable, offset, size)
            self._check_going_on()
            return block
        except BaseException:
            self.abort(key)
            raise

    def seal(self, key: bytes) -> None:
        self._node.send(messages.SEAL, key)

    def free(self, keys: list[bytes]) -> None:
        """Objects of another owner, or of nobody, that were sealed in vain."""
        self._node.send(messages.FREE, keys)

    def abort(self, key: bytes) -> None:
        self._node.send(messages.ABORT, key)

    def _check_going_on(self) -> None:
        if self._runtime.stopping:  # the node is about to give the block to others
            raise AsyncrayError("asyncray was shut down before the value was stored")

    async def put(self, key: bytes, serialized: Serialized) -> None:
        """Stores a value, which must not change meanwhile."""
        block = await self.create(key, serialized.size)
        try:
            for _ in serialized.write_in_steps(block, _WRITTEN_AT_ONCE):
                await asyncio.sleep(0)
                self._check_going_on()
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

    async def pin(self, key: bytes, size: int, sources: list[Place], priority: int, owner: Address | None) -> Pin:
        """Makes sure that the object is in the store and stays where it is.

        `owner` (None: this process) hears of the copy that comes to be. Raises ObjectLostError when nobody has it that
        can be reached, ObjectStoreFullError, OutOfDiskError. The caller counts in `holders`, and calls `unhold` in
        the end.
        """
        while (pin := self._pins.get(key)) is None:
            request = self._requests.get(key)
            if request is None:
                request = self._requests[key] = PinRequest(owner, (key, size, sources), priority)
                self._send(request)
            else:
                self._hasten(request, priority)
            request.readers += 1
            try:
                refused = await asyncio.shield(request.answered)
            finally:
                request.readers -= 1
                if not request.readers and not request.answered.done():
                    del self._requests[key]
                    self._node.send(messages.CANCEL, request.number)
            if refused is not None:
                kind, why = refused
                raise kind(why)
        pin.holders += 1
        return pin

    def hasten(self, key: bytes, priority: int) -> None:
        """Somebody with this priority has joined those that wait for the object."""
        if (request := self._requests.get(key)) is not None:
            self._hasten(request, priority)

    def _hasten(self, request: PinRequest, priority: int) -> None:
        if priority < request.priority:
            superseded, request.priority = request.number, priority
            self._send(request)  # first, for the node must not believe that nobody wants it any more
            self._node.send(messages.CANCEL, superseded)

    def _send(self, request: PinRequest) -> None:
        request.number, answer = self._node.ask(messages.PIN, *request.fields, request.priority)
        answer.add_done_callback(partial(self._pinned, request, request.number))

    def _pinned(self, request: PinRequest, number: int, answer: asyncio.Future[list[Any]]) -> None:
        """What the node grants is kept, even if it has been taken back or superseded: a sweep returns it."""
        key = request.fields[0]
        refused: Refused | None = None
        error = answer.exception()
        if error is not None:
            refused = type(error), str(error)  # type: ignore[assignment]
        else:
            offset, size, copy, why = answer.result()
            if size < 0:
                kind = _PIN_ERRORS.get(size, ObjectLostError)
                refused = kind, f"object {object_of(key).hex()} {why}" if kind is ObjectLostError else why
            elif key in self._pins:
                self._node.send(messages.UNPIN, key)
            else:
                refused = self._keep(key, offset, size)
            if copy:
                self._runtime.reader.tell_of_copy(object_of(key), request.owner)
        if (refused is None or number == request.number) and not request.answered.done():
            if self._requests.get(key) is request:
                del self._requests[key]
            request.answered.set_result(refused)

    def _keep(self, key: bytes, offset: int, size: int) -> Refused | None:
        """The node has pinned the object for this process."""
        try:
            view = self._attached().view(offset, size)
        except (OSError, ValueError) as error:  # too many open files, for one
            self._node.send(messages.UNPIN, key)
            return ObjectLostError, f"object {object_of(key).hex()} cannot be read by this process: {error}"
        pin = self._pins[key] = Pin(key, offset, view)
        self._unused[pin] = None
        return None

    def _give_back(self, key: bytes, answer: asyncio.Future[list[Any]]) -> None:
        if answer.exception() is None and answer.result()[0] >= 0:
            self.abort(key)

    def pins(self) -> list[Pin]:
        """What this process has pinned now."""
        return list(self._pins.values())

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
            if not pin.view.retire():
                kept[pin] = None
                continue
            del self._pins[pin.key]
            if not self._node.lost:
                self._node.send(messages.UNPIN, pin.key)
        self._unused = kept

    def _on_relieve(self, link: NodeLink, what: int) -> None:
        self._runtime.objects.let_go_of_read()
        if what and self._runtime.executor is not None:
            self._runtime.executor.arrivals.let_go(1 if what == messages.RELIEVE_LATER else 0)
        self.sweep()

    def keep_views(self) -> None:
        """Values that are here stay as they are, though the node will give their memory to others.

        For a process that leaves the cluster and goes on. It copies them, in place.
        """
        for pin in self._pins.values():
            if pin.holders or pin.view.in_use:
                try:
                    self._attached().keep(pin.offset, pin.size)
                except OSError as error:
                    _log.warning(
                        "arrays of %d bytes, read from shared memory, may change when they are used after shutdown():"
                        " there is no memory for a copy of them (%s); drop or copy such values before",
                        pin.size,
                        error,
                    )

    def close(self) -> None:
        if self._arena is not None:
            self._arena.close()
