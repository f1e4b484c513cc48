"""Memory below Python's view of it: copies without the interpreter lock, and views that carry an object along."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import Any


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
    return memoryview(carrier).cast("B").toreadonly()


@lru_cache(maxsize=256)
def _array_type(size: int) -> Any:
    """Making a ctypes type takes 20 us; objects of one size tend to come in numbers."""
    return ctypes.c_char * size
