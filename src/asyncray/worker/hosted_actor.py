"""The actor that lives in a worker: its instance, and how many of its calls run at a time."""

from __future__ import annotations

import inspect
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from asyncray import errors, messages, serialization
from asyncray.worker.calls import Call, ReceivedTemplate
from asyncray.worker.context import current_task
from asyncray.worker.node_link import NodeLink
from asyncray.worker.peers import PeerLink

if TYPE_CHECKING:
    from asyncray.worker.execution import Executor
    from asyncray.worker.runtime import Runtime

_ASYNC_CONCURRENCY: Final = 1000
"""Calls that an async actor runs at a time, unless `max_concurrency` says otherwise."""


class HostedActor:
    """Constructed on the main thread. Its plain methods run there, coroutines on the loop."""

    def __init__(self, runtime: Runtime, executor: Executor) -> None:
        self._runtime = runtime
        self._executor = executor
        self._instance: Any = None
        self.actor_id: bytes | None = None
        """None while the worker runs tasks."""
        self.concurrency = 1
        self._running = 0
        self._waiting: deque[Call] | None = None
        """Coroutine calls above the concurrency."""
        runtime.nodes.handlers[messages.CREATE_ACTOR] = self._on_create

    @property
    def busy(self) -> bool:
        """Whether coroutine calls have not been answered."""
        return bool(self._running or self._waiting)

    @property
    def exists(self) -> bool:
        """Whether it has been constructed, and not dropped since."""
        return self._instance is not None

    def drop(self) -> None:
        """No call will come any more: lets go of the instance, and of all that only it keeps. On the main thread."""
        self._instance = None

    def method(self, name: str) -> Any:
        """A bound method, or None. Any thread."""
        return getattr(self._instance, name, None)

    def title(self, name: str) -> str:
        """What people see of a method."""
        return f"{type(self._instance).__name__}.{name}"

    def start(self, call: Call) -> None:
        """Runs a coroutine call when there is room. Loop thread only."""
        if self._running < self.concurrency:
            self._running += 1
            self._runtime.spawn(self._run(call), name=call.template.name)
        else:
            if self._waiting is None:
                self._waiting = deque()
            self._waiting.append(call)

    async def _run(self, call: Call) -> None:
        executor = self._executor
        begun = self._runtime.platform.clock()
        current_task.set(executor.context(call))
        try:
            args, kwargs = executor.arguments(call)
            value = await self.method(call.template.name)(*args, **kwargs)
            del args, kwargs
            await executor.results.pack_on_loop(call, value)
            del value
        except SystemExit as request:
            executor.end_process(request)
        except BaseException as error:
            executor.results.fail(call, error)
        call.microseconds = int((self._runtime.platform.clock() - begun) * 1e6)
        self._running -= 1
        executor.reply(call)
        if self._waiting and self._running < self.concurrency:
            self.start(self._waiting.popleft())

    def _on_create(
        self,
        node: NodeLink,
        actor_id: bytes,
        class_id: bytes,
        class_name: str,
        creation_task_id: bytes,
        payload: bytes,
        references: list[list[Any]] | None,
        max_concurrency: int,
        owner: bytes,
    ) -> None:
        self.actor_id = self._runtime.root.actor_id = actor_id  # of threads that its methods start, too
        template = ReceivedTemplate(class_id, f"{class_name}.__init__", 1, is_method=False)
        # Nobody: the reply takes another way than the borrows, so it has to wait for all of them.
        owner_link = PeerLink([b"", b"", "", ""])
        call = Call(owner_link, creation_task_id, template, payload, references)
        self._runtime.spawn(self._create(call, max_concurrency), name=f"create {class_name}")

    async def _create(self, call: Call, max_concurrency: int) -> None:
        try:
            await self._executor.arrivals.prepare(call)
        except Exception as error:
            self._created(call, error)
            return
        self._executor.run_on_main(lambda: self._construct(call, max_concurrency))

    def _construct(self, call: Call, max_concurrency: int) -> None:
        executor = self._executor
        token = current_task.set(executor.context(call))
        try:
            cls = executor.function(call.template)
            args, kwargs = executor.arguments(call)
            self._instance = cls(*args, **kwargs)
            del args, kwargs
            is_async = any(inspect.iscoroutinefunction(member) for _, member in inspect.getmembers(cls))
            self.concurrency = max_concurrency or (_ASYNC_CONCURRENCY if is_async else 1)
            for number in range(1, 1 if is_async else self.concurrency):
                self._runtime.platform.threads.start(executor.run_main, f"actor thread {number}")
            self._runtime.call_soon(self._created, call, None)
        except SystemExit as request:
            executor.end_process(request)
        except BaseException as error:
            self._runtime.call_soon(self._created, call, error)
        finally:
            current_task.reset(token)

    def _created(self, call: Call, failure: BaseException | None) -> None:
        """Tells the node, once the owner knows of what the constructor has kept of its arguments."""
        self._executor.arrivals.unpin(call)
        value = None
        if failure is not None:
            cause = errors.capture(failure, call.template.name, self._runtime.pid, self._runtime.node_name)
            died = errors.ActorDiedError(f"the constructor {call.template.name} raised", cause=cause)
            value = serialization.dumps_error(died)
        node = self._runtime.nodes.own
        assert node is not None
        actor_id = self.actor_id
        self._executor.when_borrowed(call, lambda: node.send(messages.ACTOR_CREATED, actor_id, value))
