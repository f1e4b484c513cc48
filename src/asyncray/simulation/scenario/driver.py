"""A driver whose program is the scenario: it does what it is told, and says what comes of it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context
from typing import Any

import asyncray
import asyncray.util
from asyncray.api.actor import ActorHandle
from asyncray.api.connection import require_runtime
from asyncray.errors import RemoteTraceback
from asyncray.ids import ActorId
from asyncray.simulation.cluster import SimCluster
from asyncray.simulation.node import SimNode
from asyncray.simulation.process import Process
from asyncray.simulation.scenario import programs
from asyncray.simulation.scenario.errors import ScenarioError
from asyncray.simulation.scenario.message_text import size
from asyncray.simulation.scenario.names import Names
from asyncray.worker.object_ref import ObjectRef

_LONGEST_TEXT = 200
_MANY_BYTES = 1024


class Driver:
    """References and handles by the names that the scenario gives them. All of it runs as the driver's process."""

    def __init__(self, cluster: SimCluster, names: Names, node: SimNode | None) -> None:
        self.held: dict[str, Any] = {}
        """`ObjectRef`s and `ActorHandle`s."""
        self._cluster = cluster
        self._names = names
        loop = asyncio.get_running_loop()
        self._joined: asyncio.Future[None] = loop.create_future()
        self._left: asyncio.Future[None] = loop.create_future()
        self._remotes: dict[tuple[str, tuple[tuple[str, Any], ...]], Any] = {}
        self.ended = cluster.driver(self._program(), node)
        self.process: Process = cluster.world.processes[-1]
        self.ended.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # nobody else asks

    @property
    def name(self) -> str:
        return self.process.name

    async def joined(self) -> None:
        """Returns when it has joined the cluster, or cannot."""
        await asyncio.wait((self._joined, self.ended), return_when=asyncio.FIRST_COMPLETED)
        if not self._joined.done():
            self._note(f"cannot join: {self.ended.exception()}")

    def leave(self) -> None:
        """Its program comes to its end."""
        self.process.call(self._left.set_result, None)

    # ---- what returns at once

    def submit(self, targets: Sequence[str], function: str, arguments: Arguments, options: dict[str, Any]) -> None:
        """`a = function(...)`."""
        if len(targets) != 1:
            options = {**options, "num_returns": len(targets)}
        self._bind(targets, lambda: self._remote(function, options), arguments)

    def create(self, target: str, kind: str, arguments: Arguments, options: dict[str, Any]) -> None:
        """`c = Class(...)`."""
        self._bind([target], lambda: self._remote(kind, options), arguments)

    def call(self, targets: Sequence[str], actor: str, method: str, arguments: Arguments) -> None:
        """`a = actor.method(...)`."""
        found = getattr(self.handle(actor), method, None)
        if found is None:
            raise ScenarioError(f"{actor} has no method {method!r}")
        several = found.options(num_returns=len(targets)) if len(targets) != 1 else found
        self._bind(targets, lambda: several, arguments)

    def drop(self, name: str) -> None:
        """Lets go of a reference or a handle."""
        self.value(name)
        self.process.call(self.held.pop, name)

    def cancel(self, name: str) -> None:
        ref = self.reference(name)
        self.process.call(ref.cancel)

    # ---- what takes its time

    async def put(self, name: str, make: Callable[[], Any]) -> None:
        async def put() -> None:
            puts = require_runtime().puts
            ref, serialized = puts.begin(make())
            self._keep(name, ref)  # before the messages that mention it
            try:
                if serialized is not None:
                    await puts.finish(ref, serialized)
            except Exception:
                del self.held[name]
                raise

        await self._does(put(), f"put {name}")

    async def free(self, names: Sequence[str]) -> None:
        await self._does(asyncray.util.free([self.reference(name) for name in names]), f"free {', '.join(names)}")

    async def get(self, name: str, timeout: float | None) -> None:
        """Says the value, or the error."""
        await self._does(self._get(name, self.reference(name), timeout), f"get {name}")

    async def wait(self, names: Sequence[str], count: int, timeout: float) -> None:
        """Says which have a value."""

        async def wait() -> None:
            refs = {name: self.reference(name) for name in names}
            ready, _ = await asyncray.wait(list(refs.values()), num_returns=count, timeout=timeout)
            shown = ", ".join(name for name, ref in refs.items() if ref in ready)
            self._note(f"ready: {shown or 'none'}")

        await self._does(wait(), f"wait for {', '.join(names)}")

    def watch(self, name: str) -> None:
        """The same, whenever it comes."""
        self.process.spawn(self._get(name, self.reference(name), None), f"watch {name}")

    async def take(self, name: str, source: str, index: int) -> None:
        """Keeps a reference that is in the list of which `source` is the reference."""

        async def take() -> None:
            self._keep(name, (await asyncray.get(self.reference(source)))[index])

        await self._does(take(), f"take {name}")

    async def kill(self, name: str) -> None:
        await self._does(asyncray.kill(self.handle(name)), f"kill {name}")

    # ---- names

    def value(self, name: str) -> Any:
        """Raises ScenarioError for a name that it does not hold."""
        if name not in self.held:
            raise ScenarioError(f"{self.name} holds no {name}; it holds {', '.join(self.held) or 'nothing'}")
        return self.held[name]

    def reference(self, name: str) -> ObjectRef:
        value = self.value(name)
        if not isinstance(value, ObjectRef):
            raise ScenarioError(f"{name} is an actor, not a reference")
        return value

    def handle(self, name: str) -> ActorHandle:
        value = self.value(name)
        if not isinstance(value, ActorHandle):
            raise ScenarioError(f"{name} is a reference, not an actor")
        return value

    # ----

    async def _program(self) -> None:
        async with asyncray.init():
            self._joined.set_result(None)
            await self._left
            self.held.clear()
            self._remotes.clear()

    def _remote(self, name: str, options: dict[str, Any]) -> Any:
        """The remote form of a function or class of `programs.py`."""
        target = getattr(programs, name, None)
        if inspect.getmodule(target) is not programs:
            known = sorted(key for key, value in vars(programs).items() if inspect.getmodule(value) is programs)
            raise ScenarioError(f"there is no {name} in programs.py; there are {', '.join(known)}")
        key = (name, tuple(sorted((option, repr(value)) for option, value in options.items())))
        if key not in self._remotes:
            self._remotes[key] = asyncray.remote(**options)(target) if options else asyncray.remote(target)
        return self._remotes[key]

    def _bind(self, targets: Sequence[str], find: Callable[[], Any], arguments: Arguments) -> None:
        """Calls what it finds, and keeps what that returns."""

        def call() -> None:
            args, kwargs = arguments(self.value)
            try:
                returned = find().remote(*args, **kwargs)
            except ScenarioError:
                raise
            except Exception as error:
                self._raised(", ".join(targets), error)
                return
            for target, value in zip(targets, returned if isinstance(returned, list) else [returned], strict=True):
                self._keep(target, value)

        self.process.call(call)

    def _keep(self, name: str, value: Any) -> None:
        self.held[name] = value
        if isinstance(value, ActorHandle):
            self._names.give(ActorId(value._actor_id), name)
            self._names.give(value._lifetime.id, name)
        elif isinstance(value, ObjectRef):
            self._names.give(value.id, name)
            if self._is_own_task(value):
                self._names.give(value.task_id(), name)
        else:
            raise ScenarioError(f"{name} would be {value!r}, which is neither a reference nor an actor")

    def _is_own_task(self, ref: ObjectRef) -> bool:
        return ref._reference.owner is None and int.from_bytes(ref.id[16:], "big") == 0

    async def _get(self, name: str, ref: ObjectRef, timeout: float | None) -> None:
        try:
            value = await asyncray.get(ref, timeout=timeout)
        except asyncio.CancelledError:
            if not ref.cancelled():
                raise
            self._note(f"{name} was cancelled")
        except Exception as error:
            self._raised(name, error)
        else:
            self._note(f"{name} = {self._shown(value)}")

    async def _does(self, coroutine: Coroutine[Any, Any, None], what: str) -> None:
        """Waits for something that the driver does; for its death, too."""
        task = self.process.spawn(coroutine, what)
        await asyncio.wait((task, self.ended), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            return
        error = None if task.cancelled() else task.exception()
        if isinstance(error, ScenarioError):
            raise error
        if error is not None:
            self._raised(what, error)

    def _raised(self, what: str, error: BaseException) -> None:
        cause = error.__cause__
        why = "" if cause is None or isinstance(cause, RemoteTraceback) else f", caused by {_title(cause)}"
        self._note(f"{what} raises {_title(error)}{why}")

    def _note(self, what: str) -> None:
        Context().run(self._cluster.world.transcript.note, self.process, what)

    def _shown(self, value: Any) -> str:
        if isinstance(value, ObjectRef):
            return self._names.object(value.id)
        if isinstance(value, list):
            return f"[{', '.join(map(self._shown, value))}]"
        if isinstance(value, (bytes, memoryview)) and len(value) > _MANY_BYTES:
            return f"{size(len(value))} of bytes"
        text = repr(value)
        return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}..."


Arguments = Callable[[Callable[[str], Any]], tuple[list[Any], dict[str, Any]]]
"""`arguments(value_of)`: positional and named ones, with the values of the names in them."""


def _title(error: BaseException) -> str:
    """Its type and the first line of its text."""
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
