"""Runs a program in its head: sequentially, without a cluster.

Each result is worked out when its task is submitted. Where several things may happen (something is cancelled, an actor
killed, a counter shared), the result says so; what follows from it carries that on. With faults, any value may be kept
away by an error, and is MISSING then from what is made with it; and an actor may not hear that it is to be killed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from asyncray.simulation.workload.expected import (
    ACTOR_DIED,
    CANCELLED,
    NOTHING,
    TIMED_OUT,
    ActorModel,
    Branch,
    Counted,
    CountedCall,
    Expected,
    Failure,
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
    merged,
    own_failure,
)
from asyncray.simulation.workload.interpreter import end_key
from asyncray.simulation.workload.observation import MISSING
from asyncray.simulation.workload.program import (
    INITIAL,
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


@dataclass(slots=True)
class Expectations:
    """What one driver's run must give."""

    entries: list[tuple[int, Expected]] = field(default_factory=list)
    """Entries of the driver's journal, as they stand in the program."""
    actors: list[ActorModel] = field(default_factory=list)
    runs: dict[int, Runs] = field(default_factory=dict)
    """By the keys of bodies, constructors and calls that may run."""


def expectations(body: Body, *, faults: bool = False) -> Expectations:
    """Of a driver."""
    found = Expectations()
    frame = _Frame(found, body.key, [], certain=True, is_driver=True, faults=faults)
    frame.run(body.steps)
    found.entries = frame.journal
    found.entries += [(end_key(n), HeldInTheEnd(frame.variables[n])) for n in sorted(frame.variables)]
    return found


