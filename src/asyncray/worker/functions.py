"""Functions and classes on their way to workers: pickled once, kept in the control plane's function table."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any

from asyncray import serialization
from asyncray.errors import AsyncrayError
from asyncray.ids import FunctionId
from asyncray.worker.task import Template

if TYPE_CHECKING:
    from asyncray.resources import Resources
    from asyncray.worker.runtime import Runtime

_NAMESPACE = "functions"

_TEMPLATES_KEPT = 10_000


class FunctionTable:
    """Exports by hash, and fetches with a cache."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        # No failures are kept in these two: their tracebacks refer to the frames of those that have awaited them.
        self._exported: dict[bytes, asyncio.Task[None]] = {}
        self._unexported: dict[bytes, bytes] = {}
        """What the table has not got yet."""
        self._pickled: dict[bytes, asyncio.Task[bytes]] = {}
        self._templates: dict[Any, Template] = {}
        self.loaded: dict[bytes, Any] = {}
        """Functions and classes that this process has unpickled, by id."""

    def template(
        self,
        function_id: bytes,
        name: str,
        num_returns: int,
        *,
        is_method: bool = False,
        demand: Resources | None = None,
        max_retries: int = 0,
    ) -> Template:
        """The template of such calls: one for all, since the other side remembers each that it is told. Any thread.

        Of a method, `function_id` is the id of its actor.
        """
        key = (function_id, name, num_returns, is_method, tuple(sorted((demand or {}).items())), max_retries)
        known = self._templates.get(key)
        if known is None:
            if len(self._templates) >= _TEMPLATES_KEPT:
                self._templates.clear()
            number = self._runtime.next_number()
            template = Template(
                number, function_id, name, num_returns, is_method=is_method, demand=demand, max_retries=max_retries
            )
            known = self._templates.setdefault(key, template)
        return known

    def export(self, function_id: bytes, pickled: bytes) -> asyncio.Task[None]:
        """Puts the function into the table; the task ends when workers can fetch it. Loop thread only."""
        task = self._exported.get(function_id)
        if task is None:
            self._unexported[function_id] = pickled
            task = self._exported[function_id] = self._runtime.spawn(
                self._put(function_id, pickled), name=f"export {function_id.hex()[:8]}"
            )
            task.add_done_callback(functools.partial(_forget_failure, self._exported, function_id))
        return task

    def exported(self, function_id: bytes) -> asyncio.Task[None]:
        """The export that was begun for a function of this process; begun anew, if it has failed."""
        task = self._exported.get(function_id)
        return task if task is not None else self.export(function_id, self._unexported[function_id])

    def fetch(self, function_id: bytes) -> asyncio.Task[bytes]:
        """The pickled function. Loop thread only."""
        task = self._pickled.get(function_id)
        if task is None:
            task = self._pickled[function_id] = self._runtime.spawn(
                self._get(function_id), name=f"fetch {function_id.hex()[:8]}"
            )
            task.add_done_callback(functools.partial(_forget_failure, self._pickled, function_id))
        return task

    def load(self, function_id: bytes, pickled: bytes) -> Any:
        """Unpickles, which may import the user's modules: on the thread that is to run it."""
        function = self.loaded.get(function_id)
        if function is None:
            restore = self._runtime.restorer(None)
            function = self.loaded[function_id] = serialization.loads_function(pickled, restore)
        return function

    async def _put(self, function_id: bytes, pickled: bytes) -> None:
        from asyncray.proto import KvPutRequest

        control = await self._runtime.control.stub()
        await control.kv_put(KvPutRequest(_NAMESPACE, function_id, pickled, overwrite=False))
        del self._unexported[function_id]

    async def _get(self, function_id: bytes) -> bytes:
        from asyncray.proto import KvKey

        control = await self._runtime.control.stub()
        reply = await control.kv_get(KvKey(_NAMESPACE, function_id))
        if not reply.found:
            raise AsyncrayError(f"function {FunctionId(function_id)} is not in the function table")
        return reply.value


def _forget_failure(tasks: dict[bytes, asyncio.Task[Any]], function_id: bytes, task: asyncio.Task[Any]) -> None:
    """The control plane may have been out of reach: to be tried again."""
    if task.cancelled() or task.exception() is not None:
        del tasks[function_id]


class PickledFunction:
    """A function or class as workers get it. Keeps alive what it closes over, so it lives as long as its function.

    Raises SerializationError naming what cannot be pickled.
    """

    __slots__ = ("_closed_over", "function_id", "pickled")

    def __init__(self, function: Any, runtime: Runtime) -> None:
        self._closed_over: list[Any] = []
        self.pickled = serialization.dumps_function(function, self._closed_over)
        self.function_id = FunctionId.of(self.pickled)
        for ref in self._closed_over:
            ref.check(runtime)

    @property
    def is_free(self) -> bool:
        """It closes over no references, so it means the same in every cluster."""
        return not self._closed_over


class FunctionSource:
    """A function or class, pickled when it is first needed: once per runtime, whatever its options."""

    __slots__ = ("_pickled", "function")

    def __init__(self, function: Any) -> None:
        self.function = function
        self._pickled: tuple[Runtime, PickledFunction] | None = None

    def exported(self, runtime: Runtime) -> FunctionId:
        """Its id in the function table, where it is, or will be soon. Any thread."""
        known = self._pickled
        if known is None or known[0] is not runtime:
            pickled = known[1] if known is not None and known[1].is_free else PickledFunction(self.function, runtime)
            known = self._pickled = (runtime, pickled)
            runtime.call_now(runtime.functions.export, pickled.function_id, pickled.pickled)
        return known[1].function_id

    def __reduce__(self) -> Any:
        return FunctionSource, (self.function,)
