"""Errors that come from what asyncray is say what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import pandas
import pytest

from asyncray.worker.advice import advise

READ_ONLY = numpy.zeros(3)
READ_ONLY.flags.writeable = False


def write_to_item() -> None:
    READ_ONLY[0] = 1


def write_in_place() -> None:
    array = READ_ONLY
    array += 1


def write_to_frame() -> None:
    frame = pandas.DataFrame({"a": READ_ONLY}, copy=False)
    frame.loc[0, "a"] = 1


def write_to_memory() -> None:
    memoryview(b"abc")[0] = 1  # type: ignore[index]


def write_to_flags() -> None:
    numpy.frombuffer(b"abc", "u1").flags.writeable = True


WRITES: list[Callable[[], Any]] = [
    write_to_item,
    write_in_place,
    READ_ONLY.sort,
    lambda: numpy.add(READ_ONLY, 1, out=READ_ONLY),
    write_to_frame,
    write_to_memory,
    write_to_flags,
]


@pytest.mark.parametrize("write", WRITES)
def test_an_attempt_to_write_to_a_view_is_told_of_copies(write: Callable[[], Any]) -> None:
    with pytest.raises((ValueError, TypeError)) as raised:
        write()
    advise(raised.value)
    assert "copy()" in raised.value.__notes__[0]


@pytest.mark.parametrize("error", [ValueError("the disk is read-only"), KeyError("array is read-only"), ValueError()])
def test_other_errors_are_left_alone(error: Exception) -> None:
    advise(error)
    assert not hasattr(error, "__notes__")
