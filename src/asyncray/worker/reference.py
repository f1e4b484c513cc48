"""What a process knows of one object: the counts that keep it alive, and who waits for its owner's word."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asyncray.messages import Address


class Reference:
    """One object known to this process. `Ownership` alone changes the counts; the runtime has the last three fields.

    A million of them may be alive at once, so they stay small: 136 bytes, and 53 for the id.
    """

    __slots__ = (
        "borrowers",
        "containers",
        "contains",
        "id",
        "lineage",
        "local",
        "owner",
        "sequence",
        "sources",
        "state",
        "tasks",
        "value",
        "waiters",
    )

    id: bytes
    owner: Address | None
    """None: this process owns the object."""
    local: int
    """Live `ObjectRef`s, and holds of the runtime and of `Ownership` itself."""
    tasks: int
    """Unfinished tasks submitted by this process that take the object."""
    containers: int
    """Live objects owned by this process whose value contains this reference."""
    lineage: int
    """Task specifications kept for re-execution that take the object: they keep this record, not the value."""
    borrowers: set[bytes] | None
    """Owner only: the ids of the processes that have borrowed it."""
    contains: tuple[Reference, ...] | None
    """Owner only: the references inside the value."""
    sequence: int
    """Borrower only: the number of the BORROW sent; 0 when nothing is borrowed now (owner dead, or lineage only)."""
    sources: list[Reference | Execution] | None
    """Borrower only: what is held until the owner has acknowledged; None once it has."""
    state: int
    value: Any
    waiters: Any

    def __init__(self, id: bytes, owner: Address | None = None) -> None:
        self.id = id
        self.owner = owner
        self.local = 1
        self.tasks = self.containers = self.lineage = self.sequence = self.state = 0
        self.borrowers = self.contains = self.sources = self.value = self.waiters = None

    @property
    def in_use(self) -> bool:
        """Whether the value must be kept."""
        return bool(self.local or self.tasks or self.containers or self.borrowers)

    def __repr__(self) -> str:
        counts = f"local={self.local} tasks={self.tasks} containers={self.containers} lineage={self.lineage}"
        role = f"borrowers={len(self.borrowers or ())}" if self.owner is None else f"borrow={self.sequence}"
        return f"<Reference {self.id.hex()} {counts} {role}>"


Waiter = Callable[[Reference], None]


class Execution:
    """A task running here, whose reply must wait for acknowledgements.

    Give it as the source of what is deserialised from the task's arguments. A task without references needs none.
    `process_id` says to whom the reply goes on the very connection that carries BORROW to that process; it is empty
    when the reply takes another way (the creation of an actor).
    """

    __slots__ = ("pending", "process_id", "replying")

    def __init__(self, process_id: bytes) -> None:
        self.process_id = process_id
        self.pending = 0
        """Borrows still held whose acknowledgement is outstanding."""
        self.replying = False


class Confirmation(Execution):
    """The word owed to the worker at `worker`: the references inside the result of `task_id` are borrowed."""

    __slots__ = ("task_id", "worker")

    def __init__(self, task_id: bytes, worker: Address) -> None:
        super().__init__(worker[0])
        self.task_id = task_id
        self.worker = worker


class ReferenceTable(dict[bytes, Reference]):
    """Records by object id.

    A task that runs again in another process derives the same ids for what it puts and submits, so one id may stand
    for two objects with different owners. The later one is kept aside, by id and owner, until the first is removed.
    """

    def __init__(self, process_id: bytes) -> None:
        super().__init__()
        self._process_id = process_id
        self.shadowed: dict[tuple[bytes, bytes], Reference] = {}

    def find(self, id: bytes, owner_id: bytes) -> Reference | None:
        """The record of the object that the process `owner_id` owns."""
        reference = self.get(id)
        if reference is not None:
            owner = reference.owner
            if (self._process_id if owner is None else owner[0]) == owner_id:
                return reference
        return self.shadowed.get((id, owner_id)) if self.shadowed else None

    def knows(self, reference: Reference) -> bool:
        """Whether this very record is in the table."""
        return self.get(reference.id) is reference or self.shadowed.get(self._key(reference)) is reference

    def add(self, reference: Reference) -> None:
        if self.setdefault(reference.id, reference) is not reference:
            self.shadowed[self._key(reference)] = reference

    def remove(self, reference: Reference) -> bool:
        """Take the record out; False when it was not there."""
        if self.get(reference.id) is reference:
            del self[reference.id]
            if self.shadowed:
                self._promote(reference.id)
            return True
        if self.shadowed and self.shadowed.get(self._key(reference)) is reference:
            del self.shadowed[self._key(reference)]
            return True
        return False

    def _promote(self, id: bytes) -> None:
        key = next((key for key in self.shadowed if key[0] == id), None)
        if key is not None:
            self[id] = self.shadowed.pop(key)

    def _key(self, reference: Reference) -> tuple[bytes, bytes]:
        return reference.id, self._process_id if reference.owner is None else reference.owner[0]