class _Frame:
    """One body, as it would run."""

    def __init__(
        self,
        found: Expectations,
        key: int,
        arguments: Sequence[Expected],
        *,
        certain: bool,
        is_driver: bool = False,
        faults: bool = False,
        most: int | None = 1,
    ) -> None:
        """`most`: how often it runs at most."""
        self._found = found
        self._most = most
        self._is_driver = is_driver
        self._faults = faults
        self._key = key
        self.variables: dict[int, Expected] = dict(enumerate(arguments))
        self.journal: list[tuple[int, Expected]] = []
        self._certain = certain
        """What comes next is reached, if nothing dies."""
        self._failures: tuple[Failure, ...] = ()
        """What may have ended the body before."""
        self._ended = False
        """Nothing that comes next is reached."""
        self._branch: Branch = ()

    def run(self, steps: Sequence[Step]) -> None:
        for step in steps:
            if not self._ended:
                self._perform(step)

    def outcomes(self, body: Body) -> list[Outcome]:
        """Of its results, once it has run."""
        if self._ended:
            return [Outcome(NOTHING, self._failures)] * len(body.returns)
        return [Outcome(self._value(expression), self._failures) for expression in body.returns]

    def _perform(self, step: Step) -> None:
        match step:
            case Submit():
                outcomes = self._task(step.body, step.arguments, cancelled=step.cancelled, max_retries=step.max_retries)
                self._bind(step.targets, [RefTo(outcome) for outcome in outcomes])
            case Put():
                ref = RefTo(Outcome(self._value(step.value)))
                self.variables[step.target] = Maybe(ref) if self._goes_on_after_faults else ref
            case Get():
                self._get(step)
            case Wait():
                sources = [self._value(source) for source in step.sources]
                miss = any(not isinstance(source, RefTo) for source in sources)
                self.journal.append((step.key, Waited(len(sources), miss, step.num_returns, step.timeout is not None)))
            case Drop():
                for variable in step.variables:
                    del self.variables[variable]
            case Create():
                self.variables[step.target] = self._create(step)
            case Call():
                self._call(step)
            case Kill():
                killed = _plain(self._value(step.actor))
                if isinstance(killed, HandleOf):
                    killed.actor.killed_by = self._key
            case Cancel() | Sleep():
                pass  # the step whose result it cancels says so
            case Raise():
                self._end_with(own_failure(step.key))
            case Concurrently():
                around = self._branch
                for number, branch in enumerate(step.branches):
                    self._branch = (*around, (step.key, number))
                    self.run(branch)
                self._branch = around

    @property
    def _goes_on_after_faults(self) -> bool:
        """The error of a step is observed, and what it should have bound is MISSING; elsewhere it ends the body."""
        return self._faults and (self._is_driver or bool(self._branch))

    def _end_with(self, *failures: Failure) -> None:
        self._failures = merged(self._failures, failures)
        self._ended, self._certain = True, False

    # ---- tasks

    def _task(
        self,
        body: Body,
        arguments: Sequence[Expression],
        *,
        cancelled: bool = False,
        failures: tuple[Failure, ...] = (),
        certain: bool = True,
        max_retries: int = 0,
    ) -> list[Outcome]:
        """Of the results of a body that another process runs; `failures` are those of what runs it."""
        passed = [self._passed(expression) for expression in arguments]
        failures = merged(failures, *(outcome.failures for outcome in passed), (CANCELLED,) if cancelled else ())
        if any(outcome.value is NOTHING for outcome in passed):
            return [Outcome(NOTHING, failures)] * len(body.returns)
        certain = certain and self._certain and not failures
        # Of several tasks that were sent to a worker none is charged when it dies; after that each is sent alone.
        times = None if max_retries < 0 else 1 if max_retries == 0 else 2 + max_retries
        most = None if times is None or self._most is None else times * self._most
        self._found.runs[body.key] = Runs(certain and self._is_driver, most)
        arrived = [outcome.value for outcome in passed]
        frame = _Frame(self._found, body.key, arrived, certain=certain, faults=self._faults, most=most)
        frame.run(body.steps)
        endures = max_retries < 0 and all(outcome.endures for outcome in passed)
        return [replace(outcome.failing(*failures), endures=endures) for outcome in frame.outcomes(body)]

    def _passed(self, expression: Expression) -> Outcome:
        """What arrives as an argument: of a reference, what it comes to."""
        value = self._value(expression)
        if isinstance(value, RefTo):
            return value.outcome
        if isinstance(value, Maybe) and isinstance(value.value, RefTo):
            inner = value.value.outcome
            return replace(inner, value=MISSING if inner.value is NOTHING else _maybe(inner.value))
        return Outcome(value, endures=True)

    # ---- observing

    def _get(self, step: Get) -> None:
        times = 2 if step.way == "twice" else 1
        sources = [self._value(source) for source in step.sources]
        may_miss = not all(isinstance(source, RefTo) for source in sources)
        refs = [ref for ref in map(_plain, sources) if isinstance(ref, RefTo)]
        if len(refs) < len(sources):  # an error has certainly kept one of them away
            self.journal += [(step.key, MISSING)] * times
            self._bind(step.targets, [MISSING] * len(step.targets))
            return
        outcomes = [ref.outcome for ref in refs]
        failures = merged(*(outcome.failures for outcome in outcomes))
        if step.timeout is not None:
            failures = merged(failures, (TIMED_OUT,))
        fails = any(outcome.value is NOTHING for outcome in outcomes)
        endures = all(outcome.endures for outcome in outcomes)
        whole = Outcome(NOTHING if fails else [outcome.value for outcome in outcomes], failures, endures)
        if not step.catch and failures:
            self._certain = False
            if fails and not may_miss:
                self._end_with(*failures)
                return
            self._failures = merged(self._failures, failures)
            whole = Outcome(whole.value, ())  # it has come, if the body is still running
        seen = Seen(whole, may_miss)
        self.journal += [(step.key, seen)] * times
        if fails:
            self._bind(step.targets, [MISSING] * len(step.targets))
        else:
            sure = whole.certain and not may_miss and not (self._goes_on_after_faults or (self._faults and step.catch))
            self._bind(step.targets, [outcome.value if sure else _maybe(outcome.value) for outcome in outcomes])

    # ---- actors

    def _create(self, step: Create) -> HandleOf:
        start = self._passed(step.start)
        kept = self._value(step.kept)
        killed = (ACTOR_DIED,) if step.killed or step.fails or start.failures else ()
        lives = start.value is not NOTHING and not step.fails
        certain = self._certain and not killed
        actor = ActorModel(step.key, start.value, {INITIAL: kept}, killed, lives, certain)
        self._found.actors.append(actor)
        if start.value is not NOTHING:
            # Who drops the handle at once need not have an actor; one whose node is lost meanwhile is placed again.
            self._found.runs[step.key] = Runs(False, None)
        return HandleOf(actor)

    def _call(self, step: Call) -> None:
        value = self._value(step.actor)
        handle = _plain(value)
        if not isinstance(handle, HandleOf):
            self._bind(step.targets, [MISSING] * len(step.targets))
            return
        sure = handle is value
        outcomes = self._method(step, handle.actor, certain=sure and handle.actor.certain)
        refs = [RefTo(outcome.failing(*((CANCELLED,) if step.cancelled else ()))) for outcome in outcomes]
        self._bind(step.targets, [ref if sure else Maybe(ref) for ref in refs])

    def _method(self, step: Call, actor: ActorModel, *, certain: bool) -> list[Outcome]:
        killed = actor.killed_by == self._key and not self._faults  # the order may not have reached anybody
        if not actor.lives or killed:
            passed = [self._passed(expression) for expression in step.arguments]
            failures = merged((ACTOR_DIED,), *(outcome.failures for outcome in passed))
            return [Outcome(NOTHING, failures)] * len(step.targets)
        certain = certain and self._certain and not step.cancelled
        if step.method == "run":
            assert step.body is not None
            return self._task(step.body, step.arguments, failures=actor.failures, certain=certain)
        if step.method == "keep":
            actor.slots[step.slot] = self._value(step.arguments[0])
            result = Outcome(step.slot)
        elif step.method == "give":
            kept = actor.slots.get(step.slot, MISSING)
            # The call that was to keep it may have failed; or this one is made again, and it is removed already.
            result = Outcome(_maybe(kept) if self._faults and step.slot != INITIAL else kept)
        elif step.method == "started":
            result = Outcome(actor.start)
        elif step.method == "fail":
            result = Outcome(NOTHING, (own_failure(step.key),))
        else:
            echo = self._passed(step.arguments[0])
            if echo.value is NOTHING:
                return [echo.failing(*actor.failures)]
            certain = certain and not echo.failures
            call = CountedCall(step.key, self._key, self._branch, certain)
            actor.calls.append(call)
            result = Outcome([Counted(actor, call), echo.value], echo.failures)
        self._found.runs[step.key] = Runs(certain and self._is_driver, self._most)
        return [result.failing(*actor.failures)]

    # ---- variables

    def _value(self, expression: Expression) -> Expected:
        match expression:
            case Constant(number):
                return number
            case Large(number):
                return LargeOf(number)
            case Listed(items):
                return [self._value(item) for item in items]
            case Journal():
                return JournalOf(tuple(sorted(self.journal, key=lambda entry: entry[0])))
            case Item(variable, path):
                value = self.variables[variable]
                sure = True
                for index in path:
                    sure = sure and not isinstance(value, Maybe)
                    value = _plain(value)
                    if not isinstance(value, list):
                        return MISSING
                    value = value[index]
                return value if sure else _maybe(value)

    def _bind(self, targets: Sequence[int], values: Sequence[Expected]) -> None:
        for target, value in zip(targets, values, strict=True):
            self.variables[target] = value


def _maybe(value: Expected) -> Maybe:
    return value if isinstance(value, Maybe) else Maybe(value)


def _plain(value: Expected) -> Expected:
    return value.value if isinstance(value, Maybe) else value
