"""What programs in a `World` do next, by somebody's choice: a random generator's, or hypothesis's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from asyncray.ids import put_id, return_id
from asyncray.worker.reference import Reference

from .ownership_process import Process, Running, Task
from .ownership_world import World

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

    def stall(self) -> None:
        """What is on the way between one pair is overtaken by all else for a while: most gaps show only then."""
        if pairs := [pair for pair in self.world.channels if pair not in self.stalled]:
            self.stalled = [*self.stalled[-1:], self.choose(pairs)]

    def put(self) -> None:
        process = self._process()
        process.puts += 1
        inners = self._some(self._reachable(process))
        process.variables.append(process.put(put_id(process.id, process.puts), inners))

    def submit(self) -> None:
        process = self._process()
        workers = self.world.workers_for(process)
        if not workers:
            return
        self.tasks += 1
        task_id = self.tasks.to_bytes(16, "big")
        reachable = self._reachable(process)
        inlined = [r for r in reachable if process.key(r) in self.world.values and r.owner is None]
        borrowed = [r for r in reachable if r.owner is not None]
        arguments, inlined = self._some(self.choose((reachable, borrowed))), self._some(inlined, 1)
        returns = [process.ownership.own(return_id(task_id, index)) for index in range(self.choose((1, 1, 2)))]
        task = Task(task_id, arguments, inlined, returns, len(returns))
        for reference in returns:
            reference.value = task
            self.world.created.add(process.key(reference))
        for reference in task.held():
            process.ownership.hold_lineage(reference)
        process.submit(task, self.choose(workers).id)
        process.variables += returns
        self.finished.append((process, task))

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
        made = []
        if self.choose((False, True)):
            running.puts += 1
            made.append(process.put(put_id(running.id, running.puts), self._some(self._reachable(process), 1)))
            running.variables += made
        contents = []
        for index in range(running.returns):
            outer = return_id(running.id, index), running.caller
            options = [r for r in self._reachable(process) + made if not self.world.reaches(process.key(r), outer)]
            content = self._some(options)
            self.world.may_contain.setdefault(outer, set()).update(process.key(r) for r in content)
            contents.append(content)
        process.finish(running, contents)

    def keep(self) -> None:
        """A task leaves a reference in the process, as an actor's method does."""
        if candidates := [(p, r) for p, r in self._running() if r.variables]:
            process, running = self.choose(candidates)
            reference = self.choose(running.variables)
            running.variables.remove(reference)
            process.variables.append(reference)

    def drop(self) -> None:
        lists = [(p, p.variables) for p in self.world.living()]
        lists += [(p, running.variables) for p, running in self._running()]
        if lists := [(p, variables) for p, variables in lists if variables]:
            process, variables = self.choose(lists)
            process.drop(variables, self.choose(variables))

    def drop_all(self) -> None:
        """One process lets go of all it can, so that objects depend on what others hold."""
        process = self._process()
        while process.variables:
            process.drop(process.variables, process.variables[0])

    def fetch(self) -> None:
        process = self._process()
        if reachable := [r for r in self._reachable(process) if r not in process.dead]:
            process.fetch(self.choose(reachable))

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
                while process.variables:
                    process.drop(process.variables, process.variables[0])
                    self.world.settle()
            for process, running in self._running():
                process.finish(running, [[] for _ in range(running.returns)])
                self.world.settle()
            if not self.world.channels:
                break
            self.step("deliver")
        self.world.assert_empty()
