"""Values as bytes: pickle 5 with out-of-band buffers, one flat layout for messages and shared memory.

`dumps` and `deserialize` are the whole story for small values; `serialize` gives a `Serialized`, which knows its size
and the references inside before it is written anywhere.
"""

from asyncray.serialization.inspection import Failure, inspect_serializability
from asyncray.serialization.layout import Serialized
from asyncray.serialization.references import capture_reference, restore_reference
from asyncray.serialization.registry import deregister_serializer, register_serializer
from asyncray.serialization.values import (
    ATOMIC,
    deserialize,
    dumps,
    dumps_error,
    dumps_function,
    is_error,
    load_error,
    loads_function,
    serialize,
)

__all__ = [
    "ATOMIC",
    "Failure",
    "Serialized",
    "capture_reference",
    "deregister_serializer",
    "deserialize",
    "dumps",
    "dumps_error",
    "dumps_function",
    "inspect_serializability",
    "is_error",
    "load_error",
    "loads_function",
    "register_serializer",
    "restore_reference",
    "serialize",
]
