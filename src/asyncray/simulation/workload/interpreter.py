"""Does what a body says, and records what it observes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

from asyncray.api.actor import ActorHandle
from asyncray.simulation.workload.observation import (
    MISSING,
    REFERENCE,
    VALUE,
    WAITED,
    Data,
    WorkloadError,
    data_of,
    data_of_error,
    is_own_cancellation,
)
from asyncray.simulation.workload.program import (
    LARGE_SIZE,
    Body,
    Call,
    Cancel,
    Concurrently,
    Constant,
    Create,
    Drop,
    Expression,
    Get,
    Item,
    Journal,
    Kill,
    Large,
    Listed,
    Put,
    Raise,
    Sleep,
    Step,
    Submit,
    Wait,
)
from asyncray.simulation.workload.surroundings import Surroundings
from asyncray.worker.object_ref import ObjectRef


class Remotes(Protocol):
    """What starts tasks and actors."""

    def submit(self, step: Submit, arguments: list[Any]) -> list[ObjectRef]: ...
    def create(self, step: Create, start: Any, kept: Any) -> ActorHandle: ...
    def call(self, step: Call, actor: ActorHandle, arguments: list[Any]) -> list[ObjectRef]: ...


class Interpreter:
    """One execution of one body."""

    def __init__(self, surroundings: Surroundings, remotes: Remotes, arguments: Sequence[Any] = ()) -> None:
        self._surroundings = surroundings
        self._remotes = remotes
        self._variables: dict[int, Any] = dict(enumerate(arguments))
        self._journal: list[tuple[int, Data]] = []

    async def run_body(self, body: Body) -> Any:
        """What the function returns, for as many results as the body has. Raises what ends it."""
        try:
            for step in body.steps:
                await self._perform(step)
            returns = [self._value(expression) for expression in body.returns]
            return returns[0] if len(returns) == 1 else returns
        finally:
            self._variables.clear()  # a traceback may keep this frame, but not what it referred to

    async def run_driver(self, body: Body) -> list[tuple[int, Data]]:
        """All that it observes, errors of any step included, and in the end what its variables hold."""
        try:
            await self._perform_all(body.steps)
            for variable in sorted(self._variables):
                self._journal.append((end_key(variable), await self._data(self._variables[variable], deep=True)))
            return self._journal
        finally:
            self._variables.clear()

    async def _perform_all(self, steps: Sequence[Step]) -> None:
        for step in steps:
            try:
                await self._perform(step)
            except Exception as error:
                self._journal.append((step.key, data_of_error(error)))
                self._bind_missing(step)

    async def _perform(self, step: Step) -> None:
        surroundings = self._surroundings
        match step:
            case Submit():
                arguments = [self._value(expression) for expression in step.arguments]
                self._bind(step.targets, self._remotes.submit(step, arguments))
            case Put():
                self._variables[step.target] = await surroundings.put(self._value(step.value))
            case Get():
                for _ in range(2 if step.way == "twice" else 1):
                    await self._get(step)
            case Wait():
                await self._wait(step)
            case Drop():
                for variable in step.variables:
                    del self._variables[variable]
            case Create():
                start, kept = self._value(step.start), self._value(step.kept)
                self._variables[step.target] = self._remotes.create(step, start, kept)
            case Call():
                self._call(step)
            case Kill():
                actor = self._value(step.actor)
                if isinstance(actor, ActorHandle):
                    await surroundings.kill(actor)
            case Cancel():
                ref = self._variables[step.variable]
                if isinstance(ref, ObjectRef):
                    await surroundings.cancel(ref, step.what)
            case Sleep():
                await surroundings.sleep(step.seconds)
            case Raise():
                raise WorkloadError(step.key)
            case Concurrently():
                await surroundings.concurrently([self._perform_all(branch) for branch in step.branches])

    def _call(self, step: Call) -> None:
        actor = self._value(step.actor)
        if isinstance(actor, ActorHandle):
            arguments = [self._value(expression) for expression in step.arguments]
            self._bind(step.targets, self._remotes.call(step, actor, arguments))
        else:
            self._bind_missing(step)

    async def _get(self, step: Get) -> None:
        refs = [self._value(source) for source in step.sources]
        if not all(isinstance(ref, ObjectRef) for ref in refs):
            self._journal.append((step.key, MISSING))
            self._bind_missing(step)
            return
        try:
            values = await self._surroundings.fetch(refs, step.way, step.timeout)
        except (Exception, asyncio.CancelledError) as error:
            if is_own_cancellation(error, refs) or not step.catch:
                raise
            self._journal.append((step.key, data_of_error(error)))
            self._bind_missing(step)
            return
        self._bind(step.targets, values)
        self._journal.append((step.key, [VALUE, await self._data(values, deep=step.deep)]))

    async def _wait(self, step: Wait) -> None:
        refs = [ref for ref in map(self._value, step.sources) if isinstance(ref, ObjectRef)]
        if not refs:
            self._journal.append((step.key, MISSING))
            return
        ready, rest = await self._surroundings.wait(refs, min(step.num_returns, len(refs)), step.timeout)
        done = int(all(ref.done() for ref in ready))
        self._journal.append((step.key, [WAITED, *_positions(refs, ready, rest), done]))

    async def _data(self, value: Any, *, deep: bool) -> Data:
        if isinstance(value, list):
            return [await self._data(item, deep=deep) for item in value]
        if not deep or not isinstance(value, ObjectRef):
            return data_of(value)
        try:
            inner = (await self._surroundings.fetch([value], "await", None))[0]
        except (Exception, asyncio.CancelledError) as error:
            if is_own_cancellation(error, [value]):
                raise
            return [REFERENCE, data_of_error(error)]
        return [REFERENCE, [VALUE, await self._data(inner, deep=True)]]

    # ---- variables

    def _value(self, expression: Expression) -> Any:
        match expression:
            case Constant(number):
                return number
            case Large(number):
                return bytes([number]) * LARGE_SIZE
            case Listed(items):
                return [self._value(item) for item in items]
            case Journal():
                ordered = sorted(self._journal, key=lambda entry: entry[0])  # branches record in any order
                return [list(entry) for entry in ordered]
            case Item(variable, path):
                value = self._variables[variable]
                for index in path:
                    if not isinstance(value, list) or index >= len(value):
                        return MISSING
                    value = value[index]
                return value

    def _bind(self, targets: Sequence[int], values: Sequence[Any]) -> None:
        for target, value in zip(targets, values, strict=True):
            self._variables[target] = value

    def _bind_missing(self, step: Step) -> None:
        match step:
            case Submit() | Get() | Call():
                targets = step.targets
            case Put() | Create():
                targets = (step.target,)
            case _:
                targets = ()
        for target in targets:
            self._variables[target] = MISSING


def end_key(variable: int) -> int:
    """Under which a driver records what a variable holds in the end."""
    return -1 - variable


def _positions(refs: list[ObjectRef], ready: list[ObjectRef], rest: list[ObjectRef]) -> list[list[int]]:
    """Where these very objects stand among those given, one of which may be given twice; -1 for a foreign one."""
    positions: list[list[int]] = [[], []]
    for position, ref in enumerate(refs):
        for found, part in zip(positions, (ready, rest), strict=True):
            if len(found) < len(part) and part[len(found)] is ref:
                found.append(position)
                break
    return [found + [-1] * (len(part) - len(found)) for found, part in zip(positions, (ready, rest), strict=True)]
