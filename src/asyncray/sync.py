"""The blocking API: `import asyncray.sync as ray` runs ordinary Ray core programs.

Every coroutine of `asyncray` has a twin of the same name here. In a driver the runtime lives on a loop in a
background thread, since the caller has none; inside of tasks it is the worker's own.
"""

from __future__ import annotations

import atexit
import contextlib
import os
from collections.abc import Coroutine, Sequence
from types import TracebackType
from typing import Any, TypeVar

from asyncray.api import cluster, freeing, objects
from asyncray.api.actor import ActorClass as ActorClass
from asyncray.api.actor import ActorHandle
from asyncray.api.connection import Connection, require_runtime
from asyncray.api.context import get_gpu_ids as get_gpu_ids
from asyncray.api.context import get_runtime_context as get_runtime_context
from asyncray.api.remote import method as method
from asyncray.api.remote import remote as remote
from asyncray.api.remote_function import RemoteFunction as RemoteFunction
from asyncray.background_loop import BackgroundLoop
from asyncray.errors import GetTimeoutError
from asyncray.messages import FOR_GET
from asyncray.worker import current
from asyncray.worker.object_ref import ObjectRef
from asyncray.worker.objects import NotHere
from asyncray.worker.waiting import Countdown

_T = TypeVar("_T")

is_initialized = cluster.is_initialized

_background: BackgroundLoop | None = None


class BlockingConnection:
    """What `init` returns; `with init():` shuts down in the end."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def address(self) -> str:
        """`host:port` of the cluster's control plane."""
        return self._connection.address

    def __enter__(self) -> BlockingConnection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        shutdown()


def init(address: str | None = None, *, ignore_reinit_error: bool = False, **settings: Any) -> BlockingConnection:
    """Connects this process; see `asyncray.init` for the settings and errors."""
    global _background
    connection = cluster.init(address, ignore_reinit_error=ignore_reinit_error, **settings)
    is_new = _background is None
    if _background is None:
        _background = BackgroundLoop()
        atexit.register(_end)

    async def connect() -> None:
        await connection

    try:
        _background.run(connect())
    except BaseException:
        if is_new or current.get_runtime() is None:
            _stop_background()
        raise
    return BlockingConnection(connection)


def shutdown() -> None:
    """Leaves the cluster; one that `init` started ends."""
    if _background is not None:
        try:
            _background.run(cluster.shutdown())
        finally:
            _stop_background()


def run(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Runs any coroutine on the runtime's loop and blocks for its result."""
    return require_runtime().run_blocking(coroutine)


def get(refs: ObjectRef | Sequence[ObjectRef], *, timeout: float | None = None) -> Any:
    """The value of a reference, or the list of the values of several; see `asyncray.get`."""
    many = [refs] if isinstance(refs, ObjectRef) else objects.check_refs(refs, "get")
    deadline = many[0]._runtime.platform.clock() + timeout if many and timeout is not None else None
    while True:
        _await_local(many, deadline, timeout)
        with contextlib.suppress(NotHere):  # one was let go while another came
            values = [ref.result() for ref in many]
            return values[0] if isinstance(refs, ObjectRef) else values


def put(value: Any) -> ObjectRef:
    """Stores a value and returns its reference; see `asyncray.put`."""
    if isinstance(value, ObjectRef):
        return run(objects.put(value))
    runtime = require_runtime()
    ref, serialized = runtime.puts.begin(value)
    if serialized is not None:
        runtime.run_blocking(runtime.puts.finish(ref, serialized))
    return ref


def wait(
    refs: Sequence[ObjectRef], *, num_returns: int = 1, timeout: float | None = None, fetch_local: bool = True
) -> tuple[list[ObjectRef], list[ObjectRef]]:
    """(ready, not ready); see `asyncray.wait`."""
    many = objects.check_wait(refs, num_returns)
    parted = objects.part(many, num_returns, fetch_local)
    if len(parted[0]) >= num_returns:
        return parted
    return run(objects.wait(many, num_returns=num_returns, timeout=timeout, fetch_local=fetch_local))


def cancel(ref: ObjectRef) -> None:
    """Withdraws the task of a reference if it has not begun; see `asyncray.cancel`."""
    run(objects.cancel(ref))


def kill(actor: ActorHandle) -> None:
    """Ends an actor at once; see `asyncray.kill`."""
    run(objects.kill(actor))


def free(refs: ObjectRef | Sequence[ObjectRef]) -> None:
    """Takes values from everybody, at once; see `asyncray.util.free`."""
    run(freeing.free(refs))


def nodes() -> list[dict[str, Any]]:
    """The nodes of the cluster; see `asyncray.nodes`."""
    return run(cluster.nodes())


def cluster_resources() -> dict[str, float]:
    """Total resources by name; see `asyncray.cluster_resources`."""
    return run(cluster.cluster_resources())


def available_resources() -> dict[str, float]:
    """What of them is free; see `asyncray.available_resources`."""
    return run(cluster.available_resources())


def _await_local(refs: list[ObjectRef], deadline: float | None, timeout: float | None) -> None:
    """Blocks until all values are here, by a latch that the loop releases: one hand-over for any number of them.

    `deadline` is by the platform's clock; `timeout` is what the user has said.
    """
    missing = [ref._reference for ref in refs if not ref._is_here()]
    if not missing:
        return
    runtime = refs[0]._runtime
    if runtime.on_loop():
        raise RuntimeError("asyncray.sync blocks the event loop's own thread: use `await` there")
    arrived = runtime.platform.threads.latch()
    with runtime.blocked() as over:

        def all_there() -> None:
            over()
            arrived.release()

        countdown = Countdown(runtime.objects, missing, len(missing), all_there, FOR_GET)
        runtime.call_soon(countdown.start)
        try:
            left = -1.0 if deadline is None else max(0.0, deadline - runtime.platform.clock())
            if not arrived.acquire(timeout=left):
                raise GetTimeoutError(
                    f"{sum(not ref._is_here() for ref in refs)} of {len(refs)} values were not there after {timeout} s"
                )
        except BaseException:
            runtime.call_soon(countdown.stop)
            raise


def _end() -> None:
    """The program ends."""
    runtime = current.get_runtime()
    if runtime is not None:
        runtime.keeps_views = False
    shutdown()


def _after_fork() -> None:
    """The thread of the loop is the parent's."""
    global _background
    if _background is not None:
        _background = None
        atexit.unregister(_end)


os.register_at_fork(after_in_child=_after_fork)


def _stop_background() -> None:
    global _background
    if _background is not None:
        _background.stop()
        _background = None
        atexit.unregister(_end)
