"""Copies of objects between nodes: fetches what processes here want to read, and serves what other nodes want."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, cast

from asyncray import messages
from asyncray.config import Config
from asyncray.errors import ConnectionFailed
from asyncray.node.exchange import Exchange, ExchangeLink
from asyncray.node.incoming import Grant, Incoming, Redirection, Refusal, Requests
from asyncray.node.store_manager import StoreManager
from asyncray.platform import Platform
from asyncray.rpc.own_address import reachable
from asyncray.rpc.service import Manager
from asyncray.rpc.sockets import format_address
from asyncray.store.bulk import BulkServer
from asyncray.store.copies import Copies, Dropped, Effect, Granted, Node, Redirected, Refused
from asyncray.store.pulls import Pull, Pulls

_NOT_HERE = "it is not there"
_FREED = "its owner has freed it"


class TransferManager(Manager):
    """Carries out what `Pulls` and `Copies` decide."""

    def __init__(
        self,
        node_id: bytes,
        host: str,
        capacity: int,
        store: StoreManager,
        exchange: Exchange,
        platform: Platform,
        config: Config,
    ) -> None:
        """`capacity`: bytes of the node's store."""
        self.pulls = Pulls(int(capacity * config.pull_memory_share), node_id)
        self.copies = Copies(config.copies_served_at_once, config.pull_redirections, store.is_primary)
        self.incoming: dict[bytes, Incoming] = {}
        """Active pulls by key."""
        self.early: dict[bytes, dict[tuple[bytes, int], int]] = {}
        """Pulls of what a process here is still writing, by key, node and request: how often they were redirected."""
        self.received_objects = 0
        """Whole copies that came from other nodes so far."""
        self.received_bytes = 0
        self._host = host
        self._store = store
        self._exchange = exchange
        self._platform = platform
        self._tasks: dict[Pull, asyncio.Task[int]] = {}
        self._requests = Requests()
        self._stopping = False
        self._server: BulkServer | None = None
        self._bulk_address = ""
        store.fetch = self.fetch
        store.on_freed.append(self._freed)
        store.on_dropped.append(self._evicted)
        store.on_settled.append(self._settled)
        exchange.on_lost.append(self._link_lost)
        exchange.on_death.append(self._node_died)
        exchange.is_busy = self._is_busy
        exchange.handlers |= {
            messages.PULL: self._on_pull,
            messages.PULL_GRANTED: self._on_granted,
            messages.PULL_REDIRECTED: self._on_redirected,
            messages.PULL_FAILED: self._on_failed,
            messages.PULL_DONE: self._on_done,
            messages.DROP: self._on_drop,
            messages.COPY_EVICTED: self._on_copy_evicted,
        }

    async def start(self) -> None:
        assert self._platform.bulk is not None
        self._server = await self._platform.bulk.serve(self._host, self._store.source, self._store.arena)
        self._bulk_address = format_address(reachable(self._host), self._server.port)

    async def stop(self) -> None:
        self._stopping = True
        for task in self._tasks.values():
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()))
        if self._platform.bulk is not None:
            await self._platform.bulk.close()
        if self._server is not None:
            await self._server.close()

    # ----------------------------------------------------------------- fetching

    async def fetch(self, key: bytes, size: int, sources: list[list[Any]], priority: int) -> int:
        """Brings an object here from one of the nodes `[node_id, address]`. Returns the number of the copy (0: none).

        Raises ObjectLostError that says which nodes were tried, ObjectStoreFullError, OutOfDiskError.
        """
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        pull = self.pulls.add(done, key, size, sources, priority)
        self._start_pulls()
        try:
            return await done
        finally:
            if self.pulls.withdraw(done, pull):
                self._tasks[pull].cancel()
            self._start_pulls()

    def _start_pulls(self) -> None:
        while not self._stopping and (pull := self.pulls.take()) is not None:
            assert self._platform.bulk is not None
            incoming = Incoming(pull, self._store, self._exchange, self._platform.bulk, self._requests)
            self.incoming[pull.key] = incoming
            task = asyncio.get_running_loop().create_task(self._run(incoming), name=f"pull {pull.key.hex()[:8]}")
            self._tasks[pull] = task
            task.add_done_callback(partial(self._ended, incoming))

    async def _run(self, incoming: Incoming) -> int:
        key = incoming.pull.key
        if self._store.holds(key):
            return 0
        node, number = await incoming.run()
        self.received_objects += 1
        self.received_bytes += incoming.pull.size
        self._pulled(key, node, number)
        return number

    def _ended(self, incoming: Incoming, task: asyncio.Task[int]) -> None:
        pull = incoming.pull
        del self.incoming[pull.key], self._tasks[pull]
        self.pulls.ended(pull)
        error = ConnectionFailed("the node is stopping") if task.cancelled() else task.exception()
        for done in cast(dict[asyncio.Future[int], int], pull.waiting):
            if done.done():
                continue
            if error is None:
                done.set_result(task.result())
            else:
                done.set_exception(error)
                done.exception()  # who waits may be cancelled at this moment
        pull.waiting.clear()
        self._start_pulls()

    def _pulled(self, key: bytes, node: Node, number: int) -> None:
        if not self._store.holds(key):  # its owner died meanwhile, say
            return
        self.copies.pulled(key, node, number)
        if self._exchange.is_dead(node.node_id):
            self._parent_died(node.node_id)

    # ------------------------------------------------------- answers to own pulls

    def _on_granted(
        self, link: ExchangeLink, request_id: int, address: str, size: int, number: int, others: list[list[object]]
    ) -> None:
        self._requests.answered(request_id, Grant(address, number, others))

    def _on_redirected(self, link: ExchangeLink, request_id: int, node_id: bytes, address: str) -> None:
        self._requests.answered(request_id, Redirection(node_id, address))

    def _on_failed(self, link: ExchangeLink, request_id: int, why: str) -> None:
        self._requests.answered(request_id, Refusal(why))

    # ------------------------------------------------------------------ serving

    def _on_pull(self, link: ExchangeLink, request_id: int, key: bytes, redirections: int) -> None:
        if self._store.holds(key):
            node = Node(link.node_id, link.address)
            self._carry_out(self.copies.asked(node, request_id, key, redirections))
        elif self._store.is_written(key):
            self.early.setdefault(key, {})[link.node_id, request_id] = redirections
        else:
            link.send(messages.PULL_FAILED, request_id, _NOT_HERE)

    def _settled(self, key: bytes) -> None:
        """The object has been sealed, or will not be."""
        for (node_id, request_id), redirections in self.early.pop(key, {}).items():
            link = self._exchange.find(node_id)
            if link is not None:
                self._on_pull(link, request_id, key, redirections)

    def _on_done(self, link: ExchangeLink, request_id: int, key: bytes, complete: bool) -> None:
        early = self.early.get(key)
        if early is not None and early.pop((link.node_id, request_id), None) is not None:
            if not early:
                del self.early[key]
            return
        self._carry_out(self.copies.done(link.node_id, request_id, key, complete=complete))

    def _on_copy_evicted(self, link: ExchangeLink, keys: list[bytes]) -> None:
        for key in keys:
            self.copies.child_evicted(link.node_id, key)

    def _carry_out(self, effects: list[Effect]) -> None:
        drops: dict[tuple[Node, bool], list[bytes]] = {}
        for effect in effects:
            if isinstance(effect, Dropped):
                drops.setdefault((effect.child, effect.freed), []).append(effect.key)
                continue
            link = self._exchange.find(effect.child.node_id)
            if link is None:
                continue  # it knows as much
            match effect:
                case Granted(_, request_id, key, number, others):
                    self._grant(link, request_id, key, number, others)
                case Redirected(_, request_id, target):
                    link.send(messages.PULL_REDIRECTED, request_id, target.node_id, target.address)
                case Refused(_, request_id):
                    link.send(messages.PULL_FAILED, request_id, _NOT_HERE)
        for (node, freed), keys in drops.items():
            self._exchange.drop(node.node_id, node.address, keys, freed=freed)

    def _grant(self, link: ExchangeLink, request_id: int, key: bytes, number: int, others: tuple[Node, ...]) -> None:
        source = self._store.source(key)
        if source is None:
            link.send(messages.PULL_FAILED, request_id, _NOT_HERE)
            self._carry_out(self.copies.done(link.node_id, request_id, key, complete=False))
            return
        size = source.size
        source.close()
        alternatives = [[node.node_id, node.address] for node in others]
        link.send(messages.PULL_GRANTED, request_id, self._bulk_address, size, number, alternatives)

    # ------------------------------------------------------------- ends of copies

    def _on_drop(self, link: ExchangeLink, sequence: int, keys: list[bytes], freed: bool) -> None:
        """From one who serves, or has served, this node. Only the parent of a copy can say anything about it."""
        link.send(messages.DROPPED, sequence)
        for key in keys:
            incoming = self.incoming.get(key)
            if freed and incoming is not None:
                incoming.give_up_source(link.node_id, _FREED, useless=True)
            if self.copies.parent(key) != link.node_id or self._store.is_primary(key):
                continue
            if freed:
                self._store.free([key])
            else:
                self._orphaned(key)

    def _orphaned(self, key: bytes) -> None:
        self._carry_out(self.copies.orphaned(key))
        self._store.orphaned([key])

    def _freed(self, keys: list[bytes]) -> None:
        """Here the owner has said so, or the parent."""
        effects: list[Effect] = []
        for key in keys:
            effects += self.copies.freed(key)
            if not self._store.is_written(key):
                self._settled(key)
        self._carry_out(effects)

    def _evicted(self, key: bytes) -> None:
        parent, effects = self.copies.evicted(key)
        self._carry_out(effects)
        link = self._exchange.find(parent.node_id) if parent is not None else None
        if link is not None:  # else the parent finds out when it sends somebody here
            link.send(messages.COPY_EVICTED, [key])

    # ------------------------------------------------------------------- failures

    def _link_lost(self, link: ExchangeLink, error: Exception) -> None:
        for incoming in list(self.incoming.values()):
            incoming.link_lost(link.node_id, error)
        for key, waiting in list(self.early.items()):
            for asked in [asked for asked in waiting if asked[0] == link.node_id]:
                del waiting[asked]
            if not waiting:
                del self.early[key]
        self._carry_out(self.copies.lost_touch(link.node_id))

    def _node_died(self, node_id: bytes) -> None:
        for incoming in list(self.incoming.values()):
            incoming.give_up_source(node_id, "it is dead")
        self._parent_died(node_id)

    def _parent_died(self, node_id: bytes) -> None:
        orphans, effects = self.copies.node_died(node_id)
        self._carry_out(effects)
        self._store.orphaned(orphans)

    def _is_busy(self, node_id: bytes) -> bool:
        return (
            self.copies.is_serving(node_id)
            or any(incoming.source == node_id for incoming in self.incoming.values())
            or any(asked[0] == node_id for waiting in self.early.values() for asked in waiting)
        )
