"""Where the arena's bytes are: in memory without a name, or in a file where that cannot be, or the user wants it so."""

from __future__ import annotations

import ctypes
import logging
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from asyncray.errors import AsyncrayError
from asyncray.store.arena import Arena, SharedMemory
from asyncray.store.overflow import overflow_start
from asyncray.store.overflow_file import OverflowFile

_log = logging.getLogger(__name__)

SHARED_MEMORY: Final = "/dev/shm"

_IN_MEMORY: Final = (0x01021994, 0x858458F6)
"""statfs(2) says so of tmpfs and ramfs, whose pages take memory only once they are used."""


@dataclass(frozen=True, slots=True)
class ArenaPlace:
    """Creates the arena of a node, and attaches to those of others.

    A memfd is limited by the machine's memory alone. Where the kernel or a sandbox refuses one, a file in `/dev/shm`
    serves as well; where that is too small, as in a container that was started without `--shm-size`, one in `fallback`,
    at the speed of its disk. No file has a name: nothing is left of it when the last process that maps it ends.
    """

    fallback: str
    """A folder on disk."""
    warn: Callable[[str], None]
    """Tells the user."""
    directory: str = ""
    """Where the user wants the file to be; empty for memory."""
    shared_memory: str = SHARED_MEMORY

    def create(self, capacity: int, overflow: int = 0, overflow_folder: str = "") -> SharedMemory:
        """A new arena, with an overflow of so many bytes in a folder if there can be one.

        Raises AsyncrayError with the sizes when there is no room for the arena.
        """
        file = _overflow(overflow_folder, capacity, overflow) if overflow else None
        try:
            return self._create(capacity, file)
        except BaseException:
            if file is not None:
                file.close()
            raise

    def _create(self, capacity: int, overflow: OverflowFile | None) -> SharedMemory:
        if self.directory:
            return _in_file(self.directory, capacity, overflow)
        try:
            return Arena.in_memory(capacity, overflow)
        except OSError as error:
            refusal = error
        room = _room(self.shared_memory)
        if room >= capacity:
            return _in_file(self.shared_memory, capacity, overflow)
        arena = _in_file(self.fallback, capacity, overflow)
        self.warn(
            f"The object store lies on disk, in {self.fallback}, and is as slow: this system refuses files in memory"
            f" ({refusal.strerror}), and {self.shared_memory} has {room} bytes free, not {capacity}. To do better,"
            " allow memfd_create, give /dev/shm more room (in Docker: --shm-size), or start the node with a smaller"
            " object_store_memory."
        )
        return arena

    def attach(self, path: str, capacity: int, overflow: int = 0, overflow_path: str = "") -> SharedMemory:
        """The arena that another process has created. Raises OSError, ValueError."""
        return Arena.attach(path, capacity, overflow, overflow_path)


def _room(folder: str) -> int:
    """Bytes that are free there; none where there is no such folder."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return 0
    return found.f_bavail * found.f_frsize


def _overflow(folder: str, capacity: int, size: int) -> OverflowFile | None:
    """Whatever hinders it: a node can do without, unless all of its memory gets pinned."""
    try:
        return OverflowFile.create(folder, overflow_start(capacity) + size)
    except OSError as error:
        _log.warning(
            "objects cannot go to disk, in %s, when all memory is pinned: %s. Name another object_spilling_directory.",
            folder,
            error.strerror or error,
        )
        return None


def _in_file(folder: str, capacity: int, overflow: OverflowFile | None) -> Arena:
    """An arena in a file of the folder."""
    room = _room(folder)
    if room < capacity:
        raise AsyncrayError(
            f"an object store of {capacity} bytes does not fit {folder}, where {room} bytes are free: start the node"
            " with a smaller object_store_memory, or with another --arena-dir (ASYNCRAY_ARENA_DIR)"
        )
    try:
        with tempfile.TemporaryFile(dir=folder, prefix="asyncray-arena-", buffering=0) as file:
            if not _is_in_memory(folder):
                # Else a disk that fills up later would kill with SIGBUS whoever writes to the arena.
                os.posix_fallocate(file.fileno(), 0, capacity)
            return Arena.adopt(os.dup(file.fileno()), capacity, overflow)
    except OSError as error:
        raise AsyncrayError(f"cannot create an object store of {capacity} bytes in {folder}: {error}") from error


def _is_in_memory(folder: str) -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    answer = (ctypes.c_long * 32)()  # struct statfs begins with the type
    return libc.statfs(os.fsencode(folder), ctypes.byref(answer)) == 0 and answer[0] in _IN_MEMORY
