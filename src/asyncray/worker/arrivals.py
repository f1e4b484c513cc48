"""Calls that have arrived at a worker, until they can run: their function is here, their arguments are pinned."""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from asyncray import messages
from asyncray.errors import ProtocolError
from asyncray.ids import store_key
from asyncray.messages import INLINE, STORED, Address
from asyncray.worker.calls import Call, ReceivedTemplate
from asyncray.worker.location import Location
from asyncray.worker.object_ref import ObjectRef
from asyncray.worker.objects import PENDING
from asyncray.worker.peers import PeerLink
from asyncray.worker.reference import Execution
from asyncray.worker.store_client import Pin

if TYPE_CHECKING:
    from asyncray.worker.hosted_actor import HostedActor
    from asyncray.worker.runtime import Runtime

_PAUSE: Final = 0.25
"""Seconds after which a call that has let go of its arguments asks for them again."""


class Arrivals:
    """Passes calls on in the order in which they came. Loop thread only."""

    def __init__(
        self,
        runtime: Runtime,
        start: Callable[[Call], None],
        reject: Callable[[Call, Exception], None],
        actor: HostedActor,
    ) -> None:
        """`start` gets each call that can run, `reject` one that cannot."""
        self._runtime = runtime
        self._start = start
        self._reject = reject
        self._actor = actor
        self._waiting: deque[Call] | None = None
        """From the first call that waits for something on. None while there is none: an empty deque takes 760 bytes."""
        self._preparing: set[Call] = set()
        self._fetching: dict[Call, list[asyncio.Task[Pin]]] = {}
        """The arguments that calls wait for, and those that they have already."""
        runtime.peers.handlers |= {messages.TEMPLATE: self._on_template, messages.TASK: self._on_task}

    def __len__(self) -> int:
        return len(self._waiting or ())

    async def prepare(self, call: Call) -> None:
        """Fetches the function and pins stored arguments. Raises what hinders it."""
        template = call.template
        if template.function is None and not template.is_method and template.pickled is None:
            template.pickled = await asyncio.shield(self._runtime.functions.fetch(template.function_id))
        if call.references is not None:
            await self._fetch(call, call.references)

    def unpin(self, call: Call) -> None:
        """The call needs its arguments no more."""
        if call.pins is not None:
            self._unpin(call.pins)
            call.pins = None
        call.fetched = None

    async def _fetch(self, call: Call, references: list[list[Any]]) -> None:
        """Pins what is stored, and asks for what was left out. Raises what hinders it."""
        stored: dict[bytes, asyncio.Task[Pin]] = {}
        fetched: dict[bytes, ObjectRef] = {}
        for _, object_id, state, value, *owner in references:
            if state == STORED and object_id not in stored:
                stored[object_id] = self._runtime.spawn(self._pin(object_id, value, owner[0]), name="fetch argument")
            elif state == PENDING and object_id not in fetched:
                if call.execution is None:
                    call.execution = Execution(call.link.process_id)
                fetched[object_id] = self._runtime.restore(object_id, owner[0], call.execution)
        pins: dict[bytes, Pin] = {}
        self._fetching[call] = list(stored.values())
        try:
            for object_id, task in stored.items():
                pins[object_id] = await task
            await self._runtime.objects.all_local([ref._reference for ref in fetched.values()])
        except BaseException:
            self._unpin(pins)
            for object_id, task in stored.items():
                done = object_id not in pins and not task.cancel() and not task.cancelled()
                if done and task.exception() is None:
                    self._runtime.store.unhold(task.result())
            raise
        finally:
            del self._fetching[call]
        call.pins = pins or None
        call.fetched = fetched or None

    async def _pin(self, object_id: bytes, value: list[Any], owner: Address) -> Pin:
        location = Location(*value)
        location.priority = messages.FOR_ARGUMENTS
        return await self._runtime.reader.pin(
            object_id, location, None if owner[0] == self._runtime.process_id else owner
        )

    def let_go(self, kept: int) -> None:
        """Memory is short: of the calls that wait, all but the first `kept` give back the arguments that they have.

        They ask again a little later. Else each of several might wait for ever for what the others have.
        """
        for call in list(self._waiting or ())[kept:]:
            if call not in self._preparing:
                if call.pins is not None:
                    self.unpin(call)
                    self._begin_to_prepare(call)
                continue
            for task in self._fetching.get(call, ()):
                task.cancel()

    def _on_template(
        self, link: PeerLink, number: int, function_id: bytes, name: str, num_returns: int, is_method: bool
    ) -> None:
        template = ReceivedTemplate(function_id, name, num_returns, is_method)
        if is_method:
            template.is_async = inspect.iscoroutinefunction(self._actor.method(name))
            template.title = self._actor.title(name)
        else:
            template.function = self._runtime.functions.loaded.get(function_id)
            template.is_async = inspect.iscoroutinefunction(template.function)
        if link.received_templates is None:
            link.received_templates = {}
        link.received_templates[number] = template

    def _on_task(
        self, link: PeerLink, task_id: bytes, number: int, payload: bytes, references: list[list[Any]] | None
    ) -> None:
        template = None if link.received_templates is None else link.received_templates.get(number)
        if template is None:
            raise ProtocolError(f"a task refers to template {number}, which was never told")
        call = Call(link, task_id, template, payload, references)
        if not self._waiting and (template.function is not None or template.is_method) and self._pin_known(call):
            self._start(call)
            return
        if self._waiting is None:
            self._waiting = deque()
        self._waiting.append(call)
        self._begin_to_prepare(call)

    def _begin_to_prepare(self, call: Call) -> None:
        self._preparing.add(call)
        self._runtime.spawn(self._prepare_in_turn(call), name=f"prepare {call.template.name}")

    async def _prepare_in_turn(self, call: Call) -> None:
        try:
            await self._prepare_patiently(call)
        except Exception as error:
            assert self._waiting is not None
            self._waiting.remove(call)
            self._preparing.discard(call)
            self._reject(call, error)
        else:
            self._preparing.discard(call)
        while self._waiting and self._waiting[0] not in self._preparing:
            self._start(self._waiting.popleft())
        if not self._waiting:
            self._waiting = None

    async def _prepare_patiently(self, call: Call) -> None:
        """`prepare`, again and again while the call has to let go of its arguments."""
        while True:
            try:
                await self.prepare(call)
                return
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
            await asyncio.sleep(_PAUSE)

    def _pin_known(self, call: Call) -> bool:
        """Whether every stored argument could be pinned without asking the node."""
        if call.references is None:
            return True
        pins: dict[bytes, Pin] = {}
        for entry in call.references:
            object_id, state = entry[1], entry[2]
            if state != INLINE and object_id not in pins:
                pin = self._runtime.store.pinned(store_key(object_id, entry[3][3])) if state == STORED else None
                if pin is None:
                    self._unpin(pins)
                    return False
                pins[object_id] = pin
        call.pins = pins or None
        return True

    def _unpin(self, pins: dict[bytes, Pin]) -> None:
        for pin in pins.values():
            self._runtime.store.unhold(pin)
