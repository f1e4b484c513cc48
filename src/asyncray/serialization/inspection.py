"""What keeps a value from being pickled, and where in the value it is."""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, TextIO

from asyncray.errors import SerializationError
from asyncray.portable_exception import message_of, type_name
from asyncray.serialization.pickler import pickle_value

_DEPTH: Final = 20
_BREADTH: Final = 1000
"""Of a longer container, the items after these are not looked at."""


@dataclass(frozen=True, eq=False, slots=True)
class Failure:
    """One culprit. `name` is its last step of the way, `obj` the thing itself, `parent` what it was found in."""

    obj: Any
    name: str
    parent: Any
    path: tuple[str, ...]
    """The steps from the value to the culprit, `closure variable 'lock' of function f` for one."""
    reason: str

    def __str__(self) -> str:
        return " -> ".join((*self.path, f"{type_name(type(self.obj))} ({self.reason})"))


def inspect_serializability(
    value: Any, name: str | None = None, depth: int = _DEPTH, print_file: TextIO | None = None
) -> tuple[bool, list[Failure]]:
    """Whether `value` can be sent to another process; if not, the innermost things that cannot.

    Prints the path to each (to `print_file`, the standard output by default).
    """
    failures = find_failures(value, name, depth)
    out = print_file or sys.stdout
    title = name or describe(value)
    if not failures:
        print(f"{title} can be serialized.", file=out)
    else:
        print(f"{title} cannot be serialized:", *(f"  {failure}" for failure in failures), sep="\n", file=out)
    return not failures, failures


def explain(value: Any, error: Exception, *, references_allowed: bool = True) -> SerializationError:
    """The error to raise after pickling `value` failed with `error`."""
    failures = find_failures(value, references_allowed=references_allowed)
    if not failures:  # it fails as a whole only: from its size, or from one try to the next
        return SerializationError(f"{describe(value)} cannot be serialized: {_reason(error)}")
    culprits = "; ".join(map(str, failures[:3]))
    return SerializationError(f"{describe(value)} cannot be serialized: {culprits}")


def find_failures(
    value: Any, name: str | None = None, depth: int = _DEPTH, *, references_allowed: bool = True
) -> list[Failure]:
    """The culprits in `value`; none when it can be pickled."""
    search = _Search(references_allowed)
    search.visit(value, name or describe(value), None, (), depth)
    return search.failures


def describe(value: Any) -> str:
    if inspect.ismodule(value):
        return f"module {value.__name__}"
    if inspect.isclass(value):
        return f"class {value.__qualname__}"
    if inspect.isroutine(value):
        return f"function {getattr(value, '__name__', type_name(type(value)))}"
    return type_name(type(value))


class _Search:
    """Goes down to whatever fails on its own and has no part that fails."""

    def __init__(self, references_allowed: bool) -> None:
        self.failures: list[Failure] = []
        self._references_allowed = references_allowed
        self._seen: dict[int, Any] = {}
        """By address; the things are kept, so that no address is used twice."""

    def visit(self, value: Any, name: str, parent: Any, path: tuple[str, ...], depth: int) -> bool:
        """Whether `value` cannot be pickled."""
        reason = self._failure_of(value)
        if reason is None:
            return False
        if id(value) in self._seen:
            return True
        self._seen[id(value)] = value
        found = False
        if depth > 0:
            for step, part in _parts(value):
                found |= self.visit(part, step, value, (*path, step), depth - 1)
        if not found:
            self.failures.append(Failure(value, name, parent, path, reason))
        return True

    def _failure_of(self, value: Any) -> str | None:
        try:
            pickle_value(value, [], [] if self._references_allowed else None)
        except Exception as error:
            return _reason(error)
        return None


def _reason(error: Exception) -> str:
    message = message_of(error)
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """What pickling `value` pickles, each with how to say where it is."""
    if isinstance(value, types.FunctionType):
        yield from _parts_of_function(value)
    elif isinstance(value, types.MethodType):
        yield f"object of the method {value.__name__}", value.__self__
        yield from _parts(value.__func__)
    elif isinstance(value, type):
        for name, attribute in vars(value).items():
            if name not in ("__dict__", "__weakref__"):
                yield f"attribute {name!r} of class {value.__qualname__}", _unwrapped(attribute)
    elif isinstance(value, dict):
        for key, item in _some(value.items()):
            yield f"key {key!r}", key
            yield f"item {key!r}", item
    elif isinstance(value, (list, tuple)):
        yield from ((f"item {index}", item) for index, item in _some(enumerate(value)))
    elif isinstance(value, (set, frozenset)):
        yield from ((f"member {item!r}", item) for item in _some(value))
    if not isinstance(value, (types.FunctionType, types.MethodType, type)):
        yield from _parts_of_instance(value)


def _parts_of_function(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    where = f"of function {function.__name__}"
    variables = inspect.getclosurevars(function)
    for name, item in variables.nonlocals.items():
        yield f"closure variable {name!r} {where}", item
    for name, item in variables.globals.items():
        yield f"global variable {name!r} {where}", item
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.default is not parameter.empty:
            yield f"default of parameter {name!r} {where}", parameter.default
    for name, item in vars(function).items():
        yield f"attribute {name!r} {where}", item


def _parts_of_instance(value: Any) -> Iterator[tuple[str, Any]]:
    kind = type_name(type(value))
    if "<locals>" in kind or type(value).__module__ == "__main__":
        yield f"class {type(value).__qualname__}", type(value)
    for name, item in getattr(value, "__dict__", {}).items():
        yield f"attribute {name!r} of {kind}", item
    for base in type(value).__mro__:
        for name, descriptor in vars(base).items():
            if isinstance(descriptor, types.MemberDescriptorType) and hasattr(value, name):
                yield f"attribute {name!r} of {kind}", getattr(value, name)
    if isinstance(value, BaseException):
        yield from ((f"argument {index} of {kind}", item) for index, item in enumerate(value.args))


def _unwrapped(attribute: Any) -> Any:
    if isinstance(attribute, (staticmethod, classmethod)):
        return attribute.__func__
    return attribute.fget if isinstance(attribute, property) and attribute.fget else attribute


def _some(items: Any) -> Iterator[Any]:
    return (item for item, _ in zip(items, range(_BREADTH), strict=False))
