"""Where the stored objects of this process are: the owner's side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from asyncray import messages
from asyncray.bounded import Remembered
from asyncray.errors import NodeDiedError, ObjectLostError
from asyncray.ids import store_key
from asyncray.messages import STORED
from asyncray.worker.copies import Search
from asyncray.worker.freed import RecentlyFreed
from asyncray.worker.location import Location, Place
from asyncray.worker.node_link import NodeLink
from asyncray.worker.peers import PeerLink
from asyncray.worker.reference import Reference

if TYPE_CHECKING:
    from asyncray.worker.runtime import Runtime

Then = Callable[[Reference], object]

_DEAD_KEPT: Final = 10_000
_TELL_AGAIN: Final = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Seconds before a node with which the connection was lost is told again what was freed."""


class Whereabouts:
    """Follows the copies of what this process owns. Loop thread only."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._at: dict[bytes, dict[Reference, None]] = {}
        """By node: what has its primary or another known copy there."""
        self._searches: dict[Reference, tuple[Search, list[Then]]] = {}
        """Those that run, and whom to call in the end."""
        self._dead: Remembered[bytes, None] = Remembered(_DEAD_KEPT)
        self._freed = RecentlyFreed()
        self._telling: dict[str, int] = {}
        """Addresses of nodes that are about to be told again what was freed, and how often they were in a row."""
        runtime.nodes.on_lost.append(self._link_lost)
        runtime.peers.handlers |= {messages.COPY: self._on_copy, messages.UNREADABLE: self._on_unreadable}

    def is_dead(self, node_id: bytes) -> bool:
        """Whether this process has heard of the node's death."""
        return node_id in self._dead

    def stored(self, reference: Reference, location: Location) -> None:
        """An object of this process is in a store."""
        self._freed.stored(location.key(reference.id))
        for node_id, _ in (location.primary(), *location.copies):
            self._at.setdefault(node_id, {})[reference] = None

    def free(self, reference: Reference, location: Location) -> None:
        """The value is not needed any more."""
        holders = location.holders()
        for place in holders:
            copies = [copy for copy in location.copies if copy not in holders]
            self.free_at(place, location.key(reference.id), copies)
        self._unlist(reference, location)

    def _unlist(self, reference: Reference, location: Location) -> None:
        for node_id, _ in (location.primary(), *location.copies):
            here = self._at.get(node_id)
            if here is not None:
                here.pop(reference, None)
                if not here:
                    del self._at[node_id]

    def free_at(self, place: Place, key: bytes, copies: Sequence[Place] = ()) -> None:
        """Tells one node, that of a place or of a location, and by it those that have the `copies`."""
        if place[0] in self._dead:
            for copy in copies:
                self.free_at(copy, key)
            return
        node = self._node(place)
        if node is not self._runtime.nodes.own:
            self._freed.told(self._runtime.loop.time(), place[:2], key, list(copies))
        node.send(messages.FREE, [key])

    def _link_lost(self, link: NodeLink, cause: NodeDiedError) -> None:
        """What the node was told may not have arrived. It is told again, later each time if it cannot be reached."""
        if self._is_cut_off() or link is self._runtime.nodes.own or link.node_id in self._dead:
            return
        if self._freed.link_lost(self._runtime.loop.time(), link.node_id, link.target):
            attempt = self._telling.get(link.target, 0)
            if attempt < len(_TELL_AGAIN):
                self._telling[link.target] = attempt + 1
                self._runtime.loop.call_later(_TELL_AGAIN[attempt], self._tell_again, link.node_id, link.target)
            else:
                del self._telling[link.target]

    def _tell_again(self, node_id: bytes, address: str) -> None:
        if self._is_cut_off() or node_id in self._dead:
            self._telling.pop(address, None)
            return
        keys = self._freed.link_lost(self._runtime.loop.time(), node_id, address)
        if keys:
            link = self._runtime.nodes.other(address, node_id)
            link.send(messages.FREE, keys)
            link.welcomed.add_done_callback(lambda _: self._reached(link))
        else:  # too long ago
            self._telling.pop(address, None)

    def _is_cut_off(self) -> bool:
        """Whether nobody will hear of dead nodes here, nor needs to be told: without its own node, a process counts as
        dead, and all that it owned is freed."""
        own = self._runtime.nodes.own
        return self._runtime.stopping or own is None or own.lost

    def _reached(self, link: NodeLink) -> None:
        if not link.lost:
            self._telling.pop(link.target, None)

    def has_copy(self, object_id: bytes, place: Place) -> None:
        """A node has a copy that can become the primary."""
        reference = self._runtime.ownership.owned(object_id)
        if reference is None or reference.state != STORED:
            self.free_at(place, store_key(object_id, self._runtime.process_id))
            return
        location: Location = reference.value
        if place[0] in self._dead or (place[0] == location.node_id and not location.gone):
            return
        if all(place[0] != known[0] for known in location.copies):
            location.copies.append(place)
            self._at.setdefault(place[0], {})[reference] = None
        if (running := self._searches.get(reference)) is not None:
            running[0].copied(place)
        elif location.gone:
            self._search(reference, location)

    def node_died(self, node_id: bytes) -> None:
        """What had its primary there needs another."""
        self._dead[node_id] = None
        for place, key in self._freed.node_died(self._runtime.loop.time(), node_id):
            self.free_at(place, key)
        for search, _ in self._searches.values():
            search.died(node_id)
        for reference in self._at.pop(node_id, ()):
            location: Location = reference.value
            location.copies = [place for place in location.copies if place[0] != node_id]
            location.former = [place for place in location.former if place[0] != node_id]
            if location.node_id == node_id:
                location.gone = True
            if location.gone and reference not in self._searches:
                self._search(reference, location)

    def look(self, reference: Reference, node_id: bytes, then: Then) -> None:
        """Somebody could not read the object, whose primary he took to be at `node_id`.

        Calls back when it is known whether it can be read, and where.
        """
        location = reference.value
        running = self._searches.get(reference)
        if running is not None:
            running[1].append(then)
        elif reference.state == STORED and (location.gone or location.node_id == node_id):
            self._search(reference, location, then)
        else:  # it has moved meanwhile, or ended
            then(reference)

    def _search(self, reference: Reference, location: Location, *then: Then) -> None:
        own = self._runtime.nodes.own
        assert own is not None
        search = Search(location, [own.node_id, own.address], self._dead)
        self._searches[reference] = search, list(then)
        self._runtime.spawn(self._run(reference, location, search), name=f"look for {reference.id.hex()[:8]}")

    async def _run(self, reference: Reference, location: Location, search: Search) -> None:
        while (place := search.next()) is not None:
            search.answered(await self._promote(place, location.key(reference.id)))
        _, waiting = self._searches.pop(reference)
        if reference.value is location:
            self._unlist(reference, location)
            last = location.primary()
            search.conclude(location)
            if search.is_lost:
                self._lost(reference, location, last)
            else:
                self.stored(reference, location)
        else:  # freed meanwhile
            for place in (*([search.found] if search.found else []), *search.silent):
                self.free_at(place, location.key(reference.id))
        for callback in waiting:
            callback(reference)

    async def _promote(self, place: Place, key: bytes) -> bool | None:
        """Whether the node has a copy, which is the primary now; None if it cannot be reached."""
        try:
            (has,) = await self._node(place).request(messages.PROMOTE, key)
        except NodeDiedError:
            return None
        return bool(has)

    def _lost(self, reference: Reference, location: Location, last: Place) -> None:
        """No copy is left anywhere."""
        why = "is dead" if last[0] in self._dead else "has it no more"
        self._runtime.objects.lose(
            reference,
            location,
            ObjectLostError(
                f"object {reference.id.hex()} is lost: its last copy was on node {last[0].hex()[:8]} at {last[1]},"
                f" which {why}. It was {location.origin}: that has to be done again"
            ),
        )

    def _node(self, place: Place) -> NodeLink:
        nodes = self._runtime.nodes
        assert nodes.own is not None
        return nodes.own if place[0] == nodes.own.node_id else nodes.other(place[1], place[0])

    def _on_copy(self, link: PeerLink, object_id: bytes, node_id: bytes, address: str) -> None:
        self.has_copy(object_id, [node_id, address])

    def _on_unreadable(self, link: PeerLink, object_id: bytes, node_id: bytes) -> None:
        reference = self._runtime.ownership.owned(object_id)
        if reference is None:
            link.send((messages.RELOCATED, object_id, messages.GONE, None))
        else:
            self.look(reference, node_id, lambda reference: self._answer(link, reference))

    def _answer(self, link: PeerLink, reference: Reference) -> None:
        def tell(reference: Reference) -> None:
            link.send((messages.RELOCATED, reference.id, *self._runtime.objects.outcome(reference)))

        self._runtime.objects.observe(reference, tell)
