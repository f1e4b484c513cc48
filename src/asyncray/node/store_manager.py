"""The node's shared-memory store: who may write where, who reads what. The bytes never pass through here."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

from asyncray import messages
from asyncray.ids import owner_of
from asyncray.node.sessions import Session, Sessions
from asyncray.platform import Platform
from asyncray.rpc.service import Manager
from asyncray.store.reserve import WarmReserve
from asyncray.store.table import ObjectTable, Refusal

_REMEDY = "free references, or start the node with a larger object_store_memory."


class StoreManager(Manager):
    """Allocates blocks of the arena to writers, pins them for readers, frees them for owners."""

    def __init__(self, sessions: Sessions, platform: Platform, capacity: int) -> None:
        self._platform = platform
        self._capacity = capacity
        self._sessions = sessions
        self._clients: dict[Session, int] = {}
        self._allocated = asyncio.Event()
        self._numbers = itertools.count(1)
        self._waiting: dict[bytes, list[tuple[Session, int]]] = {}
        """Pins asked for before the object was sealed."""
        self.on_first_held: Callable[[bytes], None] = lambda owner: None
        """Called with the process id of each owner, once for as long as that lives."""
        self._owners: dict[bytes, None] = {}
        """Of whom something was held."""
        sessions.handlers |= {
            messages.CREATE: self._on_create,
            messages.SEAL: self._on_seal,
            messages.ABORT: self._on_abort,
            messages.PIN: self._on_pin,
            messages.UNPIN: self._on_unpin,
            messages.FREE: self._on_free,
        }
        sessions.on_lost.append(self._session_lost)
        sessions.on_registered.append(lambda session: self.table.owner_returned(session.process_id))

    async def start(self) -> None:
        self.arena = self._platform.arenas.create(self._capacity)
        self.table = ObjectTable(self._capacity)
        self._reserve = WarmReserve(self.table.allocator)
        self._sessions.welcome_with(self.arena.path, self._capacity)

    async def run(self) -> None:
        """Keeps warm pages ready, once the store is used."""
        while True:
            await self._allocated.wait()
            self._allocated.clear()
            while (pages := self._reserve.next_range()) is not None:
                await asyncio.to_thread(self.arena.populate, *pages)

    async def stop(self) -> None:
        self.arena.close()

    def owner_lost(self, process_id: bytes) -> None:
        """Nobody can free what it owned: it goes."""
        self._owners.pop(process_id, None)
        self.table.owner_lost(process_id)

    def _on_create(self, session: Session, request_id: int, key: bytes, size: int) -> None:
        outcome = self.table.create(self._client(session), key, size)
        if isinstance(outcome, int):
            self._allocated.set()
            session.send(messages.CREATED, request_id, outcome, "", "")
        else:
            session.send(messages.CREATED, request_id, -1, "full", self._refusal(outcome))

    def _refusal(self, refusal: Refusal) -> str:
        used, capacity = self.table.used, self._capacity
        if refusal.size > capacity:
            return (
                f"an object of {refusal.size} bytes cannot fit the node's object store of {capacity} bytes: {_REMEDY}"
            )
        return f"no room for {refusal.size} bytes: {used} of the object store's {capacity} bytes are in use. {_REMEDY}"

    def _on_seal(self, session: Session, key: bytes) -> None:
        owner = owner_of(key)
        self.table.seal(self._client(session), key, owner)
        if owner not in self._owners and self.table.holds_for(owner):
            self._owners[owner] = None
            self.on_first_held(owner)
        self._answer_waiting(key)

    def _on_abort(self, session: Session, key: bytes) -> None:
        self.table.abort(self._client(session), key)
        self._answer_waiting(key)

    def _on_pin(
        self, session: Session, request_id: int, key: bytes, size: int, sources: list[list[Any]], priority: int
    ) -> None:
        if self.table.is_unsealed(key):  # its writer's message is on another stream than the news of its result
            self._waiting.setdefault(key, []).append((session, request_id))
            return
        self._pin(session, request_id, key)

    def _pin(self, session: Session, request_id: int, key: bytes) -> None:
        pinned = self.table.pin(self._client(session), key)
        if pinned is None:
            session.send(messages.PINNED, request_id, 0, -1, 0, "is not in its node's store any more")
        else:
            session.send(messages.PINNED, request_id, *pinned, 0, "")

    def _answer_waiting(self, key: bytes) -> None:
        if self.table.is_unsealed(key):
            return
        for session, request_id in self._waiting.pop(key, ()):
            if session in self._clients:
                self._pin(session, request_id, key)

    def _on_unpin(self, session: Session, key: bytes) -> None:
        self.table.unpin(self._client(session), key)

    def _on_free(self, session: Session, keys: list[bytes]) -> None:
        self.table.free(keys)

    def _session_lost(self, session: Session) -> None:
        client = self._clients.pop(session, None)
        if client is not None:
            for key in self.table.client_lost(client):
                self._answer_waiting(key)

    def _client(self, session: Session) -> int:
        number = self._clients.get(session)
        if number is None:
            number = self._clients[session] = next(self._numbers)
        return number
