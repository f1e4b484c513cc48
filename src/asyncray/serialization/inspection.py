"""What keeps a value from being pickled, and where in the value it is."""

from __future__ import annotations

import dis
import inspect
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from reprlib import repr as short
from typing import Any, Final, TextIO

from asyncray.errors import SerializationError
from asyncray.portable_exception import message_of, reduce_exception, type_name
from asyncray.serialization import registry
from asyncray.serialization.pickler import pickle_value

_DEPTH: Final = 20
_BREADTH: Final = 100_000
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
) -> tuple[bool, set[Failure]]:
    """Whether `value` can be sent to another process; if not, the innermost things that cannot.

    Prints the path to each, of `depth` steps at most (to `print_file`, the standard output by default). `name` is what
    to call the value there.
    """
    failures = find_failures(value, name, depth)
    out = print_file or sys.stdout
    title = name or describe(value)
    if not failures:
        print(f"{title} can be serialized.", file=out)
    else:
        print(f"{title} cannot be serialized:", *(f"  {failure}" for failure in failures), sep="\n", file=out)
    return not failures, set(failures)


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
        yield from _parts_of_class(value)
    elif type(value) is dict:
        yield from _items(value.items())
    elif type(value) in (list, tuple):
        yield from ((f"item {index}", item) for index, item in _some(enumerate(value)))
    elif type(value) in (set, frozenset):
        yield from ((f"member {short(item)}", item) for item in _some(value))
    else:
        yield from _parts_of_instance(value)


def _parts_of_function(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    where = f"of function {function.__name__}"
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield f"closure variable {name!r} {where}", cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    for name in sorted(_globals_of(function.__code__)):
        if name in function.__globals__:
            yield f"global variable {name!r} {where}", function.__globals__[name]
    positional = function.__code__.co_varnames[: function.__code__.co_argcount]
    defaults = function.__defaults__ or ()
    for name, item in zip(positional[len(positional) - len(defaults) :], defaults, strict=True):
        yield f"default of parameter {name!r} {where}", item
    for name, item in (function.__kwdefaults__ or {}).items():
        yield f"default of parameter {name!r} {where}", item
    for name, item in vars(function).items():
        yield f"attribute {name!r} {where}", item


def _globals_of(code: types.CodeType) -> set[str]:
    """The global names that a function uses, and those within it."""
    names = {step.argval for step in dis.get_instructions(code) if "GLOBAL" in step.opname}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _globals_of(constant)
    return names


def _parts_of_class(cls: type) -> Iterator[tuple[str, Any]]:
    for base in cls.__bases__:
        yield f"base {base.__qualname__} of class {cls.__qualname__}", base
    for name, attribute in vars(cls).items():
        if name not in ("__dict__", "__weakref__"):
            yield f"attribute {name!r} of class {cls.__qualname__}", _unwrapped(attribute)


def _unwrapped(attribute: Any) -> Any:
    if isinstance(attribute, (staticmethod, classmethod)):
        return attribute.__func__
    return attribute.fget if isinstance(attribute, property) and attribute.fget else attribute


def _parts_of_instance(value: Any) -> Iterator[tuple[str, Any]]:
    """What pickle asks the value for; nothing when the value refuses to tell: then it is the culprit itself."""
    kind = type_name(type(value))
    try:
        reduced = _reduced(value)
    except Exception:
        return
    if not isinstance(reduced, tuple):
        return
    build, arguments, state, items, pairs, *_ = (*reduced, None, None, None)
    yield f"function that makes {kind}", build
    for index, argument in enumerate(arguments or ()):
        if isinstance(argument, type):
            yield f"class {argument.__qualname__}", argument
        else:
            yield f"argument {index} of {kind}", argument
    yield from _parts_of_state(value, kind, state)
    yield from ((f"item {index}", item) for index, item in _some(enumerate(items or ())))
    yield from _items(pairs or ())


def _reduced(value: Any) -> Any:
    reduce = registry.table.get(type(value))
    if reduce is not None:
        return reduce(value)
    return reduce_exception(value) if isinstance(value, BaseException) else value.__reduce_ex__(5)


def _parts_of_state(value: Any, kind: str, state: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, BaseException) and isinstance(state, tuple) and len(state) == 3:
        arguments, *named = state  # see `portable_exception.State`
        yield from ((f"argument {index} of {kind}", item) for index, item in enumerate(arguments))
    elif isinstance(state, tuple) and len(state) == 2:  # attributes in `__dict__`, and those in slots
        named = list(state)
    else:
        named = [state]
    for part in named:
        if isinstance(part, dict):
            yield from ((f"attribute {short(name)} of {kind}", item) for name, item in part.items())
        elif part is not None:
            yield f"state of {kind}", part


def _items(pairs: Any) -> Iterator[tuple[str, Any]]:
    for key, item in _some(pairs):
        yield f"key {short(key)}", key
        yield f"item {short(key)}", item


def _some(items: Any) -> Iterator[Any]:
    return islice(items, _BREADTH)
