"""Exceptions that survive the way to another process.

Python's own pickling of an exception calls its class again with `args`. That fails for a class whose
`__init__` takes anything else than what it hands to `super().__init__`, and gives a wrong message when it
formats one. Here an exception travels as its state (`args`, C-level fields, attributes), and is
rebuilt without running the user's `__init__`. What cannot travel at all becomes an `OpaqueException`, which
still says what was raised.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import GetSetDescriptorType, MemberDescriptorType, MethodDescriptorType
from typing import Any, NamedTuple, TypeVar

E = TypeVar("E", bound=BaseException)

Dumps = Callable[[Any], bytes]
Loads = Callable[[bytes], Any]

State = tuple[tuple[Any, ...], dict[str, Any], dict[str, Any]]
"""`args`, the values of C-level fields and slots, and the instance's `__dict__`."""

_ARGS: Any = vars(BaseException)["args"]
"""The C-level field itself, whatever `args` means in the user's class."""

_HEAP_TYPE = 1 << 9
"""Py_TPFLAGS_HEAPTYPE: a class made by a `class` statement; without it, one that is part of the interpreter."""


class OpaqueException(Exception):
    """Stands for an exception that this process cannot rebuild.

    `type_name` and `message` are those of the original, `base` is the nearest built-in class of its type,
    `reason` says why it is not here itself.
    """

    def __init__(self, type_name: str, message: str, base: type[BaseException], reason: str) -> None:
        super().__init__(type_name, message, base, reason)
        self.type_name = type_name
        self.message = message
        self.base = base
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.type_name}: {self.message}" if self.message else self.type_name


class PackedException(NamedTuple):
    """An exception as plain data: every process can read it, also one that lacks its class."""

    pickled: bytes | None
    type_name: str
    message: str
    base: type[BaseException]
    """The nearest built-in class, which `except` clauses can still name when the class itself is missing."""
    reason: str
    """Why `pickled` is None."""


def pack(error: BaseException, dumps: Dumps) -> PackedException:
    """Never raises: what cannot be pickled is left out, if need be all but the names and the message."""
    pickled, reason = None, ""
    for form in (_Whole(error), _Pruned(error, dumps)):
        try:
            pickled = dumps(form)
            break
        except Exception as failure:
            reason = reason or f"it could not be pickled: {message_of(failure)}"
    return PackedException(pickled, type_name(type(error)), message_of(error), builtin_base(type(error)), reason)


def unpack(packed: PackedException, loads: Loads) -> BaseException:
    """Never raises: gives an `OpaqueException` when the original cannot be rebuilt here."""
    reason = packed.reason
    if packed.pickled is not None:
        try:
            error = loads(packed.pickled)
            if isinstance(error, BaseException):
                return error
            reason = f"it was unpickled as {type(error).__name__}"
        except Exception as failure:
            reason = f"it could not be unpickled: {type(failure).__name__}: {message_of(failure)}"
    return OpaqueException(packed.type_name, packed.message, packed.base, reason)


def reduce_exception(error: BaseException) -> tuple[Any, ...]:
    """How a pickler should reduce any exception: by its state, unless its class says how.

    A `__reduce__` of the user's own is honoured unless it raises.
    """
    if _has_own_reduce(type(error)):
        try:
            reduced = error.__reduce_ex__(5)
            if isinstance(reduced, tuple):
                return reduced
        except Exception:  # the state is the better answer, whatever is wrong with the user's
            pass
    return (*_construction(error), state_of(error), None, None, fill)


def blank(cls: type[E], original: BaseException) -> E:
    """An instance of `cls` (of the type of `original`, or below it) without running any `__init__`."""
    constructor: Callable[..., E] = native_base(cls).__new__
    if isinstance(original, BaseExceptionGroup):
        # Read-only later; to be given at once.
        return constructor(cls, original.message, list(original.exceptions))
    return constructor(cls)


def state_of(error: BaseException) -> State:
    """What `fill` needs to make a blank instance equal to `error`."""
    fields = {}
    for name in _field_names(type(error)):
        value = getattr(error, name, None)
        if value is not None:
            fields[name] = value
    return _ARGS.__get__(error), fields, error.__dict__


