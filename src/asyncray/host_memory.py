"""How much memory this machine has, or the container around us, and who uses it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

_PAGE: Final = os.sysconf("SC_PAGESIZE")


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes. `used` is what could not be given to others without ending somebody: files' caches do not count."""

    used: int
    total: int

    @property
    def share(self) -> float:
        return self.used / self.total

    @property
    def free(self) -> int:
        return max(0, self.total - self.used)


@dataclass(frozen=True, slots=True)
class ProcessMemory:
    """A process and the bytes that would be free without it: what it shares with others (the arena) does not count."""

    pid: int
    command: str
    size: int


class HostMemory(Protocol):
    """What decides on memory needs to see of it."""

    def usages(self) -> list[Usage]:
        """Of the machine first, then of each container around us that has a limit of its own."""
        ...

    def processes(self) -> list[ProcessMemory]:
        """All that can be seen, the largest first."""
        ...


class LocalMemory:
    """That of this machine, from `/proc` and the memory controllers of control groups, version 1 or 2."""

    def __init__(
        self,
        proc: Path = Path("/proc"),
        controllers: Path = Path("/sys/fs/cgroup"),
        machine: Callable[[], Usage] | None = None,
    ) -> None:
        self._proc = proc
        self._controllers = controllers
        self._machine = machine or _machine
        self._groups: list[_Group] | None = None

    def usages(self) -> list[Usage]:
        machine = self._machine()
        if self._groups is None:
            self._groups = list(_groups_of(self._proc, self._controllers))
        return [machine, *(usage for group in self._groups if (usage := group.usage(machine.total)) is not None)]

    def processes(self) -> list[ProcessMemory]:
        found = []
        for folder in self._proc.iterdir():
            if folder.name.isdigit():
                with suppress(OSError):  # it has ended meanwhile
                    _, resident, shared = map(int, (folder / "statm").read_text().split()[:3])
                    command = (folder / "comm").read_text().strip()
                    found.append(ProcessMemory(int(folder.name), command, (resident - shared) * _PAGE))
        return sorted(found, key=lambda process: -process.size)


def _machine() -> Usage:
    import psutil  # takes 20 ms, which a driver need not spend

    memory = psutil.virtual_memory()
    return Usage(memory.total - memory.available, memory.total)


@dataclass(frozen=True, slots=True)
class _Group:
    """A control group whose memory is counted, and may be limited."""

    folder: Path
    limit: str
    current: str
    caches: tuple[str, ...]
    """Entries of `memory.stat` that the kernel takes back before it ends anybody."""

    def usage(self, most: int) -> Usage | None:
        """None without a limit below `most` bytes. Limits can be changed at any time."""
        try:
            limit = (self.folder / self.limit).read_text().strip()
            if not limit.isdigit() or not 0 < int(limit) < most:  # "max", or what stands for that
                return None
            used = int((self.folder / self.current).read_text())
            entries = (line.split() for line in (self.folder / "memory.stat").read_text().splitlines())
            return Usage(used - sum(int(value) for name, value in entries if name in self.caches), int(limit))
        except OSError:  # the root group, which has no limit
            return None


_VERSION_1: Final = ("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file"))
_VERSION_2: Final = ("memory.max", "memory.current", ("inactive_file", "active_file"))


def _groups_of(proc: Path, controllers: Path) -> Iterator[_Group]:
    """This process's own group and those around it: each may have a limit."""
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:  # a kernel without them
        return
    for line in lines:
        _, names, path = line.split(":", 2)
        if "memory" in names.split(","):
            root, files = controllers / "memory", _VERSION_1
        elif not names:
            root, files = controllers, _VERSION_2
        else:
            continue
        # In a container the path may be that on the host, of which only the root, the container's own, is mounted.
        own = root / path.lstrip("/")
        yield from (_Group(folder, *files) for folder in (own, *own.parents) if folder.is_relative_to(root))
