"""PINs that cannot be answered at once: the object is being written, is on disk, or at other nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from asyncray import messages
from asyncray.errors import AsyncrayError, ObjectLostError, ObjectStoreFullError, OutOfDiskError
from asyncray.node.background import Background
from asyncray.node.room import FREED
from asyncray.node.sessions import Session
from asyncray.store.table import NODE, ObjectTable

Fetch = Callable[[bytes, int, list[list[Any]], int], Awaitable[int]]
"""`(key, size, sources, priority)`: brings an object from another node. Returns the number of the copy once it is
sealed. Raises ObjectLostError, ObjectStoreFullError, OutOfDiskError."""

NOT_HERE: Final = "is not in its node's store any more"


@dataclass(slots=True, eq=False)
class PinRequest:
    """One PIN that waits."""

    session: Session
    client: int
    number: int
    key: bytes
    size: int
    sources: list[list[Any]]
    priority: int
    block: tuple[int, int] | None = None
    """What is pinned for it already, while `fetching` has yet to say which copy this is."""
    fetching: asyncio.Task[None] | None = None


class PinRequests:
    """Asks for what is needed, and looks again at each event of a key (`settled`, `freed`)."""

    def __init__(self, node_id: bytes, background: Background, restore: Callable[[bytes, int], None]) -> None:
        """`restore(key, priority)`: brings a spilled object back into the arena, and then calls `settled`, or
        `failed`. It may be called for the same object again."""
        self._node_id = node_id
        self._background = background
        self._restore = restore
        self.table: ObjectTable
        self.fetch: Fetch = _fetch_nothing
        self._requests: dict[tuple[Session, int], PinRequest] = {}
        self._by_key: dict[bytes, dict[PinRequest, None]] = {}

    def __len__(self) -> int:
        return len(self._requests)

    def add(
        self, session: Session, client: int, number: int, key: bytes, size: int, sources: list[list[Any]], priority: int
    ) -> None:
        request = PinRequest(session, client, number, key, size, sources, priority)
        self._requests[session, number] = request
        self._by_key.setdefault(key, {})[request] = None
        self._consider(request)

    def is_known(self, session: Session, number: int) -> bool:
        """Whether a request of that number waits."""
        return (session, number) in self._requests

    def priority(self, key: bytes) -> int | None:
        """The most urgent of those who wait for the object."""
        return min((request.priority for request in self._by_key.get(key, ())), default=None)

    def first(self, key: bytes) -> Session | None:
        """Whose request for the object came first."""
        return next((request.session for request in self._by_key.get(key, ())), None)

    def settled(self, key: bytes) -> None:
        """The object has been sealed, or will not be."""
        for request in list(self._by_key.get(key, ())):
            if request.block is not None:
                continue
            if request.fetching is None:
                self._consider(request)
            else:  # at once: the next one to need memory might evict it
                request.block = self.table.pin(request.client, key)

    def failed(self, key: bytes, error: AsyncrayError) -> None:
        """The object cannot be had here."""
        for request in list(self._by_key.get(key, ())):
            self._fail(request, error)

    def freed(self, keys: Iterable[bytes]) -> None:
        """Nobody will get these any more."""
        if self._by_key:
            for key in keys:
                for request in list(self._by_key.get(key, ())):
                    if request.block is None:
                        self._fail(request, ObjectLostError(FREED))

    def cancel(self, session: Session, number: int) -> bool:
        """Nobody waits for it any more. False if it is not known."""
        request = self._requests.get((session, number))
        if request is None:
            return False
        self._fail(request, ObjectLostError("is not wanted any more"))
        return True

    def session_lost(self, session: Session) -> None:
        for request in [request for request in self._requests.values() if request.session is session]:
            self._remove(request)

    # ----

    def _consider(self, request: PinRequest) -> None:
        key = request.key
        block = self.table.pin(request.client, key)
        if block is not None:
            self._answer(request, block, 0)
        elif self.table.holds(key):
            self._restore(key, request.priority)
        elif self.table.is_unsealed(key) and not self.table.is_written_by(NODE, key):
            pass  # `settled` will be called
        elif any(type(source) is list and source[:1] != [self._node_id] for source in request.sources):
            request.fetching = self._background.spawn(self._fetch(request), name="fetch an object")
        elif not self.table.is_unsealed(key):
            self._fail(request, ObjectLostError(NOT_HERE))

    async def _fetch(self, request: PinRequest) -> None:
        try:
            number = await self.fetch(request.key, request.size, request.sources, request.priority)
        except AsyncrayError as error:
            request.fetching = None
            if request.block is not None:
                self._answer(request, request.block, 0)
            else:
                self._fail(request, error)
            return
        request.fetching = None
        if request.block is not None:
            self._answer(request, request.block, number)
        else:  # it was sealed before this request came, and may be evicted by now
            self._consider(request)

    def _answer(self, request: PinRequest, block: tuple[int, int], number: int) -> None:
        request.block = None
        self._remove(request)
        request.session.send(messages.PINNED, request.number, *block, number, "")

    def _fail(self, request: PinRequest, error: AsyncrayError) -> None:
        if request.block is not None:
            self.table.unpin(request.client, request.key)
        self._remove(request)
        request.session.send(messages.PINNED, request.number, 0, _size_of(error), 0, str(error))

    def _remove(self, request: PinRequest) -> None:
        del self._requests[request.session, request.number]
        waiting = self._by_key[request.key]
        del waiting[request]
        if not waiting:
            del self._by_key[request.key]
        if request.fetching is not None:
            request.fetching.cancel()


def _size_of(error: AsyncrayError) -> int:
    """How a PINNED says that it did not work."""
    if isinstance(error, ObjectStoreFullError):
        return messages.PIN_FULL
    return messages.PIN_NO_DISK if isinstance(error, OutOfDiskError) else messages.PIN_LOST


async def _fetch_nothing(key: bytes, size: int, sources: list[list[Any]], priority: int) -> int:
    raise ObjectLostError(NOT_HERE)
