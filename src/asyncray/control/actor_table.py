"""The actors of the cluster, and by what they can be found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from asyncray.bounded import Remembered
from asyncray.control.actor_lifecycle import ActorLifecycle
from asyncray.control.placement import Demand
from asyncray.ids import ActorId

DEAD_ACTORS_KEPT: Final = 10_000
"""Of these, all is known but their arguments."""
DEAD_ACTOR_IDS_KEPT: Final = 200_000
"""Of these, that they are dead."""


@dataclass(slots=True, eq=False)
class ActorRecord:
    actor_id: ActorId
    job_id: bytes
    owner: bytes
    class_id: bytes
    class_name: str
    name: str
    namespace: str
    detached: bool
    outlives_job: bool
    """Detached, or made by an actor that outlives its job."""
    demand: Demand
    job: dict[str, Any]
    creation: list[Any]
    """CREATE_ACTOR's fields; empty once it is dead, since arguments can be large."""
    life: ActorLifecycle
    node_id: bytes | None = None
    """Where it is indexed: the node that starts or runs it."""
    process_id: bytes | None = None
    """Its worker, while that is known."""

    def __str__(self) -> str:
        name = f" {self.name!r}" if self.name else ""
        return f"{self.class_name}{name} ({self.actor_id.hex()[:12]})"


class _Index:
    """Sets of actors by some key of theirs, in the order of addition."""

    def __init__(self) -> None:
        self._actors: dict[bytes, dict[ActorRecord, None]] = {}

    def add(self, key: bytes, record: ActorRecord) -> None:
        self._actors.setdefault(key, {})[record] = None

    def discard(self, key: bytes, record: ActorRecord) -> None:
        actors = self._actors.get(key)
        if actors is not None:
            actors.pop(record, None)
            if not actors:
                del self._actors[key]

    def of(self, key: bytes) -> list[ActorRecord]:
        return list(self._actors.get(key, ()))


class ActorTable:
    """The living by all their keys; of the dead, a limited number by id."""

    def __init__(self) -> None:
        self._living: dict[bytes, ActorRecord] = {}
        self._dead: Remembered[bytes, ActorRecord] = Remembered(DEAD_ACTORS_KEPT)
        self._dead_ids: Remembered[bytes, None] = Remembered(DEAD_ACTOR_IDS_KEPT)
        self._by_name: dict[tuple[str, str], ActorRecord] = {}
        self._by_process: dict[bytes, ActorRecord] = {}
        self._by_owner = _Index()
        self._by_job = _Index()
        self._by_node = _Index()

    def __iter__(self) -> Iterator[ActorRecord]:
        """The living, then the dead that are remembered."""
        yield from self._living.values()
        yield from self._dead.values()

    def add(self, record: ActorRecord) -> None:
        self._living[record.actor_id] = record
        self._by_owner.add(record.owner, record)
        self._by_job.add(record.job_id, record)
        if record.name:
            self._by_name[record.namespace, record.name] = record

    def living(self, actor_id: bytes) -> ActorRecord | None:
        return self._living.get(actor_id)

    def get(self, actor_id: bytes) -> ActorRecord | None:
        """Living, or dead and remembered."""
        return self._living.get(actor_id) or self._dead.get(actor_id)

    def has_died(self, actor_id: bytes) -> bool:
        """Remembers for longer than `get` does."""
        return actor_id in self._dead_ids

    def named(self, namespace: str, name: str) -> ActorRecord | None:
        return self._by_name.get((namespace, name))

    def hosted_by(self, process_id: bytes) -> ActorRecord | None:
        """The actor whose worker that process is."""
        return self._by_process.get(process_id)

    def owned_by(self, process_id: bytes) -> list[ActorRecord]:
        return self._by_owner.of(process_id)

    def of_job(self, job_id: bytes) -> list[ActorRecord]:
        return self._by_job.of(job_id)

    def on_node(self, node_id: bytes) -> list[ActorRecord]:
        return self._by_node.of(node_id)

    def locate(self, record: ActorRecord, node_id: bytes | None, process_id: bytes | None = None) -> None:
        """Takes note of where a living actor is now."""
        if record.node_id is not None:
            self._by_node.discard(record.node_id, record)
        if record.process_id is not None:
            self._by_process.pop(record.process_id, None)
        record.node_id, record.process_id = node_id, process_id
        if node_id is not None:
            self._by_node.add(node_id, record)
        if process_id is not None:
            self._by_process[process_id] = record

    def release_name(self, record: ActorRecord) -> None:
        if self._by_name.get((record.namespace, record.name)) is record:
            del self._by_name[record.namespace, record.name]

    def rule_out(self, actor_id: bytes) -> None:
        """An actor that has never lived never will."""
        self._dead_ids[actor_id] = None

    def bury(self, record: ActorRecord) -> None:
        """The actor is dead: nothing but its id finds it."""
        self.locate(record, None)
        self.release_name(record)
        self._by_owner.discard(record.owner, record)
        self._by_job.discard(record.job_id, record)
        del self._living[record.actor_id]
        record.creation = []
        self._dead[record.actor_id] = record
        self._dead_ids[record.actor_id] = None
