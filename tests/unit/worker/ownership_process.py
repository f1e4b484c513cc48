"""The smallest runtime around an `Ownership`: it submits and runs tasks, reads values, and keeps the contract."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from asyncray import messages
from asyncray.worker.effects import Forgotten, Free, Gone, OwnerDied, ReplyReady, Send
from asyncray.worker.ownership import Ownership
from asyncray.worker.reference import Execution, Reference

if TYPE_CHECKING:
    from .ownership_world import Key, Way, World

Ways = dict["Key", "Way"]


@dataclass(eq=False)
class Task:
    """A task as its caller knows it."""

    id: bytes
    arguments: list[Reference]
    inlined: list[Reference]
    """Objects of the caller whose values go with the task."""
    returns: list[Reference]
    records: int
    """Returns whose record exists still: the specification goes with the last one."""
    worker: bytes | None = None

    def held(self) -> list[Reference]:
        return self.arguments + self.inlined


@dataclass(eq=False)
class Running:
    """A task as its worker knows it."""

    id: bytes
    caller: bytes
    returns: int
    execution: Execution
    variables: list[Reference]
    puts: int = 0
    reply: tuple[Any, Ways] | None = None


@dataclass(eq=False)
class Result:
    """What a worker has returned, and the caller has not seen yet."""

    task_id: bytes
    caller: bytes
    contents: list[list[Reference]] = field(default_factory=list)


class Process:
    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.id = b"process-%08d" % number
        self.ownership = Ownership(self.id)
        self.alive = True
        self.lost: set[bytes] = set()
        self.puts = 0
        self.variables: list[Reference] = []
        self.tasks: dict[bytes, Task] = {}
        self.received: list[tuple[bytes, Any, Ways]] = []
        self.running: list[Running] = []
        self.results: list[Result] = []
        self.fetches: list[Reference] = []
        self.asked: list[tuple[bytes, bytes]] = []
        self.dead: set[Reference] = set()
        """References whose object was found gone, or whose owner died."""

    def __repr__(self) -> str:
        return f"<Process {self.id.decode()}>"

    def address(self) -> list[Any]:
        return [self.id, b"node-00000000000", "/socket", "host:1"]

    def key(self, reference: Reference) -> Key:
        return reference.id, self.id if reference.owner is None else reference.owner[0]

    def held(self) -> Iterator[Reference]:
        """What programs, tasks and fetches of this process refer to."""
        yield from self.variables
        yield from self.fetches
        for task in self.tasks.values():
            yield from task.held()
        for running in self.running:
            yield from running.variables

    def contained(self, references: Iterable[Reference]) -> list[list[Any]]:
        return [[r.id, self.address() if r.owner is None else list(r.owner)] for r in references]

    def take(self, contained: Any, ways: Ways, source: Reference | Execution | None) -> list[Reference]:
        """Deserialise references."""
        references = []
        for id, owner in contained:
            reference = self.ownership.borrow(id, owner, source)
            assert self.key(reference) == (id, owner[0]), "another object of the same id"
            self.world.acquire(self, reference, ways.get(self.key(reference)))
            references.append(reference)
        return references

    # ---- what programs do

    def put(self, id: bytes, inners: list[Reference]) -> Reference:
        reference = self.ownership.own(id)
        if self.world.note_value(self, reference, inners):
            self.ownership.put_contains(reference, inners)
        return reference

    def submit(self, task: Task, worker: bytes) -> None:
        self.tasks[task.id] = task
        for argument in task.held():
            self.ownership.hold_task(argument)
            self.world.acquire(self, argument, None)
        self.dispatch(task, worker)

    def dispatch(self, task: Task, worker: bytes) -> None:
        task.worker = worker
        sent = task.arguments + [inner for outer in task.inlined for inner in self.world.inside(self, outer)]
        body = (messages.TASK, task.id, self.contained(sent), len(task.returns))
        self.world.send(self, worker, body, self.world.ways(self, sent))

    def start(self, index: int) -> None:
        caller, (_, id, contained, returns), ways = self.received.pop(index)
        execution = Execution(caller)
        self.running.append(Running(id, caller, returns, execution, self.take(contained, ways, execution)))

    def finish(self, running: Running, contents: list[list[Reference]]) -> None:
        """`contents` of each return: references that the task or the process holds."""
        returned = [reference for references in contents for reference in references]
        self.ownership.hold_result(running.id, running.caller, returned)
        if running.caller not in self.lost:
            self.results.append(Result(running.id, running.caller, contents))
        body = (messages.RESULT, running.id, [self.contained(references) for references in contents])
        running.reply = body, self.world.ways(self, returned)
        variables, running.variables = running.variables, []
        for reference in variables:
            self.ownership.drop(reference)
        if self.ownership.reply_ready(running.execution):
            self.reply(running)

    def reply(self, running: Running) -> None:
        assert running.reply is not None
        self.running.remove(running)
        self.world.send(self, running.caller, *running.reply)

    def fetch(self, outer: Reference, stored: bool = False) -> None:
        """Read a value, from this node's store or from its owner, and take what is in it."""
        if outer.owner is None:
            inside = self.world.inside(self, outer)
            self.variables += self.take(self.contained(inside), self.world.ways(self, inside), outer)
        elif stored and self.key(outer) in self.world.values:
            self.read(outer, self.world.processes[outer.owner[0]])
        elif outer.owner[0] not in self.lost:
            self.ownership.hold(outer)
            self.fetches.append(outer)
            self.world.send(self, outer.owner[0], (messages.GET, outer.id))

    def read(self, outer: Reference, owner: Process) -> None:
        inside = self.world.values[self.key(outer)]
        ways = self.world.through(self, outer, self.world.ways(owner, inside))
        self.variables += self.take(owner.contained(inside), ways, outer)

    def drop(self, variables: list[Reference], reference: Reference) -> None:
        variables.remove(reference)
        self.ownership.drop(reference)

    # ---- what arrives

    def receive(self, sender: Process, body: Any, ways: Ways) -> None:
        kind, *fields = body
        handlers: dict[int, Callable[..., None]] = {
            messages.BORROW: self.ownership.on_borrow,
            messages.BORROW_ACK: self.ownership.on_borrow_ack,
            messages.RELEASE: self.ownership.on_release,
            messages.CONFIRM: self.ownership.on_confirm,
        }
        if kind in handlers:
            handlers[kind](sender.address(), *fields)
        elif kind == messages.TASK:
            self.received.append((sender.id, body, ways))
        elif kind == messages.RESULT:
            self.on_result(sender, fields[0], fields[1], ways)
        elif kind == messages.GET:
            self.asked.append((sender.id, fields[0]))
            self.answer()
        elif kind == messages.VALUE:
            self.on_value(sender, fields[0], fields[1], ways)
        else:
            self.on_lost(sender.id)

    def on_result(self, sender: Process, task_id: bytes, returns: Any, ways: Ways) -> None:
        for result in sender.results:
            if (result.task_id, result.caller) == (task_id, self.id):
                sender.results.remove(result)
                break
        task = self.tasks.get(task_id)
        if task is None or task.worker != sender.id:
            self.ownership.result_contains(task_id, sender.address(), [(None, contained) for contained in returns])
            return
        outers = [outer if outer.in_use else None for outer in task.returns]
        self.ownership.result_contains(task_id, sender.address(), zip(outers, returns, strict=True))
        for outer, contained in zip(outers, returns, strict=True):
            if outer is not None:
                inners = self.take(contained, ways, None)
                self.world.note_value(self, outer, inners, replace=True)
                for inner in inners:
                    self.ownership.drop(inner)
        self.end(task)

    def end(self, task: Task) -> None:
        """The task is done, or has failed for good."""
        del self.tasks[task.id]
        for outer in task.returns:
            if outer.in_use:
                self.world.note_value(self, outer, [])
        for argument in task.held():
            self.ownership.release_task(argument)
        self.answer()

    def answer(self) -> None:
        """Send the values that were asked for, as far as they exist."""
        asked, self.asked = self.asked, []
        for process_id, id in asked:
            reference = self.ownership.owned(id)
            if any(reference in task.returns for task in self.tasks.values()):
                self.asked.append((process_id, id))
                continue
            inside = [] if reference is None else self.world.inside(self, reference)
            body = (messages.VALUE, id, self.contained(inside))
            self.world.send(self, process_id, body, self.world.ways(self, inside))

    def on_value(self, sender: Process, id: bytes, contained: Any, ways: Ways) -> None:
        for outer in self.fetches:
            if self.key(outer) == (id, sender.id):
                through = self.world.through(self, outer, ways)
                self.variables += self.take(contained, through, outer)
                self.drop(self.fetches, outer)
                return

    def on_lost(self, process_id: bytes) -> None:
        self.lost.add(process_id)
        self.ownership.process_lost(process_id)
        self.results = [result for result in self.results if result.caller != process_id]
        self.asked = [entry for entry in self.asked if entry[0] != process_id]
        for outer in [outer for outer in self.fetches if self.key(outer)[1] == process_id]:
            self.drop(self.fetches, outer)
        for task in [task for task in self.tasks.values() if task.worker == process_id]:
            others = self.world.workers_for(self)
            if others and self.world.retries:
                self.dispatch(task, others[0].id)
            else:
                self.end(task)

    def act(self) -> None:
        """Carry out the effects."""
        while effects := self.ownership.take_effects():
            for effect in effects:
                match effect:
                    case Send(address, body):
                        self.world.send(self, address[0], body)
                    case Free(reference, forgotten):
                        self.world.note_freed(self.key(reference))
                        if forgotten:
                            self.forget(reference)
                    case Forgotten(reference):
                        self.forget(reference)
                    case Gone(reference):
                        self.world.note_gone(self, reference)
                        self.dead.add(reference)
                    case OwnerDied(reference):
                        assert self.key(reference)[1] in self.lost
                        self.dead.add(reference)
                    case ReplyReady(execution):
                        self.reply(next(running for running in self.running if running.execution is execution))

    def forget(self, reference: Reference) -> None:
        """The record is gone; without the last one of its task's returns, the task need never run again."""
        task: Task | None = reference.value
        if task is not None:
            task.records -= 1
            if not task.records:
                for argument in task.held():
                    self.ownership.release_lineage(argument)
