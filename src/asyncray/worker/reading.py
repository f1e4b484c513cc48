"""Reading stored objects, wherever they are: this node's store fetches them; where it cannot, their owner is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Container
from typing import TYPE_CHECKING, Any

from asyncray import messages, serialization
from asyncray.errors import ObjectFreedError, ObjectLostError, OwnerDiedError
from asyncray.ids import owner_of, store_key
from asyncray.messages import ERROR, GONE, STORED, Address
from asyncray.worker.location import Location
from asyncray.worker.peers import PeerLink
from asyncray.worker.store_client import Pin

if TYPE_CHECKING:
    from asyncray.worker.runtime import Runtime

Outcome = tuple[int, Any]
"""A state, and a value or location."""


class Reader:
    """Loop thread only."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._asked: dict[bytes, asyncio.Future[Outcome]] = {}
        """By store key: owners that have been asked where an object is, and have yet to answer."""
        runtime.peers.handlers[messages.RELOCATED] = self._on_relocated
        runtime.peers.on_lost.append(self._link_lost)
        runtime.peers.needed.append(self._owners_asked)

    def _owners_asked(self) -> Container[bytes]:
        return {owner_of(key) for key in self._asked}

    async def pin(self, object_id: bytes, location: Location, owner: Address | None) -> Pin:
        """Pins a stored object of `owner` (None: of this process) in this node's store.

        Raises ObjectLostError when no copy is left or none can be reached, OwnerDiedError, ObjectFreedError,
        ObjectStoreFullError or OutOfDiskError when the copy finds no room here. The caller counts in `holders`.
        """
        config = self._runtime.config
        pause = config.read_retry_delay
        for attempt in range(config.read_attempts):
            tried = location.node_id
            key, sources = location.key(object_id), location.sources()
            try:
                return await self._runtime.store.pin(key, location.size, sources, location.priority, owner)
            except ObjectLostError as error:
                why = str(error)
            await self._look_again(object_id, location, owner)
            if location.node_id == tried and attempt < config.read_attempts - 1:
                # It is where it was, says its owner, who can reach that node: perhaps this node soon can, too.
                await asyncio.sleep(pause)
                pause *= 2
        own = self._runtime.nodes.own
        where = f"node {location.node_id.hex()[:8]} at {location.node_address}"
        if own is not None and location.node_id == own.node_id:
            raise ObjectLostError(f"{why}; its owner takes it to be here, on {where}, and knows of no better copy")
        raise ObjectLostError(
            f"{why}; its owner takes it to be on {where}: see to the network between that node and this one, or to the"
            " disk there"
        )

    def tell_of_copy(self, object_id: bytes, owner: Address | None) -> None:
        """This node has a copy that can become the primary."""
        node = self._runtime.nodes.own
        assert node is not None
        if owner is not None:
            self._runtime.peers.link(owner).send((messages.COPY, object_id, node.node_id, node.address))
        else:
            self._runtime.whereabouts.has_copy(object_id, [node.node_id, node.address])

    async def _look_again(self, object_id: bytes, location: Location, owner: Address | None) -> None:
        """Asks the owner, who looks for the object. Raises what that comes to."""
        key = location.key(object_id)
        outcome = self._asked.get(key)
        if outcome is None:
            outcome = self._asked[key] = self._runtime.loop.create_future()
            self._ask(object_id, location, owner)
        state, value = await asyncio.shield(outcome)
        if state == STORED:
            location.moved(value)
        elif state == ERROR:
            raise serialization.load_error(value)
        else:
            raise ObjectFreedError(freed(object_id))

    def _ask(self, object_id: bytes, location: Location, owner: Address | None) -> None:
        if owner is not None:
            self._runtime.peers.link(owner).send((messages.UNREADABLE, object_id, location.node_id))
            return
        key = location.key(object_id)
        reference = self._runtime.ownership.owned(object_id)
        if reference is None:
            self._found(key, (GONE, None))
        else:
            objects = self._runtime.objects
            self._runtime.whereabouts.look(
                reference, location.node_id, lambda reference: self._found(key, objects.outcome(reference))
            )

    def _found(self, key: bytes, outcome: Outcome) -> None:
        asked = self._asked.pop(key, None)
        if asked is not None and not asked.done():
            asked.set_result(outcome)

    def _on_relocated(self, link: PeerLink, object_id: bytes, state: int, value: Any) -> None:
        self._found(store_key(object_id, link.process_id), (state, value))

    def _link_lost(self, link: PeerLink, cause: str) -> None:
        for key in [key for key in self._asked if key.endswith(link.process_id)]:
            error = serialization.dumps_error(OwnerDiedError(owner_died(key)))
            self._found(key, (ERROR, error))


def freed(object_id: bytes) -> str:
    """The message of an ObjectFreedError."""
    return (
        f"object {object_id.hex()} was freed before it was read: by asyncray.util.free(), or because the process that"
        " passed the reference on has died"
    )


def owner_died(object_id: bytes) -> str:
    """The message of an OwnerDiedError."""
    return (
        f"the process that owned object {object_id.hex()[:40]} has ended, and the value with it: let a process that"
        " lives longer submit the task, or put the value"
    )
