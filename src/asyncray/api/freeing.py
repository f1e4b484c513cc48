"""`free`."""

from __future__ import annotations

from collections.abc import Sequence

from asyncray.api.connection import require_runtime
from asyncray.api.objects import check_refs
from asyncray.worker.object_ref import ObjectRef


async def free(refs: ObjectRef | Sequence[ObjectRef]) -> None:
    """Takes the values of the references from everybody, at once, to make room: in all stores and processes.

    Whoever reads one later gets ObjectFreedError; what has been read before stays valid (arrays too, whose memory is
    free when the last of them is gone). A value that does not exist yet is freed as soon as it does; an error that a
    task has raised stays. Any process that has a reference can do so; where it does not own the value, its owner is
    told, and this returns before that has happened.
    """
    many = [refs] if isinstance(refs, ObjectRef) else check_refs(refs, "free")
    if many:
        runtime = require_runtime()
        for ref in many:
            ref.check(runtime)
        runtime.freeing.free([ref._reference for ref in many])
