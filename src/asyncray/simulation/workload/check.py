"""Compares what a program has observed with what its model expects."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from asyncray.simulation.workload import counting, observation
from asyncray.simulation.workload.expected import (
    NOTHING,
    ActorModel,
    Counted,
    Expected,
    HandleOf,
    HeldInTheEnd,
    JournalOf,
    LargeOf,
    Maybe,
    Outcome,
    RefTo,
    Runs,
    Seen,
    Waited,
)
from asyncray.simulation.workload.model import expectations
from asyncray.simulation.workload.observation import Data, Observations
from asyncray.simulation.workload.program import LARGE_SIZE, Program

FAULT_ERRORS: Final = frozenset(
    f"asyncray.errors.{name}"
    for name in (
        "WorkerCrashedError",  # a task whose worker died, beyond its retries
        "ActorDiedError",  # an actor's worker, node or owner died, or the control plane before it was placed
        "ActorUnavailableError",  # the stream with it ended, and nobody says that it is dead
        "NodeDiedError",  # this process has lost its node manager
        "ObjectLostError",  # the last copy was in the store of a node that died
        "OwnerDiedError",  # the process that had submitted the task, or put the value
        "ObjectReconstructionFailedError",  # a lost copy, and the task that made it failed when run again
        "ObjectFreedError",  # whoever handed the reference on died before its owner had heard of the borrower
        "ConnectionFailed",  # the control plane or a node cannot be reached to ask it something
    )
)
"""What may come in the stead of any value when workers, nodes or the control plane die or are cut off."""

WORKER_FAULT_ERRORS: Final = FAULT_ERRORS - {
    f"asyncray.errors.{name}"
    for name in ("NodeDiedError", "ObjectLostError", "ObjectReconstructionFailedError", "ConnectionFailed")
}
"""The same when nothing dies but workers: what is in stores stays, and daemons are within reach."""

_SHOWN: Final = 400
"""Characters of a value in a sentence."""


def check(
    program: Program, observations: Observations, *, faults: bool, errors: Collection[str] = FAULT_ERRORS
) -> list[str]:
    """What is wrong, a sentence each; nothing when all is right.

    With `faults`, processes may have died meanwhile: the `errors` that say so (their full names) are right too,
    anywhere.
    """
    driver = program.drivers[observations.driver_number]
    matcher = _Matcher(errors if faults else ())
    found = expectations(driver, faults=faults)
    matcher.match_entries(found.entries, list(observations.entries))
    for actor in found.actors:
        sightings = matcher.sightings.get(actor, [])
        matcher.wrong += counting.violations(actor, sightings, driver_key=driver.key, faults=faults)
    return list(dict.fromkeys(matcher.wrong))  # what is read twice is wrong once


def check_executions(
    program: Program, executions: Mapping[int, int], *, faults: bool = False, finished: Collection[int] | None = None
) -> list[str]:
    """What has run too often, or not at all. The keys are those of bodies, constructors and actor calls.

    `finished`: the drivers that have come to their ends; all of them by default. With `faults`, tasks of workers that
    died may have run again, as far as their retries go; or never.
    """
    runs: dict[int, Runs] = {}
    certain: set[int] = set()
    for number, driver in enumerate(program.drivers):
        found = expectations(driver, faults=faults).runs
        runs |= found
        if not faults and (finished is None or number in finished):
            certain |= {key for key, expected in found.items() if expected.certain}
    wrong = [f"step {key} must not run, and ran {count} times" for key, count in executions.items() if key not in runs]
    for key, expected in runs.items():
        count, most = executions.get(key, 0), expected.most if faults else 1
        if most is not None and count > most:
            wrong.append(f"step {key} ran {count} times" + (f", and {most} at most are right" if most > 1 else ""))
        elif key in certain and not count:
            wrong.append(f"step {key} never ran")
    return wrong


class _Matcher:
    def __init__(self, errors: Collection[str]) -> None:
        """`errors`: what may come in the stead of any value."""
        self._errors = errors
        self.wrong: list[str] = []
        self.sightings: dict[ActorModel, list[counting.Sighting]] = {}

    def match_entries(self, expected: list[tuple[int, Expected]], got: list[tuple[int, Data]]) -> None:
        """Entries of a journal. Those of the same key are in order; branches mix the keys."""
        waiting: dict[int, list[Data]] = {}
        for key, data in got:
            waiting.setdefault(key, []).append(data)
        for key, one in expected:
            if waiting.get(key):
                self._match(f"step {key}", one, waiting[key].pop(0))
            else:
                self._report(f"step {key}", "an observation", "none")
        for key, left in waiting.items():
            for data in left:
                if not self._is_fault(data):
                    self._report(f"step {key}", "no error of the step itself", data)

    def _match(self, where: str, expected: Expected, data: Data) -> None:
        match expected:
            case int() | str():
                if data != expected or isinstance(data, bool):
                    self._report(where, expected, data)
            case list():
                if not isinstance(data, list) or len(data) != len(expected):
                    self._report(where, expected, data)
                    return
                for position, (item, item_data) in enumerate(zip(expected, data, strict=True)):
                    self._match(f"{where}, item {position}", item, item_data)
            case _:
                self._match_mark(where, expected, data)

    def _match_mark(self, where: str, expected: Any, data: Data) -> None:
        match expected:
            case Maybe(value):
                if data != observation.MISSING:
                    self._match(where, value, data)
            case LargeOf(number):
                self._match(where, [observation.BYTES, LARGE_SIZE, number], data)
            case HandleOf():
                self._match(where, observation.ACTOR, data)
            case RefTo(outcome):
                self._match_reference(where, outcome, data)
            case Seen(outcome, may_miss):
                if not may_miss or data != observation.MISSING:
                    self._match_outcome(where, outcome, data)
            case HeldInTheEnd(value):
                self._match(f"{where} (a variable in the end)", value, data)
            case Waited():
                self._match_wait(where, expected, data)
            case JournalOf(entries):
                if _is_journal(data):
                    self.match_entries(list(entries), [(key, entry) for key, entry in data])
                else:
                    self._report(where, "a journal", data)
            case Counted(actor, call):
                if isinstance(data, int):
                    self.sightings.setdefault(actor, []).append((call, data))
                else:
                    self._report(where, "a number", data)

    def _match_reference(self, where: str, outcome: Outcome, data: Data) -> None:
        match data:
            case [observation.REFERENCE]:
                pass
            case [observation.REFERENCE, inner]:
                self._match_outcome(f"{where}, its value", outcome, inner)
            case _:
                self._report(where, "a reference", data)

    def _match_outcome(self, where: str, outcome: Outcome, data: Data) -> None:
        match data:
            case [observation.VALUE, value] if outcome.value is not NOTHING:
                self._match(where, outcome.value, value)
            case [observation.ERROR, kind, text, whole] if any(
                kind in failure.kinds and (failure.text is None or (failure.text == text and whole))
                for failure in outcome.failures
            ):
                pass
            case [observation.ERROR, "asyncray.errors.WorkerCrashedError", _, False] if outcome.endures:
                self._report(where, outcome, data)
            case _ if self._is_fault(data):
                pass
            case _:
                self._report(where, outcome, data)

    def _match_wait(self, where: str, expected: Waited, data: Data) -> None:
        match data:
            case [observation.WAITED, [*ready], [*rest], done] if isinstance(done, int):
                count = len(ready) + len(rest)
                limit = min(expected.num_returns, count)
                right = (
                    sorted(ready + rest) == list(range(count))
                    and (count == expected.total or (expected.may_miss and count < expected.total))
                    and ready == sorted(ready)
                    and rest == sorted(rest)
                    and (len(ready) <= limit if expected.timed else len(ready) == limit)
                    and done
                )
            case _:
                right = data == observation.MISSING and expected.may_miss
        if not right and not self._is_fault(data):
            self._report(where, expected, data)

    def _is_fault(self, data: Data) -> bool:
        match data:
            case [observation.ERROR, kind, _, _]:
                return kind in self._errors
        return False

    def _report(self, where: str, expected: Any, got: Any) -> None:
        self.wrong.append(f"{where}: expected {_shown(expected)}, got {_shown(got)}")


def _is_journal(data: Data) -> bool:
    return isinstance(data, list) and all(
        isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], int) for entry in data
    )


def _shown(thing: Any) -> str:
    text = thing if isinstance(thing, str) else repr(thing)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