def fill(error: BaseException, state: State) -> None:
    """Gives a blank exception its state."""
    arguments, fields, attributes = state
    # Never plain setattr: a frozen dataclass, or a property, would refuse.
    _ARGS.__set__(error, arguments)
    for name, value in fields.items():
        with suppress(AttributeError, TypeError):  # a field that only C code can write
            object.__setattr__(error, name, value)
    error.__dict__.update(attributes)


def native_base(cls: type[BaseException]) -> type[BaseException]:
    """The nearest class that is written in C; its `__new__` is the one that lays out the instance."""
    for base in cls.__mro__:
        if not base.__flags__ & _HEAP_TYPE and issubclass(base, BaseException):
            return base
    return BaseException


def builtin_base(cls: type[BaseException]) -> type[BaseException]:
    """The nearest class that can be named by every process: one of `builtins`."""
    for base in cls.__mro__:
        if issubclass(base, BaseException) and _is_builtin(base):
            return base
    return BaseException


def _is_builtin(cls: type) -> bool:
    return vars(builtins).get(cls.__name__) is cls


def type_name(cls: type) -> str:
    """As a traceback prints it: built-in and `__main__` classes without their module."""
    module = getattr(cls, "__module__", "")
    return cls.__qualname__ if module in ("builtins", "__main__") else f"{module}.{cls.__qualname__}"


def message_of(error: BaseException) -> str:
    """`str(error)`, of an exception that may be broken."""
    try:
        return str(error)
    except Exception:
        return f"<{type(error).__name__} whose str() fails>"


def _has_own_reduce(cls: type[BaseException]) -> bool:
    return not isinstance(cls.__reduce__, MethodDescriptorType) or cls.__reduce_ex__ is not BaseException.__reduce_ex__


def _construction(error: BaseException) -> tuple[Callable[..., BaseException], tuple[Any, ...]]:
    if isinstance(error, BaseExceptionGroup):
        return _new_group, (type(error), error.message, list(error.exceptions))
    return _new, (type(error),)


def _new(cls: type[BaseException]) -> BaseException:
    return native_base(cls).__new__(cls)


def _new_group(
    cls: type[BaseExceptionGroup[BaseException]], message: str, exceptions: list[BaseException]
) -> BaseException:
    return native_base(cls).__new__(cls, message, exceptions)


def _field_names(cls: type[BaseException]) -> Iterator[str]:
    """C-level fields (`errno`, `start`, ...) and slots: state that is not in `__dict__`."""
    for base in cls.__mro__:
        # `args`, and the message and the members of a group, have their own ways.
        if base in (BaseException, BaseExceptionGroup):
            continue
        for name, descriptor in vars(base).items():
            if isinstance(descriptor, (MemberDescriptorType, GetSetDescriptorType)) and not name.startswith("__"):
                yield name


class _Whole:
    """Pickles as the exception, by its state also with a pickler that knows nothing of `reduce_exception`."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __reduce__(self) -> tuple[Any, ...]:
        return reduce_exception(self._error)


class _Pruned:
    """Pickles as the exception without what cannot be pickled.

    An argument becomes its `repr` (its place matters to `args`), a field or an attribute is left out.
    """

    def __init__(self, error: BaseException, dumps: Dumps) -> None:
        self._error = error
        self._dumps = dumps

    def __reduce__(self) -> tuple[Any, ...]:
        constructor, arguments = _construction(self._error)
        args, fields, attributes = state_of(self._error)
        if isinstance(self._error, BaseExceptionGroup):
            children = [_Pruned(child, self._dumps) for child in self._error.exceptions]
            arguments = (type(self._error), self._error.message, children)
            args = (self._error.message, children)
        else:
            args = tuple(value if self._passes(value) else repr(value) for value in args)
        state = (args, self._passing(fields), self._passing(attributes))
        return constructor, arguments, state, None, None, fill

    def _passing(self, values: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in values.items() if self._passes(value)}

    def _passes(self, value: Any) -> bool:
        try:
            self._dumps(value)
        except Exception:
            return False
        return True
