"""A world of processes that count references with `Ownership`, and its own account of what must be alive.

Connections are queues, delivered in any order between pairs. What must be alive is worked out from what programs
hold, not from any count:

* A process holds what its variables, its unfinished tasks and the tasks that run in it refer to, and what the values
  of its own objects contain, as long as those objects must be alive.
* An object whose owner lives must be alive while a process holds it *soundly*: always, if nothing has crashed;
  otherwise if the owner has heard of the holder, or if those who handed it on live and hold it soundly themselves.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from asyncray import messages
from asyncray.ids import return_id
from asyncray.worker.ownership import Ownership
from asyncray.worker.reference import Reference

from .ownership_process import Process, Ways

Key = tuple[bytes, bytes]
"""An object: its id and its owner's process id."""
LOST = (0,)


@dataclass(eq=False)
class Custody:
    """That a process holds an object of another one, and by which ways it came there."""

    holder: tuple[bytes, Key]
    ways: list[Way] = field(default_factory=list)
    unsound: bool = False


@dataclass(frozen=True)
class Way:
    """A way by which an object was handed on: good while the process lives and the custodies are sound."""

    process_id: bytes
    custodies: tuple[Custody, ...]


class World:
    def __init__(self, processes: int, ownership: Callable[[bytes], Ownership] = Ownership) -> None:
        self.ownership = ownership
        self.processes: dict[bytes, Process] = {}
        self.channels: dict[tuple[bytes, bytes], deque[tuple[Any, Ways]]] = {}
        self.values: dict[Key, list[Reference]] = {}
        """What is inside the values that exist: the owner's references."""
        self.may_contain: dict[Key, set[Key]] = {}
        self.created: set[Key] = set()
        self.freed: set[Key] = set()
        self.custodies: dict[tuple[bytes, Key], Custody] = {}
        self.heard: dict[tuple[bytes, Key], tuple[int, bool]] = {}
        """By borrower: the sequence of the last BORROW that no RELEASE followed, and whether the owner has taken it."""
        self.retries = False
        for _ in range(processes):
            self.spawn()

    def spawn(self) -> None:
        process = Process(self, len(self.processes))
        process.ownership = self.ownership(process.id)
        self.processes[process.id] = process

    def living(self) -> list[Process]:
        return [process for process in self.processes.values() if process.alive]

    def workers_for(self, process: Process) -> list[Process]:
        """Whom it may give a task: others, dead ones too if it has not heard yet."""
        return [p for p in self.processes.values() if p is not process and p.id not in process.lost]

    # ---- connections

    def send(self, sender: Process, receiver_id: bytes, body: Any, ways: Ways | None = None) -> None:
        self._overhear(sender, receiver_id, body)
        if self.processes[receiver_id].alive:
            self.channels.setdefault((sender.id, receiver_id), deque()).append((body, ways or {}))
        elif receiver_id not in sender.lost and (receiver_id, sender.id) not in self.channels:
            self.channels[receiver_id, sender.id] = deque([(LOST, {})])  # it cannot be reached

    def _overhear(self, sender: Process, receiver_id: bytes, body: Any) -> None:
        if body[0] == messages.BORROW:
            self.heard[sender.id, (body[1], receiver_id)] = body[2], False
        elif body[0] == messages.RELEASE:
            self.heard.pop((sender.id, (body[1], receiver_id)), None)
        elif body[0] == messages.BORROW_ACK:
            key = body[1], sender.id
            holder = receiver_id, key
            if body[3]:
                self.freed.discard(key)  # lineage had kept the record of a freed value
            if self.heard.get(holder) == (body[2], False):
                if body[3]:
                    self.heard[holder] = body[2], True
                    if holder in self.custodies:
                        self.custodies[holder].unsound = False
                else:
                    del self.heard[holder]

    def deliver(self, pair: tuple[bytes, bytes]) -> None:
        body, ways = self.channels[pair].popleft()
        if not self.channels[pair]:
            del self.channels[pair]
        self.processes[pair[1]].receive(self.processes[pair[0]], body, ways)

    def crash(self, process: Process, choose: Callable[[range], int]) -> None:
        """Each other process sees a part of what was on the way, and of that a part when it knows already."""
        process.alive = False
        for other in self.living():
            queue = self.channels.pop((process.id, other.id), deque())
            seen = list(queue)[: choose(range(len(queue) + 1))]
            seen.insert(choose(range(len(seen) + 1)), (LOST, {}))
            self.channels[process.id, other.id] = deque(seen)
            self.channels.pop((other.id, process.id), None)
        for custody in self.custodies.values():
            custody.unsound = self._is_unsound(custody, set())

    # ---- what must be alive

    def _is_unsound(self, custody: Custody, visiting: set[Custody]) -> bool:
        if custody.unsound or custody in visiting:
            return True
        if self.heard.get(custody.holder, (0, False))[1]:
            return False
        visiting.add(custody)
        unsound = all(self._is_broken(way, visiting) for way in custody.ways)
        visiting.discard(custody)
        return unsound

    def _is_broken(self, way: Way, visiting: set[Custody]) -> bool:
        if not self.processes[way.process_id].alive:
            return True
        return any(self._is_unsound(custody, visiting) for custody in way.custodies)

    def _custodies_of(self, process: Process, reference: Reference) -> tuple[Custody, ...]:
        if reference.owner is None and reference not in process.dead:
            return ()
        holder = process.id, process.key(reference)
        return (self.custodies.get(holder) or Custody(holder, unsound=True),)

    def ways(self, process: Process, references: Iterable[Reference]) -> Ways:
        """The process hands these on."""
        return {process.key(r): Way(process.id, self._custodies_of(process, r)) for r in references}

    def through(self, process: Process, outer: Reference, ways: Ways) -> Ways:
        """The process finds in the value of `outer` what came by these ways."""
        custodies = self._custodies_of(process, outer)
        return {key: Way(way.process_id, way.custodies + custodies) for key, way in ways.items()}

    def acquire(self, process: Process, reference: Reference, way: Way | None) -> None:
        key = process.key(reference)
        holder = process.id, key
        if reference.owner is None:
            if process.ownership.owned(reference.id) is reference:
                self.freed.discard(key)
            elif reference not in process.dead:
                assert way is not None and self._is_broken(way, set()), f"{reference} of its own was freed too early"
            return
        custody = self.custodies.setdefault(holder, Custody(holder))
        if way is not None:
            custody.ways.append(way)
            custody.unsound = False
        custody.unsound = self._is_unsound(custody, set())

    def note_value(self, owner: Process, reference: Reference, inners: list[Reference], replace: bool = False) -> bool:
        """A value exists, of this content; False when it did before and is not replaced."""
        key = owner.key(reference)
        self.created.add(key)
        if key in self.values and not replace:
            return False
        self.freed.discard(key)
        known = self.values.setdefault(key, [])
        # What the former value contained stays: it may be on the way to somebody.
        known += [inner for inner in inners if inner is not reference]
        self.may_contain.setdefault(key, set()).update(owner.key(inner) for inner in inners)
        return True

    def inside(self, owner: Process, reference: Reference) -> list[Reference]:
        return self.values.get(owner.key(reference), [])

    def reaches(self, outer: Key, inner: Key) -> bool:
        """Whether `inner` may be inside of `outer`, at any depth. Cycles are not collected, so none are made."""
        stack, seen = [outer], set()
        while stack:
            key = stack.pop()
            if key == inner:
                return True
            if key not in seen:
                seen.add(key)
                stack.extend(self.may_contain.get(key, ()))
        return False

    def note_freed(self, key: Key) -> None:
        assert key not in self.freed, f"{key} was freed twice"
        self.freed.add(key)
        self.created.add(key)
        self.values.pop(key, None)

    def note_gone(self, process: Process, reference: Reference) -> None:
        custody = self.custodies.get((process.id, process.key(reference)))
        if reference.owner is not None and custody is not None:
            assert custody.unsound, f"{process} was told that {reference} is gone"

    def _sound(self, process: Process, references: Iterable[Reference]) -> list[Key]:
        keys = ((process.key(r), r) for r in references if r not in process.dead)
        return [key for key, r in keys if r.owner is None or not self.custodies[process.id, key].unsound]

    def must_be_alive(self) -> set[Key]:
        returned: dict[Key, list[Key]] = {}
        for process in self.living():
            for result in process.results:
                if self.processes[result.caller].alive:
                    for index, references in enumerate(result.contents):
                        key = return_id(result.task_id, index), result.caller
                        returned.setdefault(key, []).extend(self._sound(process, references))
        stack = [key for process in self.living() for key in self._sound(process, process.held())]
        needed: set[Key] = set()
        while stack:
            key = stack.pop()
            owner = self.processes[key[1]]
            if key not in needed and owner.alive:
                needed.add(key)
                stack.extend(self._sound(owner, self.values.get(key, ())))
                stack.extend(returned.get(key, ()))
        return needed

    # ---- after each step

    def settle(self) -> None:
        """Carry out effects, then check all that must hold."""
        for process in self.living():
            process.act()
        self._end_custodies()
        early = self.must_be_alive() & self.freed
        assert not early, f"freed too early: {early}"
        for process in self.living():
            for reference in process.ownership.references.values():
                counts = reference.local, reference.tasks, reference.containers, reference.lineage
                assert min(counts) >= 0, f"{reference} of {process} was let go of too often"

    def _end_custodies(self) -> None:
        held: set[tuple[bytes, Key]] = set()
        for process in self.living():
            held.update((process.id, process.key(r)) for r in process.held() if r not in process.dead)
            for result in process.results:
                held.update((process.id, process.key(r)) for references in result.contents for r in references)
        for key, inners in self.values.items():
            owner = self.processes[key[1]]
            if owner.alive:
                held.update((owner.id, owner.key(inner)) for inner in inners if inner not in owner.dead)
        self.custodies = {holder: custody for holder, custody in self.custodies.items() if holder in held}

    def assert_empty(self) -> None:
        """Nothing is held any more and nothing is on the way: no table may remember anything."""
        for process in self.living():
            ownership = process.ownership
            assert not ownership.references, f"{process} still knows {list(ownership.references.values())}"
            assert not ownership.references.shadowed, f"{process} still knows {ownership.references.shadowed}"
            assert not ownership.ties, f"{process} is still tied to {ownership.ties}"
            assert not (process.running or process.tasks or process.fetches or process.asked or process.results)
        leaked = {key for key in self.created if self.processes[key[1]].alive} - self.freed
        assert not leaked, f"never freed: {leaked}"
