"""One object on its way to this node: asks one source after the other, and goes on where the last one ended."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass
from typing import Final

from asyncray import messages
from asyncray.errors import AsyncrayError, ConnectionFailed, ObjectLostError, ProtocolError
from asyncray.node.exchange import Exchange, ExchangeLink
from asyncray.node.store_manager import StoreManager
from asyncray.store.bulk import Bulk
from asyncray.store.checksum import checksum
from asyncray.store.copies import Node
from asyncray.store.pulls import Pull

_PAUSES: Final = (0.0, 0.2, 1.0)
"""Seconds before the first, the second, the third attempt with the same node."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A node serves the object now."""

    bulk_address: str
    number: int
    alternatives: list[list[object]]


@dataclass(frozen=True, slots=True)
class Redirection:
    """Another node has it, and less to do."""

    node_id: bytes
    address: str


class Refusal(AsyncrayError):
    """The node does not have the object (any more), or is dead: it need not be asked again."""


Answer = Grant | Redirection


class Requests:
    """Questions of this node to others."""

    def __init__(self) -> None:
        self.open: dict[int, Incoming] = {}
        """By number."""
        self._numbers = itertools.count(1)

    def new(self, incoming: Incoming) -> int:
        number = next(self._numbers)
        self.open[number] = incoming
        return number

    def answered(self, number: int, answer: Answer | AsyncrayError) -> None:
        incoming = self.open.get(number)
        if incoming is not None:
            incoming.answered(answer)


class Incoming:
    """The work of an active pull. `run` is its whole life; the other methods say what has happened meanwhile."""

    def __init__(self, pull: Pull, store: StoreManager, exchange: Exchange, bulk: Bulk, requests: Requests) -> None:
        self.pull = pull
        self._requests = requests
        self._request_id = 0
        """Of the question that is open, or that has led to the transfer which is under way."""
        self._store = store
        self._exchange = exchange
        self._bulk = bulk
        self.source: bytes | None = None
        """The node that is asked, or from which the object comes, at this moment."""
        self._answer: asyncio.Future[Answer] | None = None
        self._trouble: AsyncrayError | None = None
        self._useless = False
        self._limit: asyncio.Timeout | None = None
        self._reached = 0
        """Bytes that are here."""

    async def run(self) -> tuple[Node, int]:
        """Brings the object into the store, and seals it there. Returns the node that has served it, and the number
        of the copy.

        Raises ObjectLostError when no source is left, ObjectStoreFullError, OutOfDiskError.
        """
        key, size = self.pull.key, self.pull.size
        offset = await self._store.create_copy(key, size)
        sealed = False
        try:
            block = await asyncio.to_thread(self._store.arena.writable, offset, size)
            node, number = await self._from_any_source(block)
            self._store.seal_copy(key, backup=number > 0)
            sealed = True
            self._tell_done(node.node_id, complete=True)
            return node, number
        finally:
            if not sealed:
                self._store.abort_copy(key)

    # ---------------------------------------------------------------- meanwhile

    def answered(self, answer: Answer | AsyncrayError) -> None:
        """By the node that was asked."""
        if self._answer is None or self._answer.done():
            return
        if isinstance(answer, AsyncrayError):
            self._answer.set_exception(answer)
        else:
            self._answer.set_result(answer)

    def link_lost(self, node_id: bytes, error: Exception) -> None:
        """An answer that has not come will not come. The bytes may: they have a connection of their own."""
        if node_id == self.source:
            self.answered(ConnectionFailed(f"the link was lost: {error}"))

    def give_up_source(self, node_id: bytes, why: str, *, useless: bool = False) -> None:
        """The node is dead; or what it has is `useless`, even if all of it is here."""
        if node_id == self.source and self._limit is not None and self._trouble is None:
            self._trouble, self._useless = Refusal(why), useless
            self._limit.reschedule(asyncio.get_running_loop().time())
        else:
            self.pull.sources.exclude(node_id, why)

    # ------------------------------------------------------------------ sources

    async def _from_any_source(self, block: memoryview) -> tuple[Node, int]:
        sources = self.pull.sources
        while (candidate := sources.next()) is not None:
            node = Node(*candidate)
            if self._exchange.is_dead(node.node_id):
                sources.exclude(node.node_id, "it is dead")
                continue
            await asyncio.sleep(_PAUSES[min(sources.failures(node.node_id), len(_PAUSES) - 1)])
            try:
                number = await self._from(node, block)
            except (Refusal, ObjectLostError, ProtocolError) as error:
                sources.exclude(node.node_id, str(error))
            except ConnectionFailed as error:
                sources.failed(node.node_id, str(error))
            else:
                if number is not None:
                    return node, number
        raise ObjectLostError(sources.explain())

    async def _from(self, node: Node, block: memoryview) -> int | None:
        """Fetches what is missing from one node; the number of the copy, None if that one has named another.

        Raises Refusal, ObjectLostError, ConnectionFailed, ProtocolError.
        """
        open_there = True
        self.source, self._trouble, self._request_id = node.node_id, None, 0
        try:
            async with asyncio.timeout(None) as self._limit:
                answer = await self._ask(node)
                if isinstance(answer, Redirection):
                    open_there = False
                    self.pull.sources.redirected(answer.node_id, answer.address)
                    return None
                self.pull.sources.add(answer.alternatives)
                await self._receive(node, answer.bulk_address, block)
                if self._trouble is not None and self._useless:  # since the last byte came: too late for the timeout
                    raise self._trouble
                open_there = False
                return answer.number
        except Refusal:
            open_there = False
            raise
        except TimeoutError:
            if self._trouble is None:
                raise
            raise self._trouble from None
        finally:
            self.source = self._limit = self._answer = None
            self._requests.open.pop(self._request_id, None)
            if open_there and self._request_id:
                self._tell_done(node.node_id, complete=False)

    async def _ask(self, node: Node) -> Answer:
        link: ExchangeLink = self._exchange.link(node.node_id, node.address)
        if link.lost:
            raise ConnectionFailed("the node cannot be reached")
        self._answer = asyncio.get_running_loop().create_future()
        self._request_id = self._requests.new(self)
        link.send(messages.PULL, self._request_id, self.pull.key, self.pull.sources.redirections)
        return await self._answer

    async def _receive(self, node: Node, bulk_address: str, block: memoryview) -> None:
        start = self._reached

        def progress(count: int) -> None:
            self._reached = start + count

        if self._reached < self.pull.size:
            with block[start:] as rest:
                expected = await self._bulk.fetch(bulk_address, self.pull.key, start, rest, progress)
            if expected is not None and await asyncio.to_thread(checksum, block) != expected:
                self._reached = 0
                raise ProtocolError("its copy is damaged: the checksum is not that of the bytes")

    def _tell_done(self, node_id: bytes, *, complete: bool) -> None:
        """If the link is lost, that has told the node enough."""
        link = self._exchange.find(node_id)
        if link is not None:
            link.send(messages.PULL_DONE, self._request_id, self.pull.key, complete)
