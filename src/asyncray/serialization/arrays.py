"""How NumPy arrays are pickled."""

from __future__ import annotations

from pickle import PickleBuffer
from typing import Any, Final

import numpy

from asyncray.serialization import memory
from asyncray.serialization.layout import IN_BAND_LIMIT

_PLAIN: Final = frozenset("biufcSUmM")
"""Kinds of items that are nothing but their bytes."""
_DATES: Final = frozenset("mM")
"""Those among them that NumPy does not lend to others."""
_new: Final = numpy.ndarray


def reducers() -> dict[type, Any]:
    item_types = {type(numpy.dtype(char)): _reduce_item_type for char in numpy.typecodes["All"] if char not in "OV"}
    return {numpy.ndarray: _reduce, **item_types}


def _reduce_item_type(items: Any) -> Any:
    """By its name, where NumPy would add what all of its kind have in common: a third of the time for one array."""
    if items.metadata is not None or items.subdtype is not None:
        return items.__reduce__()
    return numpy.dtype, (items.str,)


def _reduce(array: Any) -> Any:
    """NumPy's own way copies dates and all that is not contiguous into the pickle; here these are buffers too.

    For small arrays it takes 3.5 us to write and 1.9 us to read; this takes 2.2 and 0.7.
    """
    items = array.dtype
    if items.kind not in _PLAIN:
        return array.__reduce_ex__(5)
    flags = array.flags
    if not flags.forc:
        array = array.copy()  # as the other way does, too
        flags = array.flags
    lendable = items.kind not in _DATES
    if array.nbytes >= IN_BAND_LIMIT:
        data = PickleBuffer(array) if lendable else memory.over(array.ctypes.data, array.nbytes, keepalive=array)
        return _restore, (data, items, array.shape, "C" if flags.c_contiguous else "F")
    if flags.c_contiguous:
        return _new, (array.shape, items, bytearray(array.data if lendable else array.tobytes()))
    return _new, (array.shape, items, bytearray(array.tobytes("F")), 0, None, "F")


def _restore(data: Any, items: Any, shape: tuple[int, ...], order: Any) -> Any:
    # Not by `_new`: that reaches through the read-only view, and lets the user make the array writable.
    return numpy.frombuffer(data, items).reshape(shape, order=order)
