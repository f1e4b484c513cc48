"""The life of one actor, from its registration to its death: decisions only.

    WAITING --place_on--> PLACING --placed--> ALIVE --end(graceful)--> ENDING
       ^                     |                                           |
       +---refused, node lost+            anything fatal, in any phase --+--> DEAD

Each event returns the effects to carry out, in order. Events that come too late (an answer from a node
that was told to stop the actor, the second report of one death) return none. A restart would be decided
in `_lost`, the one place where an actor loses its process.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from asyncray.ids import NodeId
from asyncray.messages import Address

PENDING: Final = "PENDING"
ALIVE: Final = "ALIVE"
DEAD: Final = "DEAD"


class Phase(Enum):
    WAITING = auto()
    """For a node that can take it."""
    PLACING = auto()
    """A node was told to start it."""
    ALIVE = auto()
    ENDING = auto()
    """Told to finish the calls that it has received; its death is awaited."""
    DEAD = auto()


@dataclass(frozen=True, slots=True)
class Enqueue:
    """Find a node, and answer with `place_on`."""


@dataclass(frozen=True, slots=True)
class Dequeue:
    """No node is needed any more."""


@dataclass(frozen=True, slots=True)
class Place:
    """Tell the node to start it; the node answers with `placed`, `failed` or `refused`."""

    node_id: NodeId


@dataclass(frozen=True, slots=True)
class Stop:
    """Tell the node to end its process."""

    node_id: NodeId
    graceful: bool


@dataclass(frozen=True, slots=True)
class Retire:
    """It can no longer be found by its name, which is free again."""


@dataclass(frozen=True, slots=True)
class Announce:
    """Tell the subscribers. `DEAD` is announced once, and last."""

    state: str


Effect = Enqueue | Dequeue | Place | Stop | Retire | Announce


class ActorLifecycle:
    """State machine; call `start` first. `node_id` is set from PLACING on, `address` while its process runs."""

    def __init__(self) -> None:
        self.phase = Phase.WAITING
        self.node_id: NodeId | None = None
        self.address: Address | None = None
        self.pid = 0
        self.cause = ""
        """Why it died, or will."""
        self.error: bytes | None = None
        """The error value that its callers get, if that says more than the cause: what its constructor raised, say."""

    @property
    def state(self) -> str:
        """What subscribers are told. One that is ending still lives: its calls are answered."""
        if self.phase is Phase.DEAD:
            return DEAD
        return ALIVE if self.phase in (Phase.ALIVE, Phase.ENDING) else PENDING

    @property
    def reachable(self) -> bool:
        """Whether it can be looked up, and keeps its name."""
        return self.phase not in (Phase.ENDING, Phase.DEAD)

    def start(self) -> list[Effect]:
        return [Enqueue()]

    def place_on(self, node_id: NodeId) -> list[Effect]:
        if self.phase is not Phase.WAITING:
            raise RuntimeError(f"an actor that is {self.phase.name} cannot be placed")
        self.phase = Phase.PLACING
        self.node_id = node_id
        return [Place(node_id)]

    def placed(self, node_id: NodeId, address: Address, pid: int) -> list[Effect]:
        """Its constructor has returned."""
        if self.phase is not Phase.PLACING or node_id != self.node_id:
            return []
        self.phase = Phase.ALIVE
        self.address = address
        self.pid = pid
        return [Announce(ALIVE)]

    def failed(self, node_id: NodeId, error: bytes, cause: str) -> list[Effect]:
        """Its constructor has raised `error` (a value)."""
        if self.phase is not Phase.PLACING or node_id != self.node_id:
            return []
        self.error = error
        return self._die(cause)

    def refused(self, node_id: NodeId) -> list[Effect]:
        """The node could not take it, and has started nothing."""
        if self.phase is not Phase.PLACING or node_id != self.node_id:
            return []
        return self._place_again()

    def worker_died(self, node_id: NodeId, cause: str, error: bytes | None = None) -> list[Effect]:
        """`error`: a value that says more than the text."""
        if not self._runs_on(node_id):
            return []
        if self.phase is not Phase.ENDING:
            self.error = error
        return self._lost(cause)

    def node_lost(self, node_id: NodeId, cause: str) -> list[Effect]:
        if not self._runs_on(node_id):
            return []
        if self.phase is Phase.PLACING:
            # Whether the constructor has begun is unknown; as with a task that is retried, it may run again.
            return self._place_again()
        return self._lost(cause)

    def end(self, cause: str, *, graceful: bool) -> list[Effect]:
        """Graceful: it answers the calls that it has received first. Before it lives there are none."""
        if self.phase is Phase.DEAD or (graceful and self.phase is Phase.ENDING):
            return []
        if self.phase is Phase.WAITING:
            return [Dequeue(), *self._die(cause)]
        assert self.node_id is not None
        stop = Stop(self.node_id, graceful)
        if not graceful or self.phase is Phase.PLACING:
            return [stop, *self._die(cause)]
        self.phase = Phase.ENDING
        self.cause = cause
        return [stop, Retire()]

    def _runs_on(self, node_id: NodeId) -> bool:
        return node_id == self.node_id and self.phase in (Phase.PLACING, Phase.ALIVE, Phase.ENDING)

    def _place_again(self) -> list[Effect]:
        self.phase = Phase.WAITING
        self.node_id = None
        return [Enqueue()]

    def _lost(self, cause: str) -> list[Effect]:
        """Its process is gone."""
        return self._die(self.cause if self.phase is Phase.ENDING else cause)

    def _die(self, cause: str) -> list[Effect]:
        retired = self.phase is Phase.ENDING
        self.phase = Phase.DEAD
        self.cause = cause
        self.address = None
        return [Announce(DEAD)] if retired else [Retire(), Announce(DEAD)]
