"""How Arrow arrays, of which tables consist, are pickled: a slice travels without what it was cut from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pyarrow

_WORTHWHILE: Final = 64 * 1024
"""Bytes. Copying the slice is not worth it for less."""


def reducers() -> dict[type, Any]:
    return dict.fromkeys(_below(pyarrow.Array), _reduce)


def _below(cls: Any) -> Iterator[type]:
    for below in cls.__subclasses__():
        yield below
        yield from _below(below)


def _reduce(array: Any) -> Any:
    """Arrow itself sends all of the buffers that any part of the array lies in."""
    if array.get_total_buffer_size() - array.nbytes > _WORTHWHILE:
        array = pyarrow.concat_arrays([array, array[:0]])  # of one array alone, Arrow would make no copy
    return array.__reduce__()
