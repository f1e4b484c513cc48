"""Memory below Python's view of it: copies without the interpreter lock, views that carry an object along."""

from __future__ import annotations

import ctypes
import pickle
from functools import lru_cache
from typing import Any, Final

_MAPPED_FROM: Final = 1024 * 1024
"""Bytes. To copy less is as quick as to map it (50 us and its first use: 1 MB takes 200 us to copy, 100 MB 180 ms)."""


class _PyBuffer(ctypes.Structure):
    """`Py_buffer`, part of the stable ABI since Python 3.11."""

    _fields_ = (
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.c_void_p),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    )


_get_buffer = ctypes.pythonapi.PyObject_GetBuffer
_get_buffer.argtypes = (ctypes.py_object, ctypes.POINTER(_PyBuffer), ctypes.c_int)
_get_buffer.restype = ctypes.c_int
_release_buffer = ctypes.pythonapi.PyBuffer_Release
_release_buffer.argtypes = (ctypes.POINTER(_PyBuffer),)
_release_buffer.restype = None

_SIMPLE = 0
_WRITABLE = 1


def copy(destination: memoryview, source: Any) -> None:
    """`destination[:] = source`, for contiguous buffers of the same size, while other threads run."""
    into, out_of = _PyBuffer(), _PyBuffer()
    _get_buffer(destination, ctypes.byref(into), _WRITABLE)
    try:
        _get_buffer(source, ctypes.byref(out_of), _SIMPLE)
        try:
            if into.len != out_of.len:
                raise ValueError(f"cannot copy {out_of.len} bytes to {into.len}")
            ctypes.memmove(into.buf, out_of.buf, into.len)
        finally:
            _release_buffer(ctypes.byref(out_of))
    finally:
        _release_buffer(ctypes.byref(into))


def carry(buffer: memoryview, keepalive: object) -> memoryview:
    """A read-only view of the writable `buffer`; `keepalive` lives as long as any view derived from it.

    A `memoryview` cannot have attributes and NumPy forgets all but the exporter of the memory, so the exporter has to
    hold `keepalive`: a ctypes array laid over the same memory does. (Python 3.12's `__buffer__` would be simpler.)
    """
    carrier = _array_type(buffer.nbytes).from_buffer(buffer)
    carrier.keepalive = keepalive
    carrier.mapping = buffer.obj
    return memoryview(carrier).cast("B").toreadonly()


def over(address: int, size: int, keepalive: object) -> pickle.PickleBuffer:
    """Memory of a library that does not lend it by itself, for pickle."""
    carrier = _array_type(size).from_address(address)
    carrier.keepalive = keepalive
    return pickle.PickleBuffer(carrier)


def of_own(data: Any) -> Any:
    """Memory that holds the same as a buffer read from a value, for its reader alone to write to.

    Large blocks of shared memory are not copied, if the mapping they lie in has a method `private`, as that of an
    arena has.
    """
    if type(data) is bytearray:  # made by pickle, for this reader
        return data
    view = memoryview(data)
    private = getattr(getattr(view.obj, "mapping", None), "private", None)
    if private is None or view.nbytes < _MAPPED_FROM:
        return bytearray(view)
    try:
        return private(address_of(view), view.nbytes, keepalive=view)
    except OSError:  # a process may have 65,530 mappings
        return bytearray(view)


def address_of(view: memoryview) -> int:
    """Where a contiguous view begins."""
    buffer = _PyBuffer()
    _get_buffer(view, ctypes.byref(buffer), _SIMPLE)
    address: int = buffer.buf
    _release_buffer(ctypes.byref(buffer))
    return address


@lru_cache(maxsize=256)
def _array_type(size: int) -> Any:
    """Making a ctypes type takes 20 us; objects of one size tend to come in numbers."""
    return ctypes.c_char * size
