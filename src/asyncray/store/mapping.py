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

_mremap = _libc.mremap
_mremap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p)
_mremap.restype = ctypes.c_void_p
_madvise = _libc.madvise
_madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)

_READ_WRITE: Final = mmap.PROT_READ | mmap.PROT_WRITE
_FIXED: Final = 0x10
"""MAP_FIXED."""
_FAILED: Final = ctypes.c_void_p(-1).value
_MOVE_THERE: Final = 1 | 2
"""MREMAP_MAYMOVE, MREMAP_FIXED."""
_POPULATE_WRITE: Final = 23
"""Linux 5.14 and later."""


class Mapping(mmap.mmap):
    """A file that processes share, or two. They are unmapped when the last view of them is gone."""

    _descriptors: list[tuple[int, int]]
    """Files, and the offsets from which on they are mapped; the last of these first."""
    _address: int
    _regions: weakref.WeakSet[_Region]

    @classmethod
    def of(cls, descriptor: int, size: int, behind: int = -1, end: int = 0) -> Mapping:
        """`size` bytes of a file; what a second one has from there on to its `end` comes behind them, if there is one.

        Raises OSError. The caller goes on to own the descriptors.
        """
        mapping = cls(descriptor, size) if behind < 0 else cls(behind, end)
        mapping._address = ctypes.addressof(ctypes.c_char.from_buffer(mapping))
        mapping._descriptors = [(0, mapping._own(descriptor))]
        if behind >= 0:
            # The second file, which is as long as both, has kept the place of the first one. Memory that nothing is
            # mapped to would do that as well, but counts where the kernel does not overcommit.
            _checked(_mmap(mapping._address, size, _READ_WRITE, mmap.MAP_SHARED | _FIXED, descriptor, 0))
            mapping._descriptors.insert(0, (size + -size % mmap.PAGESIZE, mapping._own(behind)))
        mapping._regions = weakref.WeakSet()
        return mapping

    def _own(self, descriptor: int) -> int:
        """mmap has one too, but keeps it to itself."""
        own = os.dup(descriptor)
        weakref.finalize(self, os.close, own).atexit = False
        return own

    def private(self, address: int, size: int, keepalive: object) -> Any:
        """A writable buffer with what the `size` bytes at `address`, within this mapping, hold.

        Its pages are the shared ones until they are written to, and copies from then on. `keepalive`, which has to
        keep others from changing the shared ones, is referenced as long as the buffer lives. Raises OSError.
        """
        offset = address - self._address
        lead = offset % mmap.PAGESIZE
        descriptor = next(descriptor for start, descriptor in self._descriptors if start <= offset)
        region = _Region(descriptor, offset - lead, lead + size)
        self._regions.add(region)
        buffer = (ctypes.c_char * size).from_address(region.address + lead)
        buffer.keepalive = region, keepalive  # type: ignore[attr-defined]
        return buffer

    def keep(self, offset: int, size: int) -> None:
        """This process keeps what the bytes hold now, whatever others write there from now on.

        Their pages are exchanged for copies at the same addresses; who reads them meanwhile does not notice. Copies at
        about 5 GB/s and releases the interpreter lock. Raises OSError when there is no memory.
        """
        start = offset - offset % mmap.PAGESIZE
        length = -(-(offset + size - start) // mmap.PAGESIZE) * mmap.PAGESIZE
        copy = _checked(_mmap(None, length, _READ_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0))
        ctypes.memmove(copy, self._address + start, length)
        try:
            _checked(_mremap(copy, length, length, _MOVE_THERE, self._address + start))
        except OSError:
            _munmap(copy, length)
            raise
        for region in list(self._regions):
            if region.offset < offset + size and offset < region.offset + region.size:
                region.keep()


def _checked(address: int) -> int:
    if address == _FAILED:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return address


class _Region:
    """A private mapping. Not by `mmap.mmap`, which would take a file descriptor for each."""

    def __init__(self, descriptor: int, offset: int, size: int) -> None:
        self.offset = offset
        self.size = size
        self.address = _checked(_mmap(None, size, _READ_WRITE, mmap.MAP_PRIVATE, descriptor, offset))

    def keep(self) -> None:
        """From now on all pages are copies."""
        if _madvise(self.address, self.size, _POPULATE_WRITE):
            for page in range(self.address, self.address + self.size, mmap.PAGESIZE):
                ctypes.memmove(page, page, 1)

    def __del__(self, unmap: Any = _munmap) -> None:
        if hasattr(self, "address"):  # else it was not mapped
            unmap(self.address, self.size)
