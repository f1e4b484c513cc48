"""The calls that a worker has received: arriving, running, blocked, or answered but for a reply that waits."""

from __future__ import annotations

from collections.abc import Iterator

from asyncray.simulation.invariants.naming import runtime_name, short
from asyncray.worker.execution import Executor
from asyncray.worker.runtime import Runtime


def inconsistencies(runtime: Runtime) -> Iterator[str]:
    """Counts are of something, and what is deferred has a reason to be."""
    executor = runtime.executor
    if executor is None:
        return
    where, blocking = runtime_name(runtime), executor.blocking
    counts = {
        "calls that are not answered": executor._outstanding,
        "results that wait for output": executor._unsent,
        "coroutine calls that run": executor.actor._running,
        "waits of its task": blocking._count,
        "waits of its coroutine": blocking._coroutine_waits,
    }
    for name, count in counts.items():
        if count < 0:
            yield f"{where}: {count} {name} are counted"
    if not len(blocking._awaited) <= blocking._coroutine_waits <= blocking._count:
        waits = f"{len(blocking._awaited)}, {blocking._coroutine_waits} and {blocking._count}"
        yield f"{where}: its task waits for futures, as a coroutine and in all {waits} times: none may exceed the next"
    if len(executor._outbox) > executor._outstanding:
        yield f"{where}: {len(executor._outbox)} calls are finished, and only {executor._outstanding} were received"
    if executor._outbox and not executor._woken:
        yield f"{where}: {len(executor._outbox)} calls are finished, and nobody is to answer them"
    if not executor.arrivals._preparing <= set(executor.arrivals._waiting or ()):
        yield f"{where}: calls are being prepared that do not wait"
    elif executor.arrivals._waiting and executor.arrivals._waiting[0] not in executor.arrivals._preparing:
        yield f"{where}: {len(executor.arrivals._waiting)} calls wait, and the first could run"
    if executor.actor._waiting and executor.actor._running < executor.actor.concurrency:
        yield f"{where}: {len(executor.actor._waiting)} coroutine calls wait, and there is room for them"
    yield from _deferred(where, runtime, executor)


def _deferred(where: str, runtime: Runtime, executor: Executor) -> Iterator[str]:
    for execution in executor._deferred:
        if runtime.ownership.effects:  # the word that it can go may be among them
            continue
        if not execution.pending:
            yield f"{where}: a reply to process {short(execution.process_id)} is deferred, and waits for nothing"
        elif not execution.replying:
            yield f"{where}: a reply to process {short(execution.process_id)} is deferred, and would not be sent"


def leftovers(runtime: Runtime) -> Iterator[str]:
    """No call, no reply, no wait."""
    executor = runtime.executor
    if executor is None:
        return
    where = runtime_name(runtime)
    counts = {
        "calls are not answered": executor._outstanding,
        "calls wait for their functions or arguments": len(executor.arrivals),
        "replies are deferred": len(executor._deferred),
        "results wait for output": executor._unsent,
        "coroutine calls run": executor.actor._running,
        "coroutine calls wait": len(executor.actor._waiting or ()),
        "waits of its task are counted": executor.blocking._count,
    }
    for what, count in counts.items():
        if count:
            yield f"{where}: {count} {what}"
