"""Runs tasks and actor calls: plain functions on the main thread, coroutines on the loop."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from asyncray import errors, messages, serialization
from asyncray.ids import return_id
from asyncray.messages import FAILED, INLINE, STORED
from asyncray.worker.arguments import unpack
from asyncray.worker.calls import Call, ReceivedTemplate
from asyncray.worker.context import TaskContext, current_task
from asyncray.worker.node_link import NodeLink
from asyncray.worker.peers import PeerLink
from asyncray.worker.reference import Execution, Reference
from asyncray.worker.store_client import Pin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asyncray.worker.runtime import Runtime

_log = logging.getLogger(__name__)

_T = TypeVar("_T")

_ASYNC_CONCURRENCY = 1000
"""Calls that an async actor runs at a time, unless `max_concurrency` says otherwise."""


class Executor:
    """What makes a runtime a worker. `run_main` is the main thread; all else belongs to the loop."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._queue: SimpleQueue[Call | Callable[[], None] | None] = SimpleQueue()
        self._arriving: deque[Call] = deque()
        """Calls in the order received, from the first that waits for a function or an argument on."""
        self._preparing: set[Call] = set()
        self._outbox: deque[Call] = deque()
        self._woken = False
        self._outstanding = 0
        self._running: Call | None = None
        self._watching = False
        self._blocked = 0
        self._async_task: TaskContext | None = None
        """The `async def` task that runs now, and for how many values it waits."""
        self._async_waits = 0
        self._deferred: dict[Execution, Call] = {}
        self._actor: Any = None
        self._actor_id: bytes | None = None
        self._concurrency = 1
        self._async_running = 0
        self._async_waiting: deque[Call] = deque()
        self._exiting = False
        self.exit_code = 0
        runtime.peers.handlers |= {messages.TEMPLATE: self._on_template, messages.TASK: self._on_task}
        runtime.nodes.handlers |= {
            messages.ASSIGN: self._on_assign,
            messages.CREATE_ACTOR: self._on_create_actor,
            messages.EXIT: self._on_exit,
        }

    # ------------------------------------------------------------- arrival (loop)

    def _on_template(
        self, link: PeerLink, number: int, function_id: bytes, name: str, num_returns: int, is_method: bool
    ) -> None:
        template = ReceivedTemplate(function_id, name, num_returns, is_method)
        if is_method:
            template.is_async = inspect.iscoroutinefunction(getattr(self._actor, name, None))
        else:
            template.function = self._runtime.functions.loaded.get(function_id)
            template.is_async = inspect.iscoroutinefunction(template.function)
        link.received_templates[number] = template

    def _on_task(
        self, link: PeerLink, task_id: bytes, number: int, payload: bytes, references: list[list[Any]] | None
    ) -> None:
        template = link.received_templates.get(number)
        if template is None:
            raise errors.ProtocolError(f"a task refers to template {number}, which was never told")
        call = Call(link, task_id, template, payload, references)
        if not self._arriving and (template.function is not None or template.is_method) and self._pin_known(call):
            self._start(call)
            return
        self._arriving.append(call)
        self._preparing.add(call)
        self._runtime.spawn(self._prepare(call), name=f"prepare {template.name}")

    def _pin_known(self, call: Call) -> bool:
        """Whether every stored argument could be pinned without asking the node."""
        if call.references is None:
            return True
        pins: dict[bytes, Pin] = {}
        for _, object_id, state, _ in call.references:
            if state == STORED and object_id not in pins:
                pin = self._runtime.store.pinned(object_id)
                if pin is None:
                    self._unpin(pins)
                    return False
                pins[object_id] = pin
        call.pins = pins or None
        return True

    def _unpin(self, pins: dict[bytes, Pin] | None) -> None:
        for pin in (pins or {}).values():
            self._runtime.store.unhold(pin)

    async def _prepare(self, call: Call) -> None:
        """Fetches the function and pins stored arguments; then the call takes its turn."""
        template = call.template
        try:
            if template.function is None and not template.is_method and template.pickled is None:
                template.pickled = await asyncio.shield(self._runtime.functions.fetch(template.function_id))
            call.pins = await self._pin(call.references)
        except Exception as error:
            self._arriving.remove(call)
            self._preparing.discard(call)
            self._fail(call, error)
            self._reply(call)
            return
        self._preparing.discard(call)
        while self._arriving and self._arriving[0] not in self._preparing:
            self._start(self._arriving.popleft())

    async def _pin(self, references: list[list[Any]] | None) -> dict[bytes, Pin] | None:
        pins: dict[bytes, Pin] = {}
        try:
            for _, object_id, state, value in references or ():
                if state == STORED and object_id not in pins:
                    pins[object_id] = await self._runtime.objects.pin_location(object_id, value[0], value[1])
        except BaseException:
            self._unpin(pins)
            raise
        return pins or None

    def _start(self, call: Call) -> None:
        if self._actor_id is not None and call.template.is_async:
            if self._async_running < self._concurrency:
                self._start_async(call)
            else:
                self._async_waiting.append(call)
            return
        self._queue.put(call)
        self._outstanding += 1
        if self._outstanding > 1 and not self._watching and self._actor_id is None:
            self._watching = True
            self._runtime.loop.call_later(self._runtime.config.handback_after, self._watch, self._running)

    # ---------------------------------------------------------- the main thread

    def run_main(self) -> None:
        """Runs plain code, one call after the other, until the worker ends."""
        while (item := self._queue.get()) is not None:
            if type(item) is not Call:
                item()  # type: ignore[operator]
                continue
            self._running = item
            self._run(item)
            self._outbox.append(item)
            if not self._woken:
                self._woken = True
                self._runtime.loop.call_soon_threadsafe(self._drain)
            del item

    def _run(self, call: Call) -> None:
        template = call.template
        begun = time.perf_counter()
        token = current_task.set(self._context(call))
        try:
            function = self._function(template)
            args, kwargs = self._arguments(call)
            if template.is_async:
                coroutine = self._run_coroutine(function(*args, **kwargs))
                value = asyncio.run_coroutine_threadsafe(coroutine, self._runtime.loop).result()
            else:
                value = function(*args, **kwargs)
            del args, kwargs
            self._package(call, value, self._store_blocking)
            del value
        except SystemExit as request:
            self._end_process(request)
        except BaseException as error:
            self._fail(call, error)
        finally:
            current_task.reset(token)
        call.microseconds = int((time.perf_counter() - begun) * 1e6)

    def _function(self, template: ReceivedTemplate) -> Callable[..., Any]:
        if template.is_method:
            return getattr(self._actor, template.name)  # type: ignore[no-any-return]
        if template.function is None:
            assert template.pickled is not None
            template.function = self._runtime.functions.load(template.function_id, template.pickled)
            template.is_async = inspect.iscoroutinefunction(template.function)
        return template.function  # type: ignore[no-any-return]

    def _context(self, call: Call) -> TaskContext:
        job_id = self._runtime.job_id
        assert job_id is not None
        return TaskContext(call.task_id, job_id, call.template.name, self._actor_id)

    def _arguments(self, call: Call) -> tuple[tuple[Any, ...], dict[str, Any]]:
        def restore(object_id: bytes, owner: messages.Address) -> Any:
            if call.execution is None:
                call.execution = Execution(call.link.process_id)
            return self._runtime.restore(object_id, owner, call.execution)

        values: list[tuple[int | str, Any]] = []
        for place, object_id, state, value in call.references or ():
            if state == INLINE:
                values.append((place, serialization.deserialize(value, restore=restore)))
            else:
                assert call.pins is not None
                hold = call.pins[object_id].view.acquire()
                values.append((place, serialization.deserialize(hold.buffer, keepalive=hold, restore=restore)))
        return unpack(call.payload, values, restore)

    def _end_process(self, request: SystemExit) -> None:
        """`sys.exit()` in a task ends its worker, as it would end any program."""
        code = request.code
        self.exit_code = code if isinstance(code, int) else 0 if code is None else 1
        self._runtime.log_flush()
        os._exit(self.exit_code)

    # -------------------------------------------------------------------- results

    def _package(self, call: Call, value: Any, store: Callable[[bytes, Any, bytes], None]) -> None:
        """Fills in `call.returns`. `store` puts a large value into the node's store."""
        count = call.template.num_returns
        if count == 1:
            if type(value) in serialization.ATOMIC:
                data = serialization.dumps(value)
                if len(data) <= self._runtime.config.inline_limit:
                    call.returns = [data]
                    return
            values = [value]
        elif count == 0:
            values = []
        else:
            values = list(value)
            if len(values) != count:
                raise ValueError(f"{call.template.name}() has num_returns={count}, but returned {len(values)} values")
        call.returns = [self._slot(call, index, value, store) for index, value in enumerate(values)]

    def _slot(self, call: Call, index: int, value: Any, store: Callable[[bytes, Any, bytes], None]) -> Any:
        serialized = serialization.serialize(value)
        contained = None
        if serialized.references:
            call.returned = [*(call.returned or ()), *serialized.references]
            contained = [
                [ref._reference.id, ref._reference.owner or self._runtime.address] for ref in serialized.references
            ]
        if serialized.size <= self._runtime.config.inline_limit:
            data = serialized.to_bytes()
            return data if contained is None else [INLINE, data, contained]
        store(return_id(call.task_id, index), serialized, call.link.process_id)
        node = self._runtime.nodes.own
        assert node is not None
        return [STORED, [node.node_id, node.address, serialized.size], contained]

    def _store_blocking(self, object_id: bytes, serialized: Any, owner: bytes) -> None:
        store = self._runtime.store
        block = asyncio.run_coroutine_threadsafe(store.create(object_id, serialized.size), self._runtime.loop).result()
        serialized.write_into(block)
        self._runtime.call_soon(store.seal, object_id, owner)

    def _fail(self, call: Call, error: BaseException) -> None:
        call.status = FAILED
        call.returned = None
        failure = errors.capture(error, call.template.name, self._runtime.pid, self._runtime.node_name)
        call.returns = [serialization.dumps_error(failure)]

    def _drain(self) -> None:
        self._woken = False
        self._runtime.drain_dropped()
        outbox = self._outbox
        while outbox:
            call = outbox.popleft()
            self._outstanding -= 1
            self._reply(call)

    def _reply(self, call: Call) -> None:
        runtime = self._runtime
        if call.pins:
            self._unpin(call.pins)
            call.pins = None
        if call.returned or call.execution is not None:
            with runtime.ownership_lock:
                if call.returned:
                    inners = [ref._reference for ref in call.returned]
                    runtime.ownership.hold_result(call.task_id, call.link.process_id, inners)
                    call.returned = None
                deferred = call.execution is not None and not runtime.ownership.reply_ready(call.execution)
            runtime.schedule_turn()
            if deferred:
                assert call.execution is not None
                self._deferred[call.execution] = call
                return
        call.link.send((messages.RESULT, call.task_id, call.status, call.returns, call.microseconds))
        if self._exiting:
            self._finish_exit()

    def reply_ready(self, execution: Execution) -> None:
        """The borrows that a reply waited for are acknowledged."""
        call = self._deferred.pop(execution, None)
        if call is not None:
            call.execution = None
            self._reply(call)

    def forward_output(self, stream: str, lines: str) -> None:
        """Has the driver show what user code printed. Any thread."""
        task = current_task.get()
        self._runtime.call_soon(self._send_output, task.name if task else "worker", stream, lines)

    def _send_output(self, name: str, stream: str, lines: str) -> None:
        node = self._runtime.nodes.own
        if node is not None:
            node.send(messages.LOG, self._runtime.pid, name, stream, lines)

    # ------------------------------------------------------------- blocked tasks

    @contextmanager
    def blocked(self) -> Iterator[None]:
        """The calling task waits for an object: what it holds up goes elsewhere, and its CPU is free."""
        self._runtime.call_soon(self._block)
        try:
            yield
        finally:
            self._runtime.call_soon(self._unblock)

    def _block(self) -> None:
        self._blocked += 1
        if self._blocked == 1 and self._runtime.nodes.own is not None:
            self._hand_back()
            self._runtime.nodes.own.send(messages.BLOCKED)

    def _unblock(self) -> None:
        self._blocked -= 1
        if self._blocked == 0 and self._runtime.nodes.own is not None:
            self._runtime.nodes.own.send(messages.UNBLOCKED)

    def waits_for(self, reference: Reference) -> None:
        """The current coroutine awaits a value that is not here: like `blocked`, if it is a task's. Loop thread only."""
        task = current_task.get()
        if task is None or task.actor_id is not None or task is not self._async_task:
            return
        self._async_waits += 1
        self._block()
        self._runtime.objects.watch(reference, lambda _: self._resume(task))

    def _resume(self, task: TaskContext) -> None:
        if task is self._async_task and self._async_waits:
            self._async_waits -= 1
            self._unblock()

    async def _run_coroutine(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """Runs an `async def` task, which has the worker to itself."""
        self._async_task = current_task.get()
        try:
            return await coroutine
        finally:
            self._async_task = None
            while self._async_waits:  # for values that it has given up waiting for
                self._async_waits -= 1
                self._unblock()

    def _watch(self, seen: Call | None) -> None:
        """Tasks that wait behind one that takes long are better off elsewhere."""
        self._watching = False
        if self._outstanding <= 1:
            return
        if self._running is seen:
            self._hand_back()
        else:
            self._watching = True
            self._runtime.loop.call_later(self._runtime.config.handback_after, self._watch, self._running)

    def _hand_back(self) -> None:
        if self._actor_id is not None:
            return
        returned: dict[PeerLink, list[bytes]] = {}
        try:
            while True:
                item = self._queue.get_nowait()
                if type(item) is not Call:
                    self._queue.put(item)
                    break
                self._outstanding -= 1
                returned.setdefault(item.link, []).append(item.task_id)
                self._unpin(item.pins)
        except Empty:
            pass
        for link, task_ids in returned.items():
            link.send((messages.HANDBACK, task_ids))

    # --------------------------------------------------------------------- actors

    def _on_assign(self, node: NodeLink, job_id: bytes, job: dict[str, Any], environment: dict[str, str]) -> None:
        self._runtime.assign(job_id, job)
        os.environ.update(environment)

    def _on_create_actor(
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
        template = ReceivedTemplate(class_id, f"{class_name}.__init__", 1, is_method=False)
        call = Call(PeerLink([owner, b"", "", ""]), creation_task_id, template, payload, references)
        self._actor_id = actor_id
        self._runtime.spawn(self._create_actor(call, max_concurrency), name=f"create {class_name}")

    async def _create_actor(self, call: Call, max_concurrency: int) -> None:
        try:
            call.template.pickled = await self._runtime.functions.fetch(call.template.function_id)
            call.pins = await self._pin(call.references)
        except Exception as error:
            self._report_created(call, error)
            return
        self._queue.put(lambda: self._construct(call, max_concurrency))

    def _construct(self, call: Call, max_concurrency: int) -> None:
        token = current_task.set(self._context(call))
        error: BaseException | None = None
        try:
            cls = self._function(call.template)
            args, kwargs = self._arguments(call)
            self._actor = cls(*args, **kwargs)
            del args, kwargs
            is_async = any(inspect.iscoroutinefunction(member) for _, member in inspect.getmembers(cls))
            self._concurrency = max_concurrency or (_ASYNC_CONCURRENCY if is_async else 1)
            for number in range(1, 1 if is_async else self._concurrency):
                threading.Thread(target=self.run_main, name=f"actor thread {number}", daemon=True).start()
        except SystemExit as request:
            self._end_process(request)
        except BaseException as raised:
            error = raised
        finally:
            current_task.reset(token)
        self._runtime.call_soon(self._report_created, call, error)

    def _report_created(self, call: Call, error: BaseException | None) -> None:
        self._unpin(call.pins)
        node = self._runtime.nodes.own
        assert node is not None
        value = None
        if error is not None:
            cause = errors.capture(error, call.template.name, self._runtime.pid, self._runtime.node_name)
            failed = errors.ActorDiedError(f"the constructor {call.template.name} raised", cause=cause)
            value = serialization.dumps_error(failed)
        node.send(messages.ACTOR_CREATED, self._actor_id, value)

    def _start_async(self, call: Call) -> None:
        self._async_running += 1
        self._runtime.spawn(self._run_async(call), name=call.template.name)

    async def _run_async(self, call: Call) -> None:
        begun = time.perf_counter()
        current_task.set(self._context(call))
        try:
            args, kwargs = self._arguments(call)
            value = await getattr(self._actor, call.template.name)(*args, **kwargs)
            del args, kwargs
            large: list[tuple[bytes, Any, bytes]] = []
            self._package(call, value, lambda *stored: large.append(stored))
            del value
            for stored in large:
                await self._runtime.store.put(*stored)
        except (SystemExit, KeyboardInterrupt) as request:
            self._end_process(request if isinstance(request, SystemExit) else SystemExit(1))
        except BaseException as error:
            self._fail(call, error)
        call.microseconds = int((time.perf_counter() - begun) * 1e6)
        self._async_running -= 1
        self._reply(call)
        if self._async_waiting and self._async_running < self._concurrency:
            self._start_async(self._async_waiting.popleft())

    # ----------------------------------------------------------------------- exit

    def _on_exit(self, node: NodeLink, graceful: bool) -> None:
        self._exiting = True
        self._finish_exit()

    def _finish_exit(self) -> None:
        """Ends the worker once everything received has been answered."""
        if self._outstanding or self._async_running or self._async_waiting or self._arriving or self._deferred:
            return
        self._runtime.request_stop()

    def stop_main(self) -> None:
        """Lets `run_main` return once the running call is done."""
        for _ in range(self._concurrency):
            self._queue.put(None)
