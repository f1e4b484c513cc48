"""Which types are pickled in a way of their own: the user's, cloudpickle's and copyreg's in one table.

It is a plain dictionary because the C pickler looks every instance up in it: cloudpickle's own `ChainMap` costs a
microsecond for each object that it does not know.
"""

from __future__ import annotations

import copyreg
import logging
import pickle
import sys
from collections.abc import Callable
from importlib import import_module
from types import CodeType, FunctionType
from typing import Any, Final

import cloudpickle

_log = logging.getLogger(__name__)

Reducer = Callable[[Any], Any]

_FIXED: Final = frozenset(
    (type(None), bool, int, float, str, bytes, bytearray, tuple, list, dict, set, frozenset, type, FunctionType)
)
"""What the C pickler handles before it asks anybody."""

_CASTABLE: Final = frozenset("cbB?hHiIlLqQnNfd")

_LIBRARIES: Final = {
    "numpy": "asyncray.serialization.arrays",
    "pyarrow": "asyncray.serialization.arrow",
    "torch": "asyncray.serialization.tensors",
}
"""Libraries whose own way of pickling copies more than it needs to, and the modules that know better: `reducers()`."""

_awaited = dict(_LIBRARIES)
"""Those that this process has not imported, so that it has no instances of their types."""
_modules_seen = 0
"""The length of `sys.modules` at the last look, 0 to look again: a library adds to it."""
_of_libraries: dict[type, Reducer] = {}
_registered: dict[type, Reducer] = {}
_copyreg_seen: dict[type, Reducer] = {}

table: Final[dict[type, Reducer]] = {}
"""The reducers by exact type. Changed in place, since picklers hold on to it; call `refresh` before using it."""


def register_serializer(cls: type, *, serializer: Callable[[Any], Any], deserializer: Callable[[Any], Any]) -> None:
    """From now on, instances of exactly `cls` that leave this process travel as `serializer(instance)`.

    The reader gets `deserializer` of that; it travels along, so that readers need not register anything.
    Raises TypeError for types that pickle handles itself, such as `list`.
    """
    if cls in _FIXED:
        raise TypeError(f"{cls.__name__} cannot have a serializer of its own: register one for a subclass")

    def reduce(instance: Any) -> tuple[Callable[[Any], Any], tuple[Any]]:
        return deserializer, (serializer(instance),)

    _registered[cls] = reduce
    _build()


def deregister_serializer(cls: type) -> None:
    """Undoes `register_serializer`; nothing happens when there was none."""
    if _registered.pop(cls, None) is not None:
        _build()


def refresh() -> None:
    """Takes over what was imported, or registered with copyreg, meanwhile: anybody may do so at any time. 0.2 us."""
    if len(sys.modules) != _modules_seen:
        _welcome()
    if copyreg.dispatch_table != _copyreg_seen:
        _build()


def _welcome() -> None:
    global _modules_seen
    seen = len(sys.modules)
    for name, home in list(_awaited.items()):
        specification = getattr(sys.modules.get(name), "__spec__", None)
        if specification is None:
            continue
        if getattr(specification, "_initializing", False):  # another thread imports it
            seen = 0
            continue
        _awaited.pop(name, None)
        try:
            _of_libraries.update(import_module(home).reducers())
        except Exception as error:  # a release that lacks what is needed, or the user's own module of that name
            _log.debug("values of %s are pickled in its own way: %s: %s", name, type(error).__name__, error)
        _build()
    _modules_seen = seen


def _build() -> None:
    global _copyreg_seen
    _copyreg_seen = dict(copyreg.dispatch_table)
    # In this order: cloudpickle's table ends with copyreg's, and what users register comes first.
    new = {
        **cloudpickle.Pickler.dispatch_table,
        CodeType: _reduce_code,
        memoryview: _reduce_view,
        **{cls: reduce for cls, reduce in _of_libraries.items() if cls not in _copyreg_seen},
        **_registered,
    }
    # Never empty in between: another thread may be pickling.
    table.update(new)
    for stale in table.keys() - new.keys():
        del table[stale]


def _reduce_code(code: CodeType) -> tuple[Any, ...]:
    """With the name of its file, which tracebacks show: cloudpickle leaves that out from 3.1.3 on."""
    build, arguments = cloudpickle.Pickler.dispatch_table[CodeType](code)
    return _restore_code, (build, arguments, code.co_filename)


def _restore_code(build: Callable[..., CodeType], arguments: tuple[Any, ...], filename: str) -> CodeType:
    return build(*arguments).replace(co_filename=filename)


def _reduce_view(view: memoryview) -> tuple[Any, ...]:
    """A view travels as a buffer, and is read without a copy; cloudpickle would make `bytes` of it.

    Formats that `memoryview.cast` does not know, such as structures, arrive as plain bytes.
    """
    data = pickle.PickleBuffer(view) if view.c_contiguous else view.tobytes()
    known = view.format in _CASTABLE and 0 not in (view.shape or ())
    return _restore_view, (data, *((view.format, view.shape) if known else ("B", (view.nbytes,))))


def _restore_view(buffer: Any, format: str, shape: tuple[int, ...]) -> memoryview:
    view = memoryview(buffer).cast("B")
    if format == "B" and len(shape) == 1:
        return view
    return view.cast(format, shape)  # type: ignore[call-overload, no-any-return]


_build()
