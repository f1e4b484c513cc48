"""What a program has seen, as plain data: numbers, strings and lists, without references."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final

from asyncray.api.actor import ActorHandle
from asyncray.errors import TaskError, failure_of
from asyncray.portable_exception import message_of, type_name
from asyncray.worker.object_ref import ObjectRef

MISSING: Final = "missing"
"""Stands in a variable for what an error has kept from it."""
VALUE: Final = "value"
"""`[VALUE, data]` is a value that has come."""
ERROR: Final = "error"
"""`[ERROR, type, text, whether it is a TaskError of that type]` is an error that came in its stead."""
REFERENCE: Final = "reference"
"""`[REFERENCE]` is a reference in a value; `[REFERENCE, outcome]` one that was asked for its value."""
ACTOR: Final = "actor"
BYTES: Final = "bytes"
"""`[BYTES, length, number]`: of a large value."""
WAITED: Final = "waited"
"""`[WAITED, positions of the ready, of the others, whether all ready ones are done]`."""

Data = Any
"""int, str, or a list of such."""


class WorkloadError(Exception):
    """What a body raises; its argument is the key of the step."""


@dataclass(frozen=True, slots=True)
class Observations:
    """All that one driver has observed: (key of the step, data), in the order in which it happened."""

    driver_number: int
    entries: tuple[tuple[int, Data], ...]


def data_of(value: Any) -> Data:
    """A value as data; references stay references."""
    if isinstance(value, list):
        return [data_of(item) for item in value]
    if isinstance(value, ObjectRef):
        return [REFERENCE]
    if isinstance(value, ActorHandle):
        return ACTOR
    if isinstance(value, bytes):
        return [BYTES, len(value), value[0] if value == value[:1] * len(value) else "damaged"]
    if isinstance(value, (int, str)):
        return value
    return f"{type(value).__qualname__} {value!r}"


def data_of_error(error: BaseException) -> Data:
    """An error as data: of a TaskError, the user's own error counts."""
    cause = failure_of(error).cause if isinstance(error, TaskError) else error
    whole = isinstance(error, TaskError) and isinstance(error, type(cause))
    return [ERROR, type_name(type(cause)), message_of(cause), whole]


def is_own_cancellation(error: BaseException, refs: list[ObjectRef]) -> bool:
    """Whether it is the awaiting task that was cancelled, and none of the references."""
    return isinstance(error, asyncio.CancelledError) and not any(ref.cancelled() for ref in refs)
