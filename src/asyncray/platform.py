"""How a process reaches the world outside its own loop: all that is not deterministic, to be injected.

What stands here is the real one; `simulation/` has another. Time for decisions is the loop's.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Coroutine, MutableMapping
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, NoReturn, Protocol, TypeVar

from asyncray.host_memory import HostMemory, LocalMemory
from asyncray.rpc.network import Network
from asyncray.store.arena import Arena, SharedMemory
from asyncray.store.bulk import Bulk
from asyncray.store.disk import Disk, LocalDisk

_T = TypeVar("_T")


class WorkerLauncher(Protocol):
    """Starts and ends the worker processes of one node."""

    async def start(self, on_exit: Callable[[bytes, str], None]) -> None:
        """Gets ready; `on_exit(process_id, cause)` is called when a worker process has ended."""
        ...

    def launch(self, process_id: bytes, specification: dict[str, object]) -> None:
        """Starts the worker that will be known as `process_id`; returns at once."""
        ...

    def kill(self, process_id: bytes) -> None:
        """SIGKILL to a worker; nothing if it is gone already."""
        ...

    def clean(self, process_id: bytes) -> None:
        """Removes the socket file that a process of this node, worker or driver, may have left."""
        ...

    async def stop(self) -> None:
        """Ends every worker that is left, and what started them."""
        ...


class WorkQueue(Protocol):
    """From the loop to a thread, as `queue.SimpleQueue`."""

    def put(self, item: Any) -> None: ...

    def get(self) -> Any:
        """Blocks until there is an item."""
        ...

    def get_nowait(self) -> Any:
        """Raises `queue.Empty`."""
        ...


class Latch(Protocol):
    """As a `threading.Lock` that is held."""

    def release(self) -> None:
        """Lets the waiting thread go on. Any thread."""
        ...

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Blocks until `release` is called, `timeout` seconds at most unless that is negative; whether it was."""
        ...


class Threads(Protocol):
    """Where plain user code runs: beside the loop, and free to block."""

    def ident(self) -> int:
        """Tells the threads of the process apart, the loop's among them."""
        ...

    def start(self, target: Callable[[], object], name: str) -> None:
        """Has a new thread call `target`; it does not keep the process alive."""
        ...

    def queue(self) -> WorkQueue: ...

    def latch(self) -> Latch: ...

    def wait(self, coroutine: Coroutine[Any, Any, _T], loop: asyncio.AbstractEventLoop) -> _T:
        """Runs a coroutine on the loop while the calling thread, another one, waits for its outcome.

        Whatever ends the wait before, KeyboardInterrupt for one, cancels the coroutine.
        """
        ...


class OsThreads:
    """Those of the operating system."""

    ident = staticmethod(threading.get_ident)

    def queue(self) -> WorkQueue:
        return SimpleQueue()

    def start(self, target: Callable[[], object], name: str) -> None:
        threading.Thread(target=target, name=name, daemon=True).start()

    def latch(self) -> Latch:
        lock = threading.Lock()
        lock.acquire()
        return lock

    def wait(self, coroutine: Coroutine[Any, Any, _T], loop: asyncio.AbstractEventLoop) -> _T:
        future = asyncio.run_coroutine_threadsafe(coroutine, loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise
        finally:
            del future  # it keeps what it has raised, which keeps this frame, and those of user code around it


class Arenas(Protocol):
    """The memory that the processes of one machine share."""

    def create(self, capacity: int, overflow: int = 0, overflow_folder: str = "") -> SharedMemory:
        """A new arena of `capacity` bytes, and an overflow of so many in a folder, unless that cannot be.

        Raises OSError.
        """
        ...

    def attach(self, path: str, capacity: int, overflow: int = 0, overflow_path: str = "") -> SharedMemory:
        """The one that another process has created. Raises OSError, ValueError."""
        ...


def _is_running(pid: int) -> bool:
    if pid <= 0:
        return True
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except ProcessLookupError:
        return False
    except OSError:
        return True
    state, threads = fields[0], int(fields[17])
    return state not in (b"Z", b"X") or threads > 1


def _exit(code: int) -> NoReturn:
    os._exit(code)


@dataclass(frozen=True, slots=True)
class Platform:
    """What one process is given."""

    network: Network
    threads: Threads = field(default_factory=OsThreads)
    arenas: Arenas = Arena
    disk: Disk = field(default_factory=LocalDisk)
    """The files of the machine."""
    bulk: Bulk | None = None
    """Of a node manager: how its store gets objects from others."""
    memory: HostMemory = field(default_factory=LocalMemory)
    """What the machine has of it, and who uses it."""
    entropy: Callable[[int], bytes] = os.urandom
    """`entropy(n)`: n random bytes, for ids."""
    clock: Callable[[], float] = time.perf_counter
    """Seconds, to measure how long user code runs. Any thread."""
    pid: int = field(default_factory=os.getpid)
    is_running: Callable[[int], bool] = _is_running
    """Whether a process of the machine, known by its pid, may still run; true if that cannot be told."""
    environment: MutableMapping[str, str] = field(default_factory=lambda: os.environ)
    exit: Callable[[int], NoReturn] = _exit
    """Ends the process at once, with this status."""
