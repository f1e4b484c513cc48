"""From values to bytes and back: the entry points, with the fast path for small plain values."""

from __future__ import annotations

import os
import pickle
from typing import Any, Final

from asyncray.errors import AsyncrayError, ProtocolError, SerializationError, capture
from asyncray.portable_exception import message_of
from asyncray.serialization import layout
from asyncray.serialization.inspection import explain
from asyncray.serialization.layout import Serialized
from asyncray.serialization.pickler import pickle_value
from asyncray.serialization.references import Restore, context

Bytes = bytes | bytearray | memoryview

ATOMIC: Final = frozenset((type(None), bool, int, float, str, bytes))
"""Types whose instances have nothing inside that would need care."""

_PLAIN_LENGTH: Final = 16
"""Longer containers are not looked through: setting up the pickler (1.5 us) is cheaper."""
_PLAIN_BYTES: Final = 16 * 1024
"""Longer ones are left where they are until they are written."""

_dumps = pickle.dumps
_loads = pickle.loads


def dumps(value: Any) -> bytes:
    """The bytes of a value that contains no references, or whose references are kept alive otherwise.

    Raises SerializationError naming the culprit.
    """
    kind = type(value)
    if kind in ATOMIC or _is_plain(value, kind):
        return _dumps(value, 5)
    return serialize(value).to_bytes()


def serialize(value: Any) -> Serialized:
    """A value on its way to bytes. Raises SerializationError naming the culprit."""
    kind = type(value)
    if kind in ATOMIC and (kind is not bytes or len(value) <= _PLAIN_BYTES):
        return Serialized((_dumps(value, 5),))
    buffers: list[memoryview] = []
    references: list[Any] = []
    try:
        chunks = pickle_value(value, buffers, references)
    except Exception as error:
        raise explain(value, error) from error
    return Serialized(chunks, buffers, references)


def deserialize(data: Bytes, *, keepalive: object = None, restore: Restore | None = None) -> Any:
    """The value of what `dumps` or `serialize` made; of what `dumps_error` made, the exception.

    Large arrays in it are read-only views of `data`. With `keepalive`, `data` has to be a writable view, of shared
    memory say, and `keepalive` is referenced until the last of these views is gone. `restore` makes the references
    inside.

    Raises SerializationError when the value cannot be rebuilt in this process, ProtocolError when `data` is no value.
    """
    tag = data[0] if data else None
    if tag == layout.PICKLE:
        try:
            return _loads(data)
        except Exception as error:
            raise _unreadable(error) from error
    view = memoryview(data)
    if tag == layout.PARTS:
        places = layout.locate(view)
        if len(places) > 1 and keepalive is not None:
            from asyncray.serialization.memory import carry  # needs ctypes, which few processes do

            view = carry(view, keepalive)
        elif not view.readonly:
            view = view.toreadonly()
        pickled, *buffers = [view[place] for place in places]
        return _load(pickled, buffers, restore)
    if tag == layout.ERROR:
        return _load(view[1:], [], restore)
    raise ProtocolError(f"{len(data)} bytes that begin with {tag} are not a value")


def dumps_error(error: BaseException, references: list[Any] | None = None) -> bytes:
    """The bytes of an exception. Never raises: what cannot be pickled is described instead.

    References inside are left out, unless `references` is there to collect them.
    """
    try:
        chunks = pickle_value(error, None, references)
    except Exception:
        stated = capture(error, "", os.getpid(), "")
        chunks = pickle_value(stated, None, references)
    return b"".join((bytes((layout.ERROR,)), *chunks))


def load_error(data: Bytes, restore: Restore | None = None) -> BaseException:
    """The exception of what `dumps_error` made. Never raises: bytes that are none give an error that says so."""
    try:
        error = deserialize(data, restore=restore)
    except AsyncrayError as failure:
        return failure
    if isinstance(error, BaseException):
        return error
    return ProtocolError(f"an exception was announced, but {type(error).__name__} came")


def is_error(data: Bytes) -> bool:
    """Whether the bytes come from `dumps_error`."""
    return bool(data) and data[0] == layout.ERROR


def dumps_function(function: Any, references: list[Any] | None = None) -> bytes:
    """The bytes of a function or class, by value unless every process can import it.

    `references` collects those that it closes over; without it they are refused.
    Raises SerializationError naming the culprit.
    """
    try:
        return b"".join(pickle_value(function, None, references))
    except Exception as error:
        raise explain(function, error, references_allowed=references is not None) from error


def loads_function(data: Bytes, restore: Restore | None = None) -> Any:
    """The function or class. Raises SerializationError when it cannot be rebuilt in this process."""
    return _load(memoryview(data), [], restore)


def _is_plain(value: Any, kind: type) -> bool:
    """Whether plain pickle does the right thing, if that can be seen at a glance.

    Two levels of short containers, as the arguments of a call are; 0.2 to 0.6 us.
    """
    if kind is not tuple and kind is not list:
        return False
    if len(value) > _PLAIN_LENGTH:
        return False
    for item in value:
        kind = type(item)
        if kind in ATOMIC:
            continue
        if kind is dict:
            if item and not (ATOMIC.issuperset(map(type, item)) and ATOMIC.issuperset(map(type, item.values()))):
                return False
        elif (kind is not tuple and kind is not list) or not ATOMIC.issuperset(map(type, item)):
            return False
    return True


def _load(pickled: memoryview, buffers: list[memoryview], restore: Restore | None) -> Any:
    outer = context.restore
    context.restore = restore
    try:
        return _loads(pickled, buffers=buffers)
    except Exception as error:
        raise _unreadable(error) from error
    finally:
        context.restore = outer


def _unreadable(error: Exception) -> AsyncrayError:
    if isinstance(error, AsyncrayError):
        return error
    return SerializationError(f"a value cannot be rebuilt in this process: {type(error).__name__}: {message_of(error)}")
