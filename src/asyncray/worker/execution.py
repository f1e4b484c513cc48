"""Runs tasks and actor calls: plain functions on the main thread, coroutines on the loop."""

from __future__ import annotations

import asyncio
import gc
import inspect
from collections import deque
from collections.abc import Callable, Coroutine
from queue import Empty
from typing import TYPE_CHECKING, Any, Final

from asyncray import messages, serialization
from asyncray.messages import INLINE
from asyncray.worker.accelerators import VisibleDevices
from asyncray.worker.arguments import unpack
from asyncray.worker.arrivals import Arrivals
from asyncray.worker.blocking import Blocking
from asyncray.worker.calls import Call, ReceivedTemplate
from asyncray.worker.context import TaskContext, current_task
from asyncray.worker.hosted_actor import HostedActor
from asyncray.worker.node_link import NodeLink
from asyncray.worker.objects import PENDING
from asyncray.worker.output import ForwardedOutput
from asyncray.worker.peers import PeerLink
from asyncray.worker.reference import Execution
from asyncray.worker.results import Results

if TYPE_CHECKING:
    from asyncray.worker.runtime import Runtime

_LOOKS_BEFORE_COLLECTION: Final = 5
"""How often an exiting worker looks whether it may end, until it has the garbage collected: that takes a while."""


