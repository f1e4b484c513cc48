"""What programs in a `World` do next, by somebody's choice: a random generator's, or hypothesis's."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from typing import Any

from asyncray.ids import put_id, return_id
from asyncray.messages import BORROW
from asyncray.worker.reference import Reference

from .ownership_process import Process, Running, Task
from .ownership_world import Key, World

Choose = Callable[[Sequence[Any]], Any]

MOST_PROCESSES = 7
"""The dead ones included."""


class Program:
    """Each operation does nothing when there is nothing to do it with."""

    def __init__(self, world: World, choose: Choose) -> None:
        self.world = world
        self.choose = choose
        self.finished: list[tuple[Process, Task]] = []
        self.tasks = 0
        self.stalled: list[tuple[bytes, bytes]] = []

    def step(self, operation: str) -> None:
        getattr(self, operation)()
        self.world.settle()

    def _some(self, options: Sequence[Any], most: int = 2) -> list[Any]:
        return [self.choose(options) for _ in range(self.choose(range(most + 1)))] if options else []

    def _process(self) -> Process:
        process: Process = self.choose(self.world.living())
        return process

    def _reachable(self, process: Process) -> list[Reference]:
        """What the process's programs can name."""
        return process.variables + [r for running in process.running for r in running.variables]

    def deliver(self) -> None:
        """A message arrives; over a stalled connection when there is no other."""
        if channels := self.world.channels:
            quick = [pair for pair in channels if pair not in self.stalled]
            self.world.deliver(self.choose(quick or list(channels)))

    def flush(self) -> None:
        """Everything arrives, but over stalled connections."""
        while quick := [pair for pair in self.world.channels if pair not in self.stalled]:
            pair = self.choose(quick)
            if self.world.channels[pair][0][0][0] == BORROW and self.choose((False, False, True)):
                self.stalled = [*self.stalled[-1:], pair]
            else:
                self.world.deliver(pair)
                self.world.settle()
        while [p for p in self.world.living() if p.received]:
            self.step("start")

    def stall(self) -> None:
        """What is on the way between one pair is overtaken by all else for a while: most gaps show only then."""
        if pairs := [pair for pair in self.world.channels if pair not in self.stalled]:
            self.stalled = [*self.stalled[-1:], self.choose(pairs)]

    def put(self) -> None:
        process = self._process()
        self._put(process, self._some(self._reachable(process), 3))

    def _put(self, process: Process, inners: list[Reference]) -> Reference:
        process.puts += 1
        reference = process.put(put_id(process.id, process.puts), inners)
        process.variables.append(reference)
        return reference

    def submit(self) -> None:
        process, arguments = self._process(), list[Reference]()
        borrowed = [(p, r) for p in self.world.living() for r in self._reachable(p) if r.owner is not None]
        if borrowed and self.choose((True, True, False)):
            process, argument = self.choose(borrowed)
            arguments.append(argument)
        workers = self.world.workers_for(process)
        if not workers:
            return
        reachable = self._reachable(process)
        arguments += self._some(reachable)
        inlined = self._some([r for r in reachable if r.owner is None and self.world.inside(process, r)], 1)
        self._submit(process, self.choose(workers), arguments, inlined, self.choose((1, 1, 2)))

    def _submit(
        self, process: Process, worker: Process, arguments: list[Reference], inlined: list[Reference], returns: int
    ) -> None:
        self.tasks += 1
        task_id = self.tasks.to_bytes(16, "big")
        made = [process.ownership.own(return_id(task_id, index)) for index in range(returns)]
        task = Task(task_id, arguments, inlined, made, returns)
        for reference in made:
            reference.value = task
            self.world.created.add(process.key(reference))
        for reference in task.held():
            process.ownership.hold_lineage(reference)
        process.submit(task, worker.id)
        process.variables += made
        self.finished.append((process, task))

    def share(self) -> None:
        """An object becomes known to another process, which keeps it."""
        process = self._process()
        argument = self.choose([self._put(process, []), *self._reachable(process)[-4:]])
        if started := self._run(process, argument, self.choose(self.world.living())):
            worker, running = started
            worker.variables += running.variables
            running.variables = []
            worker.finish(running, [[]])

    def relay(self) -> None:
        """A process returns what it has from a third one."""
        borrowed = [(p, r) for p in self.world.living() for r in self._reachable(p) if r.owner is not None]
        if not borrowed:
            return
        process, reference = self.choose(borrowed)
        started = self._run(self._process(), None, process)
        if started and not self.world.reaches(process.key(reference), self._outer(started[1], 0)):
            self._plan(process, self._outer(started[1], 0), [reference])
            process.finish(started[1], [[reference]])
            self._deliver_all(process.id, started[1].caller)

    def _run(self, caller: Process, argument: Reference | None, worker: Process) -> tuple[Process, Running] | None:
        if worker is caller or worker.id in caller.lost:
            return None
        self._submit(caller, worker, [argument] if argument else [], [], 1)
        self._deliver_all(caller.id, worker.id)
        worker.start(len(worker.received) - 1)
        return worker, worker.running[-1]

    def _deliver_all(self, *pair: bytes) -> None:
        self.world.settle()
        while pair in self.world.channels:
            self.world.deliver(pair)
            self.world.settle()

    def _outer(self, running: Running, index: int) -> Key:
        return return_id(running.id, index), running.caller

    def _plan(self, process: Process, outer: Key, content: list[Reference]) -> None:
        self.world.may_contain.setdefault(outer, set()).update(process.key(reference) for reference in content)

    def submit_again(self) -> None:
        """As if the value had been lost."""
        again = [(p, t) for p, t in self.finished if p.alive and t.records and t.id not in p.tasks]
        if again:
            process, task = self.choose(again)
            if workers := self.world.workers_for(process):
                process.submit(task, self.choose(workers).id)

    def start(self) -> None:
        waiting = [p for p in self.world.living() if p.received]
        if waiting:
            process = self.choose(waiting)
            process.start(self.choose(range(len(process.received))))

    def _running(self) -> list[tuple[Process, Running]]:
        return [(p, r) for p in self.world.living() for r in p.running if r.reply is None]

    def finish(self) -> None:
        if not (candidates := self._running()):
            return
        process, running = self.choose(candidates)
        found = list(running.variables)
        for reference in self._some(found, 3):
            if reference in running.variables:  # left in the process, as an actor's method does
                running.variables.remove(reference)
                process.variables.append(reference)
        if self.choose((False, True)):
            running.puts += 1
            inners = self._some(self._reachable(process), 1)
            running.variables.append(process.put(put_id(running.id, running.puts), inners))
            found = running.variables[-1:] * 2 + found
        contents = []
        for index in range(running.returns):
            outer = self._outer(running, index)
            options = [r for r in found + process.variables if not self.world.reaches(process.key(r), outer)]
            borrowed = [r for r in options if r.owner is not None]
            contents.append(self._some(borrowed or options, self.choose((0, 1, 2, 3))))
            self._plan(process, outer, contents[-1])
        process.finish(running, contents)

    def squeeze(self) -> None:
        """A borrower's word to the owner is late, and nobody keeps anything longer than he must."""
        pairs = [pair for pair, queue in self.world.channels.items() if any(body[0] == BORROW for body, _ in queue)]
        if not pairs:
            return
        late = self.choose(pairs)
        self.stalled = [late]
        borrower = self.world.processes[late[0]]
        kept = {body[1] for body, _ in self.world.channels[late] if body[0] == BORROW}
        for _ in range(2):
            for process, running in self._running():
                if process is borrower:
                    process.variables += running.variables
                    running.variables = []
                process.finish(running, [[] for _ in range(running.returns)])
                self.world.settle()
            for process in self.world.living():
                self._drop_all(process, kept if process is borrower else set())
            self.flush()

    def drop(self) -> None:
        lists = [(p, p.variables) for p in self.world.living()]
        lists += [(p, running.variables) for p, running in self._running()]
        if lists := [(p, variables) for p, variables in lists if variables]:
            process, variables = self.choose(lists)
            process.drop(variables, self.choose(variables))

    def drop_all(self) -> None:
        """One process lets go of all it can, so that objects depend on what others hold."""
        self._drop_all(self._process())

    def _drop_all(self, process: Process, kept: Set[bytes] = frozenset()) -> None:
        """All but these, and objects that contain one of them."""
        for reference in list(process.variables):
            if not kept & {reference.id, *(inner.id for inner in self.world.inside(process, reference))}:
                process.drop(process.variables, reference)
                self.world.settle()

    def fetch(self) -> None:
        everywhere = [(p, r) for p in self.world.living() for r in self._reachable(p) if r not in p.dead]
        full = [(p, r) for p, r in everywhere if r.owner is not None and self.world.values.get(p.key(r))]
        if options := self.choose((everywhere, full)):
            process, reference = self.choose(options)
            process.fetch(reference, stored=self.choose((False, True)))

    def crash(self) -> None:
        if len(self.world.living()) > 1:
            self.world.retries = self.choose((False, True))
            self.world.crash(self._process(), self.choose)

    def spawn(self) -> None:
        if len(self.world.processes) < MOST_PROCESSES:
            self.world.spawn()

    def end(self) -> None:
        """Let go of everything, and let everything arrive."""
        while True:
            for process in self.world.living():
                while process.received:
                    process.start(0)
                    self.world.settle()
                self._drop_all(process)
            for process, running in self._running():
                process.finish(running, [[] for _ in range(running.returns)])
                self.world.settle()
            if not self.world.channels:
                break
            self.step("deliver")
        self.world.assert_empty()
