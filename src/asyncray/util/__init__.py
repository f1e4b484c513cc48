"""What is needed now and then, under the names that Ray's users know."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncray.serialization import deregister_serializer as deregister_serializer
    from asyncray.serialization import inspect_serializability as inspect_serializability
    from asyncray.serialization import register_serializer as register_serializer
    from asyncray.util.freeing import free as free

_HOMES = {
    "deregister_serializer": "asyncray.serialization",
    "free": "asyncray.util.freeing",
    "inspect_serializability": "asyncray.serialization",
    "register_serializer": "asyncray.serialization",
}
"""Names by their modules, each imported when it is first used."""

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'asyncray.util' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
