"""Functions and classes on their way to workers: pickled once, kept in the control plane's function table."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from asyncray import serialization
from asyncray.errors import AsyncrayError
from asyncray.ids import FunctionId
from asyncray.proto import KvKey, KvPutRequest

if TYPE_CHECKING:
    from asyncray.worker.runtime import Runtime

_NAMESPACE = "functions"


class FunctionTable:
    """Exports by hash, and fetches with a cache."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._exported: dict[bytes, asyncio.Task[None]] = {}
        self._pickled: dict[bytes, asyncio.Task[bytes]] = {}
        self.loaded: dict[bytes, Any] = {}
        """Functions and classes that this process has unpickled, by id."""

    def export(self, function_id: bytes, pickled: bytes) -> asyncio.Task[None]:
        """Puts the function into the table; the task ends when workers can fetch it. Loop thread only."""
        task = self._exported.get(function_id)
        if task is None:
            task = self._exported[function_id] = self._runtime.spawn(
                self._put(function_id, pickled), name=f"export {function_id.hex()[:8]}"
            )
        return task

    def exported(self, function_id: bytes) -> asyncio.Task[None]:
        """The export that was begun for a function of this process."""
        return self._exported[function_id]

    def fetch(self, function_id: bytes) -> asyncio.Task[bytes]:
        """The pickled function. Loop thread only."""
        task = self._pickled.get(function_id)
        if task is None:
            task = self._pickled[function_id] = self._runtime.spawn(
                self._get(function_id), name=f"fetch {function_id.hex()[:8]}"
            )
        return task

    def load(self, function_id: bytes, pickled: bytes) -> Any:
        """Unpickles, which may import the user's modules: on the thread that is to run it."""
        function = self.loaded.get(function_id)
        if function is None:
            restore = self._runtime.restorer(None)
            function = self.loaded[function_id] = serialization.loads_function(pickled, restore)
        return function

    async def _put(self, function_id: bytes, pickled: bytes) -> None:
        control = await self._runtime.control.stub()
        await control.kv_put(KvPutRequest(_NAMESPACE, function_id, pickled, overwrite=False))

    async def _get(self, function_id: bytes) -> bytes:
        control = await self._runtime.control.stub()
        reply = await control.kv_get(KvKey(_NAMESPACE, function_id))
        if not reply.found:
            raise AsyncrayError(f"function {FunctionId(function_id)} is not in the function table")
        return reply.value


class PickledFunction:
    """A function or class as workers get it. Keeps alive what it closes over, so it lives as long as its function.

    Raises SerializationError naming what cannot be pickled.
    """

    __slots__ = ("_closed_over", "function_id", "pickled")

    def __init__(self, function: Any) -> None:
        self._closed_over: list[Any] = []
        self.pickled = serialization.dumps_function(function, self._closed_over)
        self.function_id = FunctionId.of(self.pickled)
