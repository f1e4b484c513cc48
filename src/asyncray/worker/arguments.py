"""Arguments of a call: packed by the caller, unpacked by the worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from asyncray import serialization
from asyncray.worker.object_ref import ObjectRef
from asyncray.worker.reference import Reference

if TYPE_CHECKING:
    from asyncray.worker.runtime import Runtime

WHOLE: Final = -1
"""Position of a reference that stands for the packed arguments as a whole."""

Entry = list[Any]
"""`[position or keyword, object_id, state, value or location, owner address]`.

What follows the id is filled in when the value exists. Of a small value the owner is left out; where small values
together are too large to travel with the call, the larger ones are left to be asked for: their state is `PENDING`.
"""

NO_ARGUMENTS: Final = serialization.dumps(((), {}))


class Packed:
    """`payload`: the pickled (args, kwargs) without the top-level references. `held` begins with those."""

    __slots__ = ("entries", "held", "payload")

    def __init__(self, payload: bytes, entries: list[Entry] | None, held: list[Reference] | None) -> None:
        self.payload = payload
        self.entries = entries
        self.held = held


def pack(runtime: Runtime, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Packed:
    """Pickles arguments on the calling thread. References at top level become entries, nested ones are held.

    Arguments above the inline limit are stored as one object, which the call then takes. Raises
    SerializationError naming what cannot be pickled.
    """
    if not kwargs:
        if not args:
            return Packed(NO_ARGUMENTS, None, None)
        for argument in args:
            if type(argument) not in serialization.ATOMIC:
                break
        else:
            return _bounded(runtime, serialization.dumps((args, kwargs)), [], [])
    entries: list[Entry] = []
    held: list[Reference] = []
    plain = list(args)
    for position, argument in enumerate(args):
        if type(argument) is ObjectRef:
            argument.check(runtime)
            entries.append([position, argument._reference.id, 0, None])
            held.append(argument._reference)
            plain[position] = None
    named = kwargs
    for keyword, argument in kwargs.items():
        if type(argument) is ObjectRef:
            argument.check(runtime)
            entries.append([keyword, argument._reference.id, 0, None])
            held.append(argument._reference)
            named = {**named, keyword: None}
    serialized = serialization.serialize((tuple(plain), named))
    for reference in serialized.references:
        reference.check(runtime)
    held += [reference._reference for reference in serialized.references]
    return _bounded(runtime, serialized.to_bytes(), entries, held)


def _bounded(runtime: Runtime, payload: bytes, entries: list[Entry], held: list[Reference]) -> Packed:
    if len(payload) > runtime.config.inline_limit:
        whole = runtime.puts.arguments(payload)
        entries.insert(0, [WHOLE, whole._reference.id, 0, None])
        held.insert(0, whole._reference)
        payload = b""
        _hold(runtime, held)
        del whole
    elif held:
        _hold(runtime, held)
    return Packed(payload, entries or None, held or None)


def _hold(runtime: Runtime, held: list[Reference]) -> None:
    with runtime.ownership_lock:
        for reference in held:
            runtime.ownership.hold_task(reference)


def unpack(
    payload: bytes, values: list[tuple[int | str, Any]], restore: Callable[..., Any] | None
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The inverse: `values` are the top-level references' values by position or keyword."""
    if not values:
        args, kwargs = serialization.deserialize(payload, restore=restore)
        return args, kwargs
    if values[0][0] == WHOLE:
        args, kwargs = values.pop(0)[1]
    else:
        args, kwargs = serialization.deserialize(payload, restore=restore)
    if values:
        positional = list(args)
        for place, value in values:
            if isinstance(place, int):
                positional[place] = value
            else:
                kwargs[place] = value
        args = tuple(positional)
    return args, kwargs
