"""Writes random programs: every step makes sense where it stands, and none can wait for ever.

Code that runs in an actor gets no references and no handles, so that no two actors wait for each other. What is done
in one of several concurrent branches to a variable or to an actor's slots (dropped, cancelled, killed, removed)
concerns only what that branch has made, so that each branch's outcome is the same whatever the others do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, TypeVar

from asyncray.simulation.workload.program import (
    CPUS,
    INITIAL,
    SEATS,
    TOKENS,
    Body,
    Call,
    Cancel,
    Concurrently,
    Constant,
    Create,
    Demand,
    Drop,
    Expression,
    Form,
    Get,
    Item,
    Journal,
    Kill,
    Large,
    Listed,
    Program,
    Put,
    Raise,
    Sleep,
    Step,
    Submit,
    Wait,
)
from asyncray.simulation.workload.scope import Scope
from asyncray.simulation.workload.shape import Handle, Plain, Reference, Row, Shape, is_closed, items_of, reaches_actor

_T = TypeVar("_T")

_DEEPEST: Final = 3
"""How far tasks nest."""
_LARGEST: Final = 40
"""Size of the largest value that is passed on."""
_LONGEST_BODY: Final = 6
_PAUSES: Final = (0.0005, 0.001, 0.002)
_TIMEOUTS: Final = (0.0, 0.001, 0.01)
_RETRIES: Final = (3, 3, 0, 1, -1)
_TASK_CPUS: Final = (None, None, None, 0, 0.5, 1)
_ACTOR_CPUS: Final = (None, None, None, 0)
_BURST: Final = 4, 16
_HELD_CPUS: Final = 0.5
"""Cores that an actor may hold."""


def random_program(
    random: Random,
    operations: int,
    *,
    drivers: int,
    actors: bool,
    cancellations: bool,
    large_values: bool,
    pause: float,
) -> Program:
    """See `Program.random`."""
    plan = _Plan(random, actors, cancellations, large_values, pause)
    plan.heavy = random.random() < 0.5
    plan.seats, plan.actor_cpus = SEATS[1], 0.0 if plan.heavy else CPUS / 2
    bodies = []
    for number in range(drivers):
        plan.left = operations * (number + 1) // drivers - operations * number // drivers
        writer = _Writer(plan, (), depth=0, form="async")
        key = plan.next_key()
        bodies.append(Body(key, tuple(writer.steps(plan.left))))
    return Program(tuple(bodies))


@dataclass
class _Plan:
    """What all bodies of a program share."""

    random: Random
    actors: bool
    cancellations: bool
    large_values: bool
    pause: float
    left: int = 0
    """Steps that are still to be written."""
    heavy: bool = False
    """Tasks may take all the cores of a node: then no actor may hold any."""
    seats: float = 0.0
    """What is left of them for actors, likewise the cores."""
    actor_cpus: float = 0.0
    _keys: int = 0

    def next_key(self) -> int:
        self._keys += 1
        return self._keys


class _Writer:
    """Writes one body."""

    def __init__(self, plan: _Plan, arguments: Sequence[Shape], *, depth: int, form: Form) -> None:
        self._plan = plan
        self._random = plan.random
        self._depth = depth
        self._form = form
        self._scope = Scope(dict(enumerate(arguments)), own=list(range(len(arguments))))
        self._in_branch = False
        self._variables = len(arguments)
        self._journal_size = 1
        self._burst_left = 0
        """Steps that come next, and are tasks of one kind."""
        self._burst_form: Form = "plain"
        self._burst_retries = 0
        choices: list[tuple[int, Callable[[], Step | None], bool]] = [
            (16, self._submit, depth < _DEEPEST),
            (10, self._put, True),
            (22, self._get, True),
            (6, self._wait, True),
            (6, self._drop, True),
            (7, self._create, plan.actors),
            (22, self._call, plan.actors),
            (2, self._kill, plan.actors),
            (5, self._cancel, plan.cancellations),
            (4, self._sleep, True),
            (4, self._concurrently, True),
        ]
        self._choices = [choose for _, choose, allowed in choices if allowed]
        self._weights = [weight for weight, _, allowed in choices if allowed]

    def steps(self, limit: int) -> list[Step]:
        """So many steps at most, those of inner bodies not counted."""
        return [self._step() for _ in range(limit) if self._plan.left > 0]

    def returns(self, count: int) -> tuple[tuple[Expression, ...], list[Shape]]:
        """What the body returns: the first thing is what it has observed."""
        expressions, shapes = [], []
        for number in range(count):
            expression, shape = self._listed(self._random.randint(0, 2)) if self._random.random() < 0.7 else self._any()
            if not number:
                expression = Listed((Journal(), expression))
                shape = Row((Plain(self._journal_size), shape))
            expressions.append(expression)
            shapes.append(shape)
        return tuple(expressions), shapes

    def _step(self) -> Step:
        self._plan.left -= 1
        if self._burst_left:
            self._burst_left -= 1
            return self._small_task()
        while True:
            (choose,) = self._random.choices(self._choices, self._weights)
            step = choose()
            if step is not None:
                return step

    def _key(self) -> int:
        return self._plan.next_key()

    def _new(self, *shapes: Shape) -> tuple[int, ...]:
        targets = tuple(range(self._variables, self._variables + len(shapes)))
        self._variables += len(shapes)
        for target, shape in zip(targets, shapes, strict=True):
            self._scope.bind(target, shape)
        return targets

    def _one_of(self, things: Sequence[_T]) -> _T | None:
        """Later ones more often: programs go on with what they have just made."""
        if not things:
            return None
        return things[-1 - min(int(self._random.expovariate(0.25)), len(things) - 1)]

    # ---- expressions

    def _any(self) -> tuple[Expression, Shape]:
        """A value as it is: a reference is passed as one inside of containers, and resolved as an argument."""
        known = [
            (item, shape)
            for variable, whole in self._scope.variables.items()
            for item, shape in items_of(variable, whole)
            if shape.size <= _LARGEST
        ]
        chosen = self._one_of(known) if self._random.random() < 0.75 else None
        if chosen is not None:
            return chosen
        if self._plan.large_values and self._random.random() < 0.3:
            return Large(self._random.randrange(256)), Plain()
        return Constant(self._random.randrange(1000)), Plain()

    def _listed(self, count: int) -> tuple[Expression, Shape]:
        pairs = [self._any() for _ in range(count)]
        return Listed(tuple(expression for expression, _ in pairs)), Row(tuple(shape for _, shape in pairs))

    def _without_actors(self) -> tuple[Expression, Shape]:
        """A list that an actor may keep: it leads to no actor, which might keep this one's handle in turn, for ever."""
        for _ in range(5):
            expression, shape = self._listed(self._random.randint(1, 2))
            if not reaches_actor(shape):
                return expression, shape
        return Listed(()), Row(())

    def _argument(self, *, to_actor: bool = False) -> tuple[Expression, Shape]:
        """An argument, and the shape in which it arrives."""
        for _ in range(5):
            expression, shape = self._any() if self._random.random() < 0.6 else self._listed(self._random.randint(1, 3))
            arrives = shape.value if isinstance(shape, Reference) else shape
            if arrives.size <= _LARGEST and (not to_actor or is_closed(arrives)):
                return expression, arrives
        return Constant(self._random.randrange(1000)), Plain()

    # ---- tasks

    def _submit(self) -> Step:
        if self._random.random() < 0.05:
            self._burst_left = self._random.randint(*_BURST)
            self._burst_form, self._burst_retries = self._form_of_other(), self._random.choice(_RETRIES)
            return self._small_task()
        key, form = self._key(), self._form_of_other()
        arguments = [self._argument() for _ in range(self._random.randint(0, 3))]
        body, results = self._body([shape for _, shape in arguments], form)
        targets = self._new(*(Reference(shape) for shape in results))
        cancelled = self._may_be_cancelled(targets)
        expressions = tuple(expression for expression, _ in arguments)
        retries = self._random.choice(_RETRIES)
        return Submit(key, targets, form, body, expressions, cancelled, self._task_demand(body), retries)

    def _small_task(self) -> Step:
        """One of a burst of the same kind: when they are more than there are CPUs, they are sent ahead."""
        key, form = self._key(), self._burst_form
        body = self._key()
        returns, shapes = _Writer(self._plan, (), depth=self._depth + 1, form=form).returns(1)
        targets = self._new(*(Reference(shape) for shape in shapes))
        steps = (Sleep(self._key(), self._plan.pause),) if self._plan.pause else ()
        return Submit(key, targets, form, Body(body, steps, returns), (), max_retries=self._burst_retries)

    def _task_demand(self, body: Body) -> Demand:
        cpus = self._random.choice((*_TASK_CPUS, CPUS) if self._plan.heavy else _TASK_CPUS)
        # Only CPUs are given back while a task waits: those that hold something else must not wait for each other.
        waits = any(not isinstance(step, Put | Drop | Sleep | Raise) for step in body.steps)
        tokens = 0.0 if waits or self._random.random() < 0.6 else self._random.choice((0.5, 1.0, TOKENS[1]))
        return Demand(cpus, tokens)

    def _actor_demand(self) -> Demand:
        """Out of what is left for all actors of the program, which may live all at once, on one node."""
        plan = self._plan
        cpus = self._random.choice((*_ACTOR_CPUS, _HELD_CPUS) if plan.actor_cpus >= _HELD_CPUS else _ACTOR_CPUS)
        plan.actor_cpus -= cpus or 0.0
        seats = min(plan.seats, self._random.choice((0.0, 0.0, 0.5, 1.0)))
        plan.seats -= seats
        return Demand(cpus, seats=seats)

    def _body(self, arguments: list[Shape], form: Form) -> tuple[Body, list[Shape]]:
        key = self._key()
        writer = _Writer(self._plan, arguments, depth=self._depth + 1, form=form)
        steps = writer.steps(self._random.choice((0, 0, 1, 2, 4, _LONGEST_BODY)))
        if self._random.random() < 0.08 and self._plan.left > 0:
            self._plan.left -= 1
            steps.append(Raise(self._key()))
        count = self._random.choices((1, 2, 3, 0), (14, 3, 2, 1))[0]
        returns, shapes = writer.returns(count)
        return Body(key, tuple(steps), returns), shapes

    def _form_of_other(self) -> Form:
        return self._random.choice(("plain", "async"))

    def _may_be_cancelled(self, targets: tuple[int, ...]) -> bool:
        if not targets or not self._plan.cancellations or self._random.random() > 0.15:
            return False
        self._scope.cancellable += targets
        return True

    def _cancel(self) -> Step | None:
        variable = self._one_of(self._scope.cancellable)
        if variable is None:
            return None
        ways = ("reference", "awaiting task", "shielded task") if self._form == "async" else ("reference",)
        return Cancel(self._key(), variable, self._random.choice(ways))  # type: ignore[arg-type]

    # ---- objects

    def _put(self) -> Step:
        expression, shape = self._listed(self._random.randint(0, 3)) if self._random.random() < 0.6 else self._any()
        if isinstance(shape, Reference):  # `put` takes none as it is
            expression, shape = Listed((expression,)), Row((shape,))
        return Put(self._key(), self._new(Reference(shape))[0], expression)

    def _get(self) -> Step | None:
        limit = _LARGEST if self._depth else 5 * _LARGEST
        known = [(item, ref) for item, ref in self._scope.items(Reference) if ref.size <= limit]
        if not known:
            return None
        way = self._random.choice(("await", "await", "get", "twice", "gather"))
        count = self._random.randint(1, min(4, len(known))) if way in ("get", "gather") else 1
        chosen = self._random.sample(known, count) if count > 1 else [self._one_of(known) or known[0]]
        timeout = self._random.choice(_TIMEOUTS) if way == "get" and self._random.random() < 0.3 else None
        catch = not self._depth or self._in_branch or self._random.random() < 0.6
        deep = self._random.random() < 0.4
        self._journal_size += (2 if way == "twice" else 1) * (1 + sum(ref.size for _, ref in chosen))
        sources = tuple(item for item, _ in chosen)
        key = self._key()
        targets = self._new(*(ref.value for _, ref in chosen))
        return Get(key, targets, sources, way, deep, catch, timeout)  # type: ignore[arg-type]

    def _wait(self) -> Step | None:
        known = self._scope.items(Reference)
        if not known:
            return None
        chosen = self._random.sample(known, self._random.randint(1, min(5, len(known))))
        timeout = self._random.choice(_TIMEOUTS) if self._random.random() < 0.4 else None
        self._journal_size += 2 * len(chosen)
        num_returns = self._random.randint(1, len(chosen))
        return Wait(self._key(), tuple(item for item, _ in chosen), num_returns, timeout)

    def _drop(self) -> Step | None:
        own = self._scope.own
        if len(own) < 3:
            return None
        chosen = sorted(self._random.sample(own, self._random.randint(1, 2)))
        for variable in chosen:
            self._scope.drop(variable)
        return Drop(self._key(), tuple(chosen))

    # ---- actors

    def _create(self) -> Step:
        start, start_shape = self._argument()
        kept, initial = self._listed(self._random.randint(0, 2))
        key = self._key()
        form = self._form_of_other()
        fails, killed = self._random.random() < 0.05, self._random.random() < 0.15
        (target,) = self._new(Handle(form, killed, initial, start_shape))
        if killed:
            self._scope.mortal.append(target)
        return Create(key, target, form, start, kept, fails, killed, self._actor_demand())

    def _kill(self) -> Step | None:
        variable = self._one_of(self._scope.mortal)
        return None if variable is None else Kill(self._key(), Item(variable))

    def _call(self) -> Step | None:
        chosen = self._one_of(self._scope.items(Handle))
        if chosen is None:
            return None
        actor, handle = chosen
        key = self._key()
        match self._random.choices(("add", "keep", "give", "started", "fail", "run"), (8, 4, 5, 2, 1, 2))[0]:
            case "keep" if not actor.path:
                expression, shape = self._without_actors()
                place = actor.variable, key
                self._scope.slots[place] = shape
                self._scope.own_slots.append(place)
                return Call(key, self._new(Reference(Plain())), actor, "keep", (expression,), slot=key)
            case "give":
                return self._give(key, actor, handle)
            case "started":
                return Call(key, self._new(Reference(handle.start)), actor, "started")
            case "fail":
                return Call(key, self._new(Reference(Plain())), actor, "fail")
            case "run" if self._depth < _DEEPEST and not handle.mortal:  # what it owns would die with it
                return self._run(key, actor, handle)
        expression, shape = self._argument()
        targets = self._new(Reference(Row((Plain(), shape))))
        cancelled = self._may_be_cancelled(targets)
        return Call(key, targets, actor, "add", (expression,), cancelled=cancelled)

    def _give(self, key: int, actor: Item, handle: Handle) -> Step:
        kept = [place for place in self._scope.slots if place[0] == actor.variable and not actor.path]
        place = self._one_of(kept)
        if place is None:
            return Call(key, self._new(Reference(handle.initial)), actor, "give", slot=INITIAL)
        shape = self._scope.slots[place]
        remove = place in self._scope.own_slots and self._random.random() < 0.5
        if remove:
            self._scope.remove_slot(place)
        return Call(key, self._new(Reference(shape)), actor, "give", slot=place[1], remove=remove)

    def _run(self, key: int, actor: Item, handle: Handle) -> Step:
        arguments = [self._argument(to_actor=True) for _ in range(self._random.randint(0, 2))]
        body, results = self._body([shape for _, shape in arguments], handle.form)
        targets = self._new(*(Reference(shape) for shape in results))
        expressions = tuple(expression for expression, _ in arguments)
        cancelled = self._may_be_cancelled(targets)
        return Call(key, targets, actor, "run", expressions, body=body, cancelled=cancelled)

    # ---- control

    def _sleep(self) -> Step:
        return Sleep(self._key(), self._random.choice(_PAUSES))

    def _concurrently(self) -> Step | None:
        if self._in_branch or self._plan.left < 2:
            return None
        key = self._key()
        around, self._in_branch = self._scope, True
        branches, scopes = [], []
        for _ in range(self._random.randint(2, 3)):
            self._scope = around.branch()
            branches.append(tuple(self.steps(self._random.randint(1, 4))))
            scopes.append(self._scope)
        self._scope, self._in_branch = around, False
        for scope in scopes:
            around.join(scope)
        return Concurrently(key, tuple(branches))
