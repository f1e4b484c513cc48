"""The file of an arena's overflow: without a name, and without a byte on disk but for those in use."""

from __future__ import annotations

import ctypes
import os
from typing import Final, Self

from asyncray.store.overflow import Extents

_KEEP_SIZE_AND_PUNCH_HOLE: Final = 1 | 2

_libc = ctypes.CDLL(None, use_errno=True)
_fallocate = _libc.fallocate
_fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long)


class OverflowFile:
    """Its offsets are those of the arena, so that it begins with a hole as large as that."""

    def __init__(self, descriptor: int, path: str, end: int) -> None:
        """Takes over `descriptor`. Use `create` or `attach`."""
        self.descriptor = descriptor
        self.path = path
        """By which the other processes of the machine find it."""
        self.end = end

    @classmethod
    def create(cls, folder: str, end: int) -> Self:
        """A new file of `end` bytes. Raises OSError."""
        import tempfile  # what only the node needs, no worker should load

        with tempfile.TemporaryFile(dir=folder, prefix="asyncray-overflow-", buffering=0) as file:
            os.ftruncate(file.fileno(), end)
            descriptor = os.dup(file.fileno())
        return cls(descriptor, f"/proc/{os.getpid()}/fd/{descriptor}", end)

    @classmethod
    def attach(cls, path: str, end: int) -> Self:
        """That of another process. Raises OSError, ValueError."""
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        size = os.fstat(descriptor).st_size
        if size != end:
            os.close(descriptor)
            raise ValueError(f"the overflow at {path} has {size} bytes, not {end}")
        return cls(descriptor, path, end)

    def reserve(self, offset: int, size: int) -> None:
        """Disk space for a range. Blocks. Raises OSError, and may have got a part of it then."""
        os.posix_fallocate(self.descriptor, offset, size)

    def release(self, extents: Extents) -> None:
        """Gives the disk space of ranges back. Blocks. Raises OSError: then it stays, for who gets the ranges next."""
        for offset, size in extents:
            if _fallocate(self.descriptor, _KEEP_SIZE_AND_PUNCH_HOLE, offset, size):
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))

    def close(self) -> None:
        """May be called again."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
