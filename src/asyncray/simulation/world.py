"""One simulation: its time, its seed, its network, its processes."""

from __future__ import annotations

import asyncio
import gc
import random
from asyncio import events
from collections.abc import Coroutine
from functools import partial
from typing import Any, Final, NoReturn, TypeVar

from greenlet import getcurrent

from asyncray.config import Config
from asyncray.errors import AsyncrayError
from asyncray.platform import Platform
from asyncray.simulation.disk import SimulatedDisk
from asyncray.simulation.forbidden import forbidden
from asyncray.simulation.host_memory import SimulatedHostMemory
from asyncray.simulation.loop import VirtualLoop
from asyncray.simulation.memory import SimulatedArenas
from asyncray.simulation.network import Conditions, SimulatedBulk, SimulatedNetwork
from asyncray.simulation.process import Process
from asyncray.simulation.randomness import Entropy, seeded, virtual_clocks
from asyncray.simulation.threads import GreenThreads, Stack
from asyncray.simulation.transcript import Transcript

_T = TypeVar("_T")

_STORY: Final = 60
"""Lines of the transcript that are told of a failure."""
_MANY_DEAD: Final = 100
_DEAD_SHARE: Final = 0.25
"""What dead processes leave refers to itself all over, 30 KB each: the garbage collector is to look at everything when
with more than `_MANY_DEAD` new ones memory holds so many more processes than ever lived at a time. Not when they are
merely many: as a large cluster ends they all are, and each look takes a minute."""
_TOKEN: Final = "the-token-of-the-simulation"


class SimulationFailed(AsyncrayError):
    """Something went wrong that no user caused: an exception that nobody handled, or a broken invariant."""


class ProcessEnded(BaseException):
    """Unwinds what still runs in a process that has just ended itself."""


class World:
    """What all simulated processes share, and what tells them apart. `run` is its whole life."""

    def __init__(self, seed: int, config: Config, conditions: Conditions, *, horizon: float) -> None:
        self.seed = seed
        self.config = config
        self.loop = VirtualLoop(horizon=horizon)
        self.transcript = Transcript(self.loop.time)
        self.network = SimulatedNetwork(self.random("network"), conditions, config)
        self.processes: list[Process] = []
        """All that ever were."""
        self._clock = self.loop.time
        self._living = self._most_living = 0
        self._newly_dead = 0
        self.failures: list[str] = []
        """Exceptions that nobody handled, or that were caught by whoever catches all, and logged."""
        self._arenas: dict[str, SimulatedArenas] = {}
        self._disks: dict[str, SimulatedDisk] = {}
        self._memories: dict[str, SimulatedHostMemory] = {}
        self.loop.set_exception_handler(self._unhandled)

    def random(self, purpose: str) -> random.Random:
        """Numbers of the seed that depend on nothing but their purpose."""
        return random.Random(f"{self.seed}/{purpose}")

    def run(self, main: Coroutine[Any, Any, _T]) -> _T:
        """Runs until `main` is done; everything else ends with it.

        Raises what `main` raises, Deadlock, HorizonReached, and SimulationFailed; a note on the error has the seed and
        the end of the story.
        """
        try:
            return self._run(main)
        except BaseException as error:
            story = "\n".join(str(self.transcript).splitlines()[-_STORY:])
            error.add_note(f"In a simulation of seed {self.seed}, whose story ended so:\n{story}")
            raise

    def _run(self, main: Coroutine[Any, Any, _T]) -> _T:
        clocks = virtual_clocks(self.loop.time)
        listening = self.transcript.listening(on_bug=self.failures.append)
        with forbidden(), clocks, listening, seeded(self.random("user code")):
            collects = gc.isenabled()
            gc.disable()  # the loop has it run when that makes no difference; at the end it would find little, slowly
            gc.freeze()  # nor is it to look at what was there before: modules, a test runner
            try:
                result = self.loop.run_until_complete(main)
            finally:
                self.transcript.close()
                self._end()
                gc.unfreeze()
                if collects:
                    gc.enable()
        if self.failures:
            raise SimulationFailed("\n".join(self.failures))
        return result

    def process(self, name: str, host: str) -> Process:
        """A new process, in which nothing runs yet."""
        process = Process(name, host, 1000 + len(self.processes))
        process.threads = GreenThreads(self.loop, process)
        process.on_death(partial(self._died, process))
        self.processes.append(process)
        self._living += 1
        self._most_living = max(self._most_living, self._living)
        return process

    def disk(self, host: str) -> SimulatedDisk:
        """That of a machine, which may fail, or be small."""
        if host not in self._disks:
            self._disks[host] = SimulatedDisk(self.random(f"disk of {host}"))
        return self._disks[host]

    def memory(self, host: str) -> SimulatedHostMemory:
        """That of a machine, as its processes are said to use it."""
        return self._memories.setdefault(host, SimulatedHostMemory())

    def platform(self, process: Process) -> Platform:
        """How the process reaches the world."""
        assert process.threads is not None
        network = self.network.endpoint(process, _TOKEN)
        return Platform(
            network=network,
            bulk=SimulatedBulk(self.network, network, self.disk(process.host)),
            threads=process.threads,
            arenas=self._arenas.setdefault(process.host, SimulatedArenas(self.disk(process.host))),
            disk=self.disk(process.host),
            memory=self.memory(process.host),
            entropy=Entropy(f"{self.seed}/{process.name}"),
            clock=self._clock,
            pid=process.pid,
            is_running=self._is_running,
            environment={},
            exit=partial(_exit, process),
        )

    def _is_running(self, pid: int) -> bool:
        return any(process.pid == pid and process.alive for process in self.processes)

    def _died(self, process: Process, cause: str) -> None:
        self.transcript.note(process, f"is dead: {cause}")
        self._living -= 1
        self._newly_dead += 1
        if self._living + self._newly_dead > _MANY_DEAD + (1 + _DEAD_SHARE) * self._most_living:
            self._newly_dead = 0
            self.loop.collect_fully()

    def _unhandled(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not isinstance(error, ProcessEnded):
            text = f"{context['message']}: {type(error).__name__}: {error}" if error else context["message"]
            self.failures.append(text)
            self.transcript.note(None, f"unhandled: {text}")

    def _end(self) -> None:
        self.network.end()
        for process in self.processes:
            process.kill("the simulation has ended")
        events._set_running_loop(self.loop)  # what is closed may look for it
        try:
            for process in self.processes:
                process.bury()
        finally:
            events._set_running_loop(None)
        self.loop.close()


def _exit(process: Process, code: int) -> NoReturn:
    stack = getcurrent()
    if isinstance(stack, Stack):
        events._set_running_loop(stack.threads.loop)  # what learns of the death does so as on the loop
        process.kill(f"exit code {code}")
        stack.threads.block()  # nobody resumes a dead process
    process.kill(f"exit code {code}")
    raise ProcessEnded