class Executor:
    """What makes a runtime a worker. `run_main` is the main thread; what else may be called there says so."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._queue = runtime.platform.threads.queue()
        """Calls, functions, and None for the end."""
        self._outstanding = 0
        """Calls given to the main thread and not answered."""
        self._running: Call | None = None
        self._watching = False
        self._outbox: deque[Call] = deque()
        """Calls that the main thread has finished."""
        self._woken = False
        self._deferred: dict[Execution, Callable[[], None]] = {}
        """What happens once the borrows of a call are acknowledged."""
        self._output_link: PeerLink | None = None
        """To the driver, once something has been printed."""
        self._unsent = 0
        """Results that wait until what was printed before is on its way."""
        self.outputs: tuple[ForwardedOutput, ...] = ()
        """What user code prints to."""
        self._exiting = False
        self._exit_looks = 0
        self.exit_code = 0
        self.results = Results(runtime)
        self.actor = HostedActor(runtime, self)
        self.arrivals = Arrivals(runtime, self._start, self._reject, self.actor)
        self.blocking = Blocking(runtime, self._hand_back)
        self._instances: dict[str, list[int]] = {}
        self._devices = VisibleDevices(runtime.platform.environment)
        runtime.peers.handlers[messages.LEASED] = self._on_assign
        runtime.nodes.handlers |= {messages.ASSIGN: self._on_assign, messages.EXIT: self._on_exit}

    # ------------------------------------------------------------- arrival (loop)

    def _start(self, call: Call) -> None:
        if self.actor.actor_id is not None and call.template.is_async:
            self.actor.start(call)
            return
        self._queue.put(call)
        self._outstanding += 1
        if self.blocking.active and self._outstanding > 1:  # sent before the sender knew
            self._hand_back()
        elif self._outstanding > 1 and not self._watching and self.actor.actor_id is None:
            self._watch()

    def _reject(self, call: Call, error: Exception) -> None:
        self.results.fail(call, error)
        self.reply(call)

    def run_on_main(self, function: Callable[[], None]) -> None:
        """Has the main thread call it in its turn."""
        self._queue.put(function)

    # ----------------------------------------------------------- the main thread

    def run_main(self) -> None:
        """Runs plain code, one call after the other, until the worker ends."""
        while (item := self._queue.get()) is not None:
            if type(item) is not Call:
                item()
                continue
            self._running = item
            self._run(item)
            self._running = None
            self._outbox.append(item)
            if not self._woken:
                self._woken = True
                self._runtime.loop.call_soon_threadsafe(self._drain)
            del item
        self._queue.put(None)  # for the next thread of the actor, if it has another

    def _run(self, call: Call) -> None:
        clock = self._runtime.platform.clock
        template = call.template
        begun = clock()
        token = current_task.set(self.context(call))
        try:
            function = self.function(template)
            args, kwargs = self.arguments(call)
            if template.is_async:
                coroutine = _kept_from_loop(self.blocking.run(function(*args, **kwargs)))
                value, request = self._runtime.platform.threads.wait(coroutine, self._runtime.loop)
                if request is not None:
                    raise request
            else:
                value = function(*args, **kwargs)
            del args, kwargs
            self.results.pack(call, value)
            del value
        except SystemExit as request:
            self.end_process(request)
        except BaseException as error:
            self.results.fail(call, error)
        finally:
            for output in self.outputs:
                output.end_line()
            current_task.reset(token)
        call.microseconds = int((clock() - begun) * 1e6)

    def function(self, template: ReceivedTemplate) -> Callable[..., Any]:
        """The function, class or method of a template. Any thread."""
        if template.is_method:
            return self.actor.method(template.name)  # type: ignore[no-any-return]
        if template.function is None:
            assert template.pickled is not None
            template.function = self._runtime.functions.load(template.function_id, template.pickled)
            template.is_async = inspect.iscoroutinefunction(template.function)
        return template.function  # type: ignore[no-any-return]

    def context(self, call: Call) -> TaskContext:
        """What the code of a call can know of itself. Any thread."""
        job_id = self._runtime.job_id
        assert job_id is not None
        return TaskContext(call.task_id, job_id, call.template.title, self.actor.actor_id, self._instances)

    def arguments(self, call: Call) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """(args, kwargs). Any thread."""

        def restore(object_id: bytes, owner: messages.Address) -> Any:
            if call.execution is None:
                call.execution = Execution(call.link.process_id)
            return self._runtime.restore(object_id, owner, call.execution)

        values: list[tuple[int | str, Any]] = []
        for entry in call.references or ():
            place, object_id, state = entry[0], entry[1], entry[2]
            if state == INLINE:
                values.append((place, serialization.deserialize(entry[3], restore=restore)))
            elif state == PENDING:
                assert call.fetched is not None
                values.append((place, call.fetched[object_id].result()))
            else:
                assert call.pins is not None
                hold = call.pins[object_id].view.acquire()
                values.append((place, serialization.deserialize(hold.buffer, keepalive=hold, restore=restore)))
        return unpack(call.payload, values, restore)

    def end_process(self, request: SystemExit) -> None:
        """`sys.exit()` in a task ends its worker, as it would end any program."""
        code = request.code
        self.exit_code = code if isinstance(code, int) else 0 if code is None else 1
        self._runtime.log_flush()
        self._runtime.platform.exit(self.exit_code)

    # ------------------------------------------------------------- replies (loop)

    def _drain(self) -> None:
        self._woken = False
        try:
            self._runtime.run_inbox()  # what a call has done before its end takes effect before its result is sent
        finally:
            self._runtime.drain_dropped()
            outbox = self._outbox
            while outbox:
                call = outbox.popleft()
                self._outstanding -= 1
                self.reply(call)

    def reply(self, call: Call) -> None:
        """Sends the result, once the owners know of the references that the call has kept. Loop thread only."""
        if call.references is not None:
            self.arrivals.unpin(call)
        if call.returned:
            with self._runtime.ownership_lock:
                inners = [ref._reference for ref in call.returned]
                self._runtime.ownership.hold_result(call.task_id, call.link.process_id, inners)
            call.returned = None
        if call.execution is None:
            self._send_result(call)
        else:
            self.when_borrowed(call, lambda: self._send_result(call))

    def when_borrowed(self, call: Call, then: Callable[[], None]) -> None:
        """Calls `then` when every borrow that the call still holds is acknowledged. Loop thread only."""
        execution = call.execution
        if execution is not None:
            self._runtime.drain_dropped()
            with self._runtime.ownership_lock:
                ready = self._runtime.ownership.reply_ready(execution)
            self._runtime.schedule_turn()
            if not ready:
                self._deferred[execution] = then
                return
        then()

    def borrowed(self, execution: Execution) -> None:
        """The borrows that `when_borrowed` waits for are acknowledged."""
        then = self._deferred.pop(execution, None)
        if then is not None:
            then()

    def _send_result(self, call: Call) -> None:
        driver = self._output_link
        if driver is None or driver.stream is not None or driver.lost:
            self._send_result_now(call)
        else:  # what the call has printed must not come after its result, which may be the driver's last act
            self._unsent += 1
            driver.when_open(lambda: self._send_result_late(call))

    def _send_result_late(self, call: Call) -> None:
        self._unsent -= 1
        self._send_result_now(call)

    def _send_result_now(self, call: Call) -> None:
        call.link.send((messages.RESULT, call.task_id, call.status, call.returns, call.microseconds))
        call.over()

    def forward_output(self, stream: str, lines: str) -> None:
        """Has the driver show what user code printed. Any thread."""
        task = current_task.get()
        self._runtime.call_soon(self._send_output, task.name if task else "worker", stream, lines)

    def _send_output(self, name: str, stream: str, lines: str) -> None:
        driver = self._runtime.job.get("output")
        if driver is not None:
            link = self._output_link = self._runtime.peers.link(driver)
            link.send((messages.LOG, self._runtime.pid, name, stream, lines))

    # ------------------------------------------------------------ hand-back (loop)

    def _watch(self) -> None:
        """Looks after a while whether tasks wait behind one that takes long: they are better off elsewhere."""
        self._watching = True
        self._runtime.loop.call_later(self._runtime.config.handback_after, self._look, self._running)

    def _look(self, seen: Call | None) -> None:
        self._watching = False
        if self._outstanding > 1:
            if seen is not None and self._running is seen:
                self._hand_back()
            else:
                self._watch()

    def _hand_back(self) -> None:
        """Returns what has not begun to whoever sent it."""
        if self.actor.actor_id is not None:
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
                item.over()
                self.arrivals.unpin(item)
        except Empty:
            pass
        for link, task_ids in returned.items():
            link.send((messages.HANDBACK, task_ids))

    # ----------------------------------------------------------- life of the worker

    def _on_assign(
        self, link: NodeLink | PeerLink, job_id: bytes, job: dict[str, Any], instances: dict[str, list[int]]
    ) -> None:
        """Whose tasks, or whose actor, come next, and which GPUs they may use."""
        if self._runtime.job_id is None:
            self._runtime.assign(job_id, job)
        self._instances = instances
        self._devices.show(instances.get("GPU"))

    def _on_exit(self, node: NodeLink, graceful: bool) -> None:
        if not self._exiting:
            self._exiting = True
            self._finish_exit()

    def _finish_exit(self) -> None:
        """Ends the worker once everything received has been answered, and nobody borrows what it owns.

        The actor goes before: what it keeps may be all that keeps others from giving back what they have borrowed.
        """
        busy = self._outstanding or self.actor.busy or len(self.arrivals) or self._deferred or self._unsent
        if not busy and self.actor.exists:
            self.run_on_main(self.actor.drop)
            busy = 1
        if busy or self._runtime.ownership.lends():
            self._exit_looks += 1
            if self._exit_looks == _LOOKS_BEFORE_COLLECTION:
                self.run_on_main(_collect)  # what it keeps may be kept by a cycle
            self._runtime.loop.call_later(self._runtime.config.reference_sweep_interval, self._finish_exit)
        else:
            self._runtime.request_stop()

    def stop_main(self) -> None:
        """Lets `run_main` return once the running call is done."""
        self._queue.put(None)


async def _kept_from_loop(coroutine: Coroutine[Any, Any, Any]) -> tuple[Any, BaseException | None]:
    """The value, or what would end the loop if it left a task of it."""
    try:
        return await coroutine, None
    except (SystemExit, KeyboardInterrupt, asyncio.CancelledError) as request:
        return None, request


def _collect() -> None:
    gc.collect()
