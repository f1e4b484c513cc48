"""Object references on their way through pickle.

`ObjectRef` belongs to a higher layer, so pickle meets it through these two functions: its `__reduce__` calls
`capture_reference`, and what that returns calls `restore_reference` in the reader, which hands over to the reader's
own factory. Both find their context in the thread, since pickle passes none.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from asyncray.errors import SerializationError
from asyncray.messages import Address

Restore = Callable[[bytes, Address], Any]
"""Makes a reference from an object id and its owner's address, in the reader."""


class _Context(threading.local):
    references: list[Any] | None = None
    """Where the value being pickled collects its references; None: references are not allowed."""
    restore: Restore | None = None


context = _Context()
"""Set for the time of one (de)serialisation, by whoever starts it, and set back afterwards: they can be nested."""


def capture_reference(reference: Any, object_id: bytes, owner: Address) -> tuple[Any, ...]:
    """For `ObjectRef.__reduce__`: notes that the value contains `reference`, and says how to restore it.

    Give the same `owner` object for all references of one owner: pickle then writes the address once.
    Raises SerializationError where nobody would keep the object alive: outside of asyncray's own serialisation.
    """
    references = context.references
    if references is None:
        raise SerializationError(
            f"{reference!r} can only travel in arguments, results and put objects, where asyncray keeps it alive"
        )
    references.append(reference)
    return restore_reference, (object_id, owner)


def restore_reference(object_id: bytes, owner: Address) -> Any:
    """What a pickled reference calls when it is read."""
    restore = context.restore
    if restore is None:
        raise SerializationError(f"a reference to object {object_id.hex()} was met where none can be restored")
    return restore(object_id, owner)
