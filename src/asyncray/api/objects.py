"""`get`, `put`, `wait`, `cancel`, `kill`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from asyncray.api.actor import ActorHandle
from asyncray.api.connection import require_runtime
from asyncray.errors import GetTimeoutError
from asyncray.messages import FOR_WAIT
from asyncray.worker.object_ref import ObjectRef
from asyncray.worker.runtime import Runtime


async def get(refs: ObjectRef | Sequence[ObjectRef], *, timeout: float | None = None) -> Any:
    """The value of a reference, or the list of the values of several.

    Raises the exception of the first one (in the order given) that failed, and GetTimeoutError when not all are
    there after `timeout` seconds. Neither that nor cancelling the caller cancels the work.
    """
    if type(refs) is ObjectRef:
        if not refs._is_here():
            await _local(refs._runtime, [refs], timeout)
        return refs.result()
    many = check_refs(refs, "get")
    if not many:
        return []
    if not all(map(ObjectRef._is_here, many)):
        await _local(many[0]._runtime, many, timeout)
    return [ref.result() for ref in many]


async def put(value: Any) -> ObjectRef:
    """Stores a value and returns its reference. Until then a large value must not be changed: others have their turn.

    Raises SerializationError naming what cannot be pickled, ObjectStoreFullError with the sizes.
    """
    if isinstance(value, ObjectRef):
        raise TypeError("put() of an ObjectRef would hide its value: pass the reference itself, or put([ref])")
    return await require_runtime().puts.put(value)


async def wait(
    refs: Sequence[ObjectRef], *, num_returns: int = 1, timeout: float | None = None, fetch_local: bool = True
) -> tuple[list[ObjectRef], list[ObjectRef]]:
    """Waits until `num_returns` of the references have a value (or failed), `timeout` seconds at most.

    Returns (ready, not ready), each in the order given; ready has `num_returns` entries at most. With
    `fetch_local` a value counts when it has reached this node (those that have not go on coming afterwards); without,
    nothing is fetched.
    """
    many = check_wait(refs, num_returns)
    parted = part(many, num_returns, fetch_local)
    if len(parted[0]) >= num_returns or timeout == 0:
        return parted
    try:
        async with asyncio.timeout(timeout):
            references = [ref._reference for ref in many]
            await many[0]._runtime.objects.arrival(references, num_returns, FOR_WAIT if fetch_local else None)
    except TimeoutError:
        pass
    return part(many, num_returns, fetch_local)


async def cancel(ref: ObjectRef) -> None:
    """Withdraws the task of a reference if it has not begun; `await ref` then raises CancelledError."""
    if not isinstance(ref, ObjectRef):
        raise TypeError(f"cancel() takes an ObjectRef, got {type(ref).__name__}")
    ref.cancel()


async def kill(actor: ActorHandle) -> None:
    """Ends an actor at once. Calls in flight, and later ones, raise ActorDiedError."""
    if not isinstance(actor, ActorHandle):
        raise TypeError(f"kill() takes an actor handle, got {type(actor).__name__}; cancel() ends tasks")
    await require_runtime().actors.kill(actor._actor_id, "it was killed by kill()")


def check_refs(refs: Any, function: str) -> list[ObjectRef]:
    """The references as a list. Raises TypeError naming what is not one."""
    if not isinstance(refs, (list, tuple)):
        raise TypeError(f"{function}() takes an ObjectRef or a list of them, got {type(refs).__name__}")
    if set(map(type, refs)) - {ObjectRef}:
        position, wrong = next((at, ref) for at, ref in enumerate(refs) if type(ref) is not ObjectRef)
        raise TypeError(f"{function}() takes ObjectRefs; entry {position} is {type(wrong).__name__}: {wrong!r:.80}")
    return list(refs)


def check_wait(refs: Any, num_returns: int) -> list[ObjectRef]:
    """The references as a list. Raises TypeError and ValueError."""
    if isinstance(refs, ObjectRef):
        raise TypeError("wait() takes a list of ObjectRefs, got a single one")
    many = check_refs(refs, "wait")
    if not 0 < num_returns <= len(many):
        raise ValueError(f"num_returns must be from 1 to the number of references, {len(many)}; got {num_returns}")
    return many


def part(refs: list[ObjectRef], limit: int, fetch: bool) -> tuple[list[ObjectRef], list[ObjectRef]]:
    """(ready, not ready), looking no further than `limit` ready ones."""
    ready: list[ObjectRef] = []
    rest: list[ObjectRef] = []
    for position, ref in enumerate(refs):
        if ref.done() if fetch else ref._reference.state:
            ready.append(ref)
            if len(ready) == limit:
                rest += refs[position + 1 :]
                break
        else:
            rest.append(ref)
    return ready, rest


async def _local(runtime: Runtime, refs: list[ObjectRef], timeout: float | None) -> None:
    references = [ref._reference for ref in refs]
    try:
        async with asyncio.timeout(timeout):
            while not all(map(ObjectRef._is_here, refs)):  # one may be let go while another comes
                await runtime.objects.all_local(references)
    except TimeoutError:
        missing = sum(not ref._is_here() for ref in refs)
        raise GetTimeoutError(f"{missing} of {len(refs)} values were not there after {timeout} s") from None
