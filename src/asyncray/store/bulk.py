"""How the bytes of objects get from one store to another: apart from messages, which must not wait for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from asyncray.store.arena import SharedMemory
from asyncray.store.source import Source


class BulkServer(Protocol):
    """What a node reads its objects out on."""

    @property
    def port(self) -> int: ...

    async def close(self) -> None:
        """Ends what is being sent; returns when no socket, thread or open source is left."""
        ...


class Bulk(Protocol):
    """The bulk channels of one node."""

    async def serve(self, host: str, open_source: Callable[[bytes], Source | None], arena: SharedMemory) -> BulkServer:
        """Listens on a free port of `host`. `open_source(key)` is called on the loop for each request.

        Raises ConnectionFailed.
        """
        ...

    async def fetch(
        self, target: str, key: bytes, offset: int, into: memoryview, progress: Callable[[int], None]
    ) -> int | None:
        """Fills `into` with what the node at `target` has of an object, from `offset` to its end.

        Returns the object's checksum, if the node knows it. `progress(n)` is called, in any thread, when the first n
        bytes of `into` are there. Nobody writes to `into` once this has ended, also when it was cancelled. Raises
        ConnectionFailed, ObjectLostError (it is not there), ProtocolError (it has another size).
        """
        ...

    async def close(self) -> None:
        """Closes the connections that are kept for the next fetch."""
        ...
