"""The remote functions and classes of programs. Undecorated under their own names, so that they pickle by reference:
a simulation's processes share them, and with them `INSTRUMENTS`."""

from __future__ import annotations

from typing import Any

import asyncray
from asyncray.api.actor import ActorHandle
from asyncray.simulation.workload.interpreter import Interpreter
from asyncray.simulation.workload.observation import MISSING, WorkloadError
from asyncray.simulation.workload.program import INITIAL, SEATS, TOKENS, Body, Call, Create, Demand, Submit
from asyncray.simulation.workload.surroundings import INSTRUMENTS, Awaiting, Blocking, finish_at_once
from asyncray.worker.object_ref import ObjectRef


def run_plain(body: Body, *arguments: Any) -> Any:
    """A task."""
    INSTRUMENTS.executed(body.key)
    return finish_at_once(Interpreter(Blocking(), ClusterRemotes(), arguments).run_body(body))


async def run_async(body: Body, *arguments: Any) -> Any:
    """A task."""
    INSTRUMENTS.executed(body.key)
    return await Interpreter(Awaiting(), ClusterRemotes(), arguments).run_body(body)


class Ledger:
    """What an actor knows: a counter, and values in slots."""

    def __init__(self, start: Any, kept: Any) -> None:
        self.start = start
        self.count = 0
        self.slots = {INITIAL: kept}

    def give(self, slot: int, remove: bool) -> Any:
        return self.slots.pop(slot, MISSING) if remove else self.slots.get(slot, MISSING)


def _construct(step_key: int, fails: bool, start: Any, kept: Any) -> Ledger:
    INSTRUMENTS.executed(step_key)
    if fails:
        raise WorkloadError(step_key)
    return Ledger(start, kept)


class PlainActor:
    """Runs one call at a time."""

    def __init__(self, key: int, fails: bool, start: Any, kept: Any) -> None:
        self._ledger = _construct(key, fails, start, kept)

    def add(self, key: int, echo: Any) -> Any:
        INSTRUMENTS.executed(key)
        self._ledger.count += 1
        return [self._ledger.count, echo]

    def keep(self, key: int, slot: int, value: Any) -> int:
        INSTRUMENTS.executed(key)
        self._ledger.slots[slot] = value
        return slot

    def give(self, key: int, slot: int, remove: bool) -> Any:
        INSTRUMENTS.executed(key)
        return self._ledger.give(slot, remove)

    def started(self, key: int) -> Any:
        INSTRUMENTS.executed(key)
        return self._ledger.start

    def fail(self, key: int) -> None:
        INSTRUMENTS.executed(key)
        raise WorkloadError(key)

    def run(self, body: Body, *arguments: Any) -> Any:
        return run_plain(body, *arguments)


class AsyncActor:
    """Its calls begin in order, and run at the same time."""

    def __init__(self, key: int, fails: bool, start: Any, kept: Any) -> None:
        self._ledger = _construct(key, fails, start, kept)

    async def add(self, key: int, echo: Any) -> Any:
        INSTRUMENTS.executed(key)
        self._ledger.count += 1
        return [self._ledger.count, echo]

    async def keep(self, key: int, slot: int, value: Any) -> int:
        INSTRUMENTS.executed(key)
        self._ledger.slots[slot] = value
        return slot

    async def give(self, key: int, slot: int, remove: bool) -> Any:
        INSTRUMENTS.executed(key)
        return self._ledger.give(slot, remove)

    async def started(self, key: int) -> Any:
        INSTRUMENTS.executed(key)
        return self._ledger.start

    async def fail(self, key: int) -> None:
        INSTRUMENTS.executed(key)
        raise WorkloadError(key)

    async def run(self, body: Body, *arguments: Any) -> Any:
        return await run_async(body, *arguments)


_TASKS = {"plain": asyncray.remote(run_plain), "async": asyncray.remote(run_async)}
_ACTORS = {"plain": asyncray.remote(PlainActor), "async": asyncray.remote(AsyncActor)}


class ClusterRemotes:
    """Tasks and actors on the cluster of the current process."""

    def submit(self, step: Submit, arguments: list[Any]) -> list[ObjectRef]:
        remote = _TASKS[step.form].options(**_options(step.demand), max_retries=step.max_retries)
        return _submitted(remote, len(step.targets), [step.body, *arguments])

    def create(self, step: Create, start: Any, kept: Any) -> ActorHandle:
        remote = _ACTORS[step.form].options(**_options(step.demand))
        actor: ActorHandle = remote.remote(step.key, step.fails, start, kept)
        return actor

    def call(self, step: Call, actor: ActorHandle, arguments: list[Any]) -> list[ObjectRef]:
        match step.method:
            case "run":
                fixed: list[Any] = [step.body]
            case "keep":
                fixed = [step.key, step.slot]
            case "give":
                fixed = [step.key, step.slot, step.remove]
            case _:
                fixed = [step.key]
        return _submitted(getattr(actor, step.method), len(step.targets), [*fixed, *arguments])


def _options(demand: Demand) -> dict[str, Any]:
    amounts = {TOKENS[0]: demand.tokens, SEATS[0]: demand.seats}
    return {"num_cpus": demand.num_cpus, "resources": {name: amount for name, amount in amounts.items() if amount}}


def _submitted(remote: Any, num_returns: int, arguments: list[Any]) -> list[ObjectRef]:
    outcome = (remote if num_returns == 1 else remote.options(num_returns=num_returns)).remote(*arguments)
    refs: list[ObjectRef] = [outcome] if num_returns == 1 else outcome
    return refs
