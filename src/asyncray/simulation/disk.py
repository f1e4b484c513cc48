"""The disk of a simulated machine: it takes virtual time, fills up, and fails."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import random
from collections import deque
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any, TypeVar

from asyncray.simulation.file_system import FileSystem
from asyncray.simulation.network.conditions import Latency
from asyncray.simulation.process import Process, current_process
from asyncray.store.disk import Buffers, to_its_end

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class DiskConditions:
    """How large and how fast a disk is. Times are seconds, sizes are bytes."""

    capacity: int = 1_000_000_000_000
    latency: Latency = field(default_factory=lambda: Latency(0.0001, 0.00005))
    """Of every operation."""
    bandwidth: float = 1e9
    """Bytes per second, read or written."""

    def __post_init__(self) -> None:
        if self.capacity < 0:
            raise ValueError(f"capacity cannot be negative, got {self.capacity}")
        if self.bandwidth <= 0:
            raise ValueError(f"bandwidth must be positive, got {self.bandwidth}")


class SimulatedDisk:
    """A `Disk` that all processes of a machine share. One operation at a time, in the order of their calls.

    An operation has its effect when its time has passed. If its process dies before that, chance decides whether it
    has happened, in part or not at all, and the next one begins; those of the process that waited have not happened.
    All randomness comes from `random`, in the order of what happens.
    """

    def __init__(self, random: random.Random, conditions: DiskConditions | None = None) -> None:
        self.conditions = conditions or DiskConditions()
        """May be replaced at any time: it counts for operations that begin, and for bytes that are written, then."""
        self.contents = FileSystem(random)
        """As processes see it, without waiting."""
        self._random = random
        self._queue: deque[_Operation] = deque()
        """The first one is under way."""
        self._timer: asyncio.TimerHandle | None = None
        self._users: dict[Process, None] = {}
        """Living processes that have ever used it."""
        self._slowness = 1.0
        self._failing: dict[bool, int] = {}
        """Error numbers of what fails: of operations that write (True), and that read (False)."""

    # ---- faults

    def slow(self, factor: float) -> None:
        """Operations that begin from now on take `factor` times as long as the conditions say."""
        if factor <= 0:
            raise ValueError(f"a disk cannot be {factor} times as slow")
        self._slowness = factor

    def fail(self, number: int = errno.EIO, *, reads: bool = True, writes: bool = True) -> None:
        """Operations that end from now on raise OSError with this `errno`; what they write is written in part.

        Only those that read, or only those that change something, if the other is False.
        """
        self._failing = {kind: number for kind, fails in ((True, writes), (False, reads)) if fails}

    def heal(self) -> None:
        """Neither slow nor failing any more."""
        self._slowness = 1.0
        self._failing = {}

    def power_lost(self) -> None:
        """What was not synced is lost or torn (`FileSystem`). The disk is there again at once.

        Kill the machine's processes first: one that lives sees a disk that has gone back in time, and EIO for what was
        under way.
        """
        lost, self._queue = self._queue, deque()
        if lost:
            self._interrupt(lost[0])
        for operation in lost:
            operation.fail(OSError(errno.EIO, "the disk has lost power"))
        self.contents.power_lost()

    # ---- operations

    async def write(self, path: str, buffers: Buffers) -> None:
        size = _size(buffers)

        def write(share: float) -> None:
            self.contents.write(path, buffers, int(size * share), self.conditions.capacity)

        await self._do(write, size)

    async def append(self, path: str, buffers: Buffers) -> int:
        size = _size(buffers)

        def append(share: float) -> int:
            return self.contents.append(path, buffers, int(size * share), self.conditions.capacity)

        return await self._do(append, size)

    async def read(self, path: str) -> bytes:
        size = 0
        with contextlib.suppress(OSError):  # which it raises when its time has passed
            size = self.contents.size(path)
        return await self._do(_whole(self.contents.read, path), size, writes=False)

    async def read_into(self, path: str, offset: int, buffer: bytearray | memoryview) -> int:
        return await self._do(_whole(self.contents.read_into, path, offset, buffer), len(buffer), writes=False)

    async def sync(self, path: str) -> None:
        await self._do(lambda share: self.contents.sync(path, share))

    async def rename(self, path: str, new_path: str) -> None:
        await self._do(_whole(self.contents.rename, path, new_path))

    async def remove(self, path: str) -> None:
        await self._do(_whole(self.contents.remove, path))

    async def make_folder(self, path: str) -> None:
        await self._do(_whole(self.contents.make_folder, path))

    async def names(self, folder: str) -> list[str]:
        return await self._do(_whole(self.contents.names, folder), writes=False)

    async def free(self, folder: str) -> int:
        def free() -> int:
            self.contents.size(folder)  # which must exist
            return max(0, self.conditions.capacity - self.contents.used - self.contents.nameless)

        return await self._do(_whole(free), writes=False)

    async def change(self, act: Callable[[], None]) -> None:
        """Something else that writes, and happens wholly or not at all."""
        await self._do(_whole(act))

    # ----

    async def _do(self, act: Callable[[float], _T], size: int = 0, *, writes: bool = True) -> _T:
        """`act(share)` has the effect, or only a share of it if that is below 1. `size`: bytes to be moved."""
        process = current_process.get()
        if process is not None and process not in self._users:
            self._users[process] = None
            process.on_death(lambda cause: self._user_died(process))
        outcome: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        self._queue.append(_Operation(process, act, size, writes, outcome))
        if len(self._queue) == 1:
            self._begin()
        return await to_its_end(outcome)

    def _begin(self) -> None:
        """The first one of the queue."""
        operation = self._queue[0]
        seconds = self.conditions.latency.sample(self._random) + operation.size / self.conditions.bandwidth
        # The disk's own, not the caller's: a process that is dead or frozen must not hold up the others.
        loop = operation.outcome.get_loop()
        self._timer = loop.call_later(seconds * self._slowness, self._end, context=Context())

    def _end(self) -> None:
        operation = self._queue.popleft()
        try:
            if (number := self._failing.get(operation.writes)) is not None:
                self._act_partly(operation, self._random.random())
                raise OSError(number, os.strerror(number))
            operation.outcome.set_result(operation.act(1.0))
        except Exception as error:  # the caller's, like that of a buffer which is none
            operation.fail(error)
        if self._queue:
            self._begin()

    def _user_died(self, process: Process) -> None:
        del self._users[process]
        if not self._queue:
            return
        first = self._queue[0]
        self._queue = deque(operation for operation in self._queue if operation.process is not process)
        if first.process is process:
            self._interrupt(first)
            if self._queue:
                self._begin()

    def _interrupt(self, operation: _Operation) -> None:
        """What is under way happens now, in part, or not at all."""
        assert self._timer is not None
        self._timer.cancel()
        whole = 0.0 if operation.writes in self._failing else 1.0
        self._act_partly(operation, self._random.choice((0.0, self._random.random(), whole)))

    def _act_partly(self, operation: _Operation, share: float) -> None:
        if share:
            with contextlib.suppress(OSError):
                operation.act(share)


@dataclass(frozen=True, slots=True)
class _Operation:
    process: Process | None
    """Whose it is; None for the simulation itself."""
    act: Callable[[float], Any]
    size: int
    writes: bool
    outcome: asyncio.Future[Any]

    def fail(self, error: Exception) -> None:
        self.outcome.set_exception(error)
        self.outcome.exception()  # whoever asked may be dead: an error that nobody sees is none of the simulation's


def _whole(function: Callable[..., _T], *args: Any) -> Callable[[float], Any]:
    """An effect that there is wholly or not at all."""
    return lambda share: function(*args) if share == 1 else None


def _size(buffers: Buffers) -> int:
    return sum(memoryview(buffer).nbytes for buffer in buffers)
