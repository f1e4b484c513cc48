"""What a call returns or raises, on its way into the RESULT message."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from asyncray import errors, serialization
from asyncray.config import Config
from asyncray.ids import return_id, store_key
from asyncray.messages import FAILED, INLINE, STORED
from asyncray.portable_exception import type_name
from asyncray.serialization import Serialized
from asyncray.worker.advice import advise
from asyncray.worker.calls import Call

if TYPE_CHECKING:
    from asyncray.worker.runtime import Runtime

Store = Callable[[bytes, Serialized], None]
"""Puts `(key, value)` into the node's store."""


_NEVER_WORTH_STORING: Final = 4 * 1024
"""Bytes. To write and read an object of the store takes two round trips with the node, whatever its size."""


def to_be_stored(sizes: Sequence[int], config: Config) -> set[int]:
    """Which of the values that a call returns do not travel in its one message: the largest, by their indices."""
    if sum(sizes) <= config.frame_target and max(sizes, default=0) <= config.inline_limit:
        return set()
    stored = {index for index, size in enumerate(sizes) if size > config.inline_limit}
    total = sum(size for index, size in enumerate(sizes) if index not in stored)
    if total <= config.frame_target:
        return stored
    for index in sorted(range(len(sizes)), key=sizes.__getitem__, reverse=True):
        tiny = sizes[index] <= _NEVER_WORTH_STORING
        if total <= (config.frame_limit // 2 if tiny else config.frame_target):
            break
        if index not in stored:
            stored.add(index)
            total -= sizes[index]
    return stored


class Results:
    """Fills in `call.status` and `call.returns`."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def pack(self, call: Call, value: Any) -> None:
        """For the main thread, which may block while a large value finds its place in the store."""
        self._pack(call, value, self._store)

    async def pack_on_loop(self, call: Call, value: Any) -> None:
        """For coroutines. Large values are copied at once: other coroutines could change them during the wait."""
        large: list[tuple[bytes, Serialized]] = []

        def keep(key: bytes, serialized: Serialized) -> None:
            large.append((key, Serialized.of_bytes(serialized.to_bytes())))

        self._pack(call, value, keep)
        for key, serialized in large:
            await self._runtime.store.put(key, serialized)

    def fail(self, call: Call, error: BaseException) -> None:
        """The call has raised, or could not run. What it had stored already is freed."""
        if call.stored:
            self._runtime.call_soon(self._runtime.store.free, call.stored)
            call.stored = []
        call.status = FAILED
        call.returned = None
        advise(error)
        failure = errors.capture(error, call.template.title, self._runtime.pid, self._runtime.node_name)
        value = serialization.dumps_error(failure)
        if len(value) > self._runtime.config.frame_target:  # it has to fit a message
            kind = type_name(type(error))
            short = errors.AsyncrayError(f"{kind} was raised, but takes {len(value)} bytes: too many to travel")
            value = serialization.dumps_error(
                errors.capture(short, call.template.title, self._runtime.pid, self._runtime.node_name)
            )
        call.returns = [value]

    def _pack(self, call: Call, value: Any, store: Store) -> None:
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
                raise ValueError(f"{call.template.title}() has num_returns={count}, but returned {len(values)} values")
        results = [serialization.serialize(value) for value in values]
        large = to_be_stored([result.size for result in results], self._runtime.config)
        call.returns = []
        for index, result in enumerate(results):
            call.returns.append(self._slot(call, index, result, store if index in large else None))

    def _slot(self, call: Call, index: int, serialized: Serialized, store: Store | None) -> Any:
        contained = None
        if serialized.references:
            call.returned = [*(call.returned or ()), *serialized.references]
            contained = [
                [ref._reference.id, ref._reference.owner or self._runtime.address] for ref in serialized.references
            ]
        if store is None:
            data = serialized.to_bytes()
            return data if contained is None else [INLINE, data, contained]
        owner = call.link.process_id
        key = store_key(return_id(call.task_id, index), owner)
        store(key, serialized)
        call.stored.append(key)
        node = self._runtime.nodes.own
        assert node is not None
        return [STORED, [node.node_id, node.address, serialized.size, owner, []], contained]

    def _store(self, key: bytes, serialized: Serialized) -> None:
        store = self._runtime.store
        creation = store.create(key, serialized.size)
        block = self._runtime.platform.threads.wait(creation, self._runtime.loop)
        try:
            serialized.write_into(block)
        except BaseException:
            self._runtime.call_soon(store.abort, key)
            raise
        self._runtime.call_soon(store.seal, key)
