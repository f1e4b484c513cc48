"""What a test starts, it ends: checked after every test that runs real processes.

Tests below `tests/cluster` and `tests/examples` are checked without asking. Any other takes part with
`pytestmark = pytest.mark.usefixtures("leaves_nothing_behind")`.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import psutil
import pytest

# How long an example takes says nothing where tests run side by side.
hypothesis.settings.register_profile("asyncray", hypothesis.settings(), deadline=None)
hypothesis.settings.load_profile("asyncray")

GUARDED = tuple(Path(__file__).parent / folder for folder in ("cluster", "examples"))
SETTLE = 5.0
"""Seconds in which processes and files must be gone, which is what a driver's sudden death is promised to take."""
TASK_SETTLE = 0.5
"""Seconds in which tasks must be done: nothing outside this process holds them up."""
TICK = 0.02
MARK = "ASYNCRAY_TEST_MARK"
"""Inherited by all that a test starts: it finds processes whose parent has died, too."""
SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The machine as it was before a test."""

    mark: str
    temporary: Path
    """Where the test's sessions go. The path is short: a socket's may have 107 bytes."""
    pids: frozenset[int]
    shared_memory: frozenset[str]

    def processes(self) -> list[psutil.Process]:
        """What the test has started and is still there, zombies included."""
        return [process for pid in psutil.pids() if pid not in self.pids for process in self._started_by_test(pid)]

    def _started_by_test(self, pid: int) -> list[psutil.Process]:
        try:
            process = psutil.Process(pid)
            try:
                if process.environ().get(MARK) == self.mark:
                    return [process]
            except (psutil.AccessDenied, psutil.ZombieProcess):
                pass  # another user's, or one whose environment is gone: its ancestors tell
            return [process] if any(parent.pid == os.getpid() for parent in process.parents()) else []
        except psutil.NoSuchProcess:
            return []

    def files(self) -> list[Path]:
        """Sessions, sockets and shared memory that are still there."""
        names = asyncray_shared_memory() - self.shared_memory
        mapped = [SHARED_MEMORY / name for name in sorted(names) if not self._mapped_by_others(name)]
        try:
            return sorted(self.temporary.rglob("*")) + mapped
        except FileNotFoundError:  # it is being emptied at this moment
            return [self.temporary]

    def _mapped_by_others(self, name: str) -> bool:
        """Whether a cluster that is none of this test's, but runs at the same time, uses the file."""
        own = {process.pid for process in self.processes()} | {os.getpid()}
        return any(maps_file(pid, name) for pid in psutil.pids() if pid not in own)

    def leftovers(self) -> list[str]:
        return [describe(process) for process in self.processes()] + [str(path) for path in self.files()]

    def remove_leftovers(self) -> None:
        """So that what one test leaves is not another's burden."""
        processes = self.processes()
        for process in processes:
            if process.is_running():
                process.kill()
        psutil.wait_procs(processes, timeout=SETTLE)
        for path in self.files():
            if path.parent == SHARED_MEMORY:
                path.unlink(missing_ok=True)
        shutil.rmtree(self.temporary)


def asyncray_shared_memory() -> frozenset[str]:
    return frozenset(name for name in os.listdir(SHARED_MEMORY) if name.startswith("asyncray"))


def maps_file(pid: int, name: str) -> bool:
    try:
        return f"{SHARED_MEMORY}/{name}" in Path(f"/proc/{pid}/maps").read_text()
    except OSError:  # ended, or another user's
        return False


def describe(process: psutil.Process) -> str:
    try:
        return f"process {process.pid} ({process.status()}): {' '.join(process.cmdline())}"
    except psutil.Error:
        return f"process {process.pid} (a zombie: nobody waited for it)"


@contextlib.contextmanager
def marked_surroundings() -> Iterator[Surroundings]:
    """Marks what is started meanwhile, and gives its sessions a folder of their own."""
    before = Surroundings(
        mark=uuid.uuid4().hex,
        temporary=Path(tempfile.mkdtemp(prefix="ar-", dir="/tmp")),
        pids=frozenset(psutil.pids()),
        shared_memory=asyncray_shared_memory(),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(MARK, before.mark)
        patch.setenv("ASYNCRAY_TMPDIR", str(before.temporary))
        yield before
    before.remove_leftovers()


@pytest.fixture
def surroundings() -> Iterator[Surroundings]:
    """Those of the test."""
    with marked_surroundings() as marked:
        yield marked


@pytest.fixture
async def no_task_left_pending() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    if left:
        _, left = await asyncio.wait(left, timeout=TASK_SETTLE)
    if left:
        fail([repr(task) for task in left])


@pytest.fixture
async def async_test_leaves_nothing(surroundings: Surroundings, no_task_left_pending: None) -> AsyncIterator[None]:
    """The loop runs on while this waits, so that transports can finish closing."""
    yield
    await check_nothing_left(surroundings)


async def check_nothing_left(surroundings: Surroundings) -> None:
    deadline = time.monotonic() + SETTLE
    while left := surroundings.leftovers():
        if time.monotonic() > deadline:
            fail(left)
        await asyncio.sleep(TICK)


@pytest.fixture
def sync_test_leaves_nothing(surroundings: Surroundings) -> Iterator[None]:
    yield
    deadline = time.monotonic() + SETTLE
    while left := surroundings.leftovers():
        if time.monotonic() > deadline:
            fail(left)
        time.sleep(TICK)


def fail(left: list[str]) -> None:
    pytest.fail("\n    ".join(["the test left behind:", *left]), pytrace=False)


@pytest.fixture
def leaves_nothing_behind(request: pytest.FixtureRequest) -> None:
    """Fails a test after which a process, a session folder, a socket, shared memory or a pending task is left."""
    is_async = inspect.iscoroutinefunction(request.function)
    request.getfixturevalue("async_test_leaves_nothing" if is_async else "sync_test_leaves_nothing")


@pytest.fixture(autouse=True)
def guard_tests_of_real_processes(request: pytest.FixtureRequest) -> None:
    if isinstance(request.node, pytest.Function) and any(folder in request.path.parents for folder in GUARDED):
        request.getfixturevalue("leaves_nothing_behind")
