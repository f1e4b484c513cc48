"""What is needed now and then, under the names that Ray's users know."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncray.lazy import attach

if TYPE_CHECKING:
    from asyncray.api.freeing import free as free
    from asyncray.serialization import deregister_serializer as deregister_serializer
    from asyncray.serialization import inspect_serializability as inspect_serializability
    from asyncray.serialization import register_serializer as register_serializer

_HOMES = {
    "deregister_serializer": "asyncray.serialization",
    "free": "asyncray.api.freeing",
    "inspect_serializability": "asyncray.serialization",
    "register_serializer": "asyncray.serialization",
}

__getattr__, __dir__, __all__ = attach(globals(), _HOMES)
