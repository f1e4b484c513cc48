"""Shared memory as this process sees it, and parts of it that the process has for itself."""

from __future__ import annotations

import ctypes
import mmap
import os
import weakref
from typing import Any, Final

_libc = ctypes.CDLL(None, use_errno=True)
_mmap = _libc.mmap
_mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
_mmap.restype = ctypes.c_void_p
_munmap = _libc.munmap
_munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)

_FAILED: Final = ctypes.c_void_p(-1).value


class Mapping(mmap.mmap):
    """A file that processes share. It is unmapped when the last view of it is gone."""

    _descriptor: int
    _address: int

    @classmethod
    def of(cls, descriptor: int, size: int) -> Mapping:
        """Raises OSError. The caller goes on to own `descriptor`."""
        mapping = cls(descriptor, size)
        mapping._descriptor = os.dup(descriptor)  # mmap has one too, but keeps it to itself
        weakref.finalize(mapping, os.close, mapping._descriptor).atexit = False
        mapping._address = ctypes.addressof(ctypes.c_char.from_buffer(mapping))
        return mapping

    def private(self, address: int, size: int, keepalive: object) -> Any:
        """A writable buffer with what the `size` bytes at `address`, within this mapping, hold.

        Its pages are the shared ones until they are written to, and copies from then on. `keepalive`, which has to
        keep others from changing the shared ones, is referenced as long as the buffer lives. Raises OSError.
        """
        offset = address - self._address
        lead = offset % mmap.PAGESIZE
        region = _Region(self._descriptor, offset - lead, lead + size)
        buffer = (ctypes.c_char * size).from_address(region.address + lead)
        buffer.keepalive = region, keepalive  # type: ignore[attr-defined]
        return buffer


class _Region:
    """A private mapping. Not by `mmap.mmap`, which would take a file descriptor for each."""

    def __init__(self, descriptor: int, offset: int, size: int) -> None:
        self.size = size
        address = _mmap(None, size, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE, descriptor, offset)
        if address == _FAILED:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        self.address: int = address

    def __del__(self, unmap: Any = _munmap) -> None:
        if hasattr(self, "address"):  # else it was not mapped
            unmap(self.address, self.size)
