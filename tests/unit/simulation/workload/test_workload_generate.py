"""What is true of every random program."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Iterator, Sequence
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from asyncray.simulation.workload.model import expectations
from asyncray.simulation.workload.program import (
    CPUS,
    SEATS,
    TOKENS,
    Body,
    Call,
    Cancel,
    Concurrently,
    Create,
    Drop,
    Get,
    Kill,
    Large,
    Program,
    Put,
    Raise,
    Sleep,
    Step,
    Submit,
    Wait,
)

SEEDS = st.integers(0, 1 << 32)


def steps_of(steps: Sequence[Step]) -> Iterator[Step]:
    """Those of inner bodies and branches, too."""
    for step in steps:
        yield step
        match step:
            case Submit(body=body) | Call(body=Body() as body):
                yield from steps_of(body.steps)
            case Concurrently(branches=branches):
                for branch in branches:
                    yield from steps_of(branch)


def all_steps(program: Program) -> list[Step]:
    return [step for driver in program.drivers for step in steps_of(driver.steps)]


def depth_of(steps: Sequence[Step]) -> int:
    inner = [0]
    for step in steps_of(steps):
        if isinstance(step, Submit) or (isinstance(step, Call) and step.body is not None):
            assert step.body is not None
            inner.append(1 + depth_of(step.body.steps))
    return max(inner)


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, operations=st.integers(0, 120), drivers=st.integers(1, 3))
def test_a_program_has_the_number_of_steps_asked_for(seed: int, operations: int, drivers: int) -> None:
    program = Program.random(Random(seed), operations, drivers=drivers)
    assert len(program.drivers) == drivers
    assert len(all_steps(program)) == operations
    assert depth_of(program.drivers[0].steps) <= 3


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_the_same_seed_gives_the_same_program(seed: int) -> None:
    program, again = (Program.random(Random(seed), 80, large_values=True) for _ in range(2))
    assert program.drivers == again.drivers
    assert repr(program) == repr(again)
    assert pickle.loads(pickle.dumps(program)).drivers == program.drivers


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS)
def test_every_step_has_a_key_of_its_own_and_the_listing_shows_it(seed: int) -> None:
    program = Program.random(Random(seed), 80)
    keys = [step.key for step in all_steps(program)]
    assert len(set(keys)) == len(keys)
    assert all(f"{key}: " in repr(program) for key in keys)


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS)
def test_the_model_runs_every_program(seed: int) -> None:
    program = Program.random(Random(seed), 120, large_values=True)
    found = expectations(program.drivers[0])
    keys = {step.key for step in all_steps(program)} | {
        step.body.key for step in all_steps(program) if isinstance(step, (Submit, Call)) and step.body is not None
    }
    assert found.runs.keys() <= keys


def test_every_kind_of_step_occurs() -> None:
    found: Counter[object] = Counter()
    for seed in range(200):
        program = Program.random(Random(seed), 60, large_values=True)
        for step in all_steps(program):
            found[type(step)] += 1
            match step:
                case Get(way=way, deep=deep, catch=catch, timeout=timeout):
                    found.update([way, ("deep", deep), ("catch", catch), ("timeout", timeout is not None)])
                case Call(method=method, remove=remove, cancelled=cancelled):
                    found.update([method, ("remove", remove), ("cancelled call", cancelled)])
                case Submit(targets=targets, form=form, cancelled=cancelled):
                    found.update([("results", min(2, len(targets))), form, ("cancelled task", cancelled)])
                    found.update([("retries", step.max_retries), ("task's CPUs", step.demand.num_cpus)])
                    found["tokens", bool(step.demand.tokens)] += 1
                case Create(form=form, fails=fails, killed=killed):
                    found.update([("actor", form), ("fails", fails), ("killed", killed)])
                    found.update([("actor's CPUs", step.demand.num_cpus), ("seats", bool(step.demand.seats))])
                case Cancel(what=what):
                    found[what] += 1
                case Put(value=Large()):
                    found["large"] += 1
    kinds = (Submit, Put, Get, Wait, Drop, Create, Call, Kill, Cancel, Sleep, Raise, Concurrently)
    ways = ("await", "twice", "get", "gather", "reference", "awaiting task", "shielded task", "plain", "async", "large")
    methods = ("add", "keep", "give", "started", "fail", "run")
    flags = ("deep", "catch", "timeout", "remove", "cancelled call", "cancelled task", "fails", "killed")
    flags += ("tokens", "seats")
    expected = [*kinds, *ways, *methods, *((flag, value) for flag in flags for value in (False, True))]
    expected += [("results", 0), ("results", 1), ("results", 2), ("actor", "plain"), ("actor", "async")]
    expected += [("retries", retries) for retries in (-1, 0, 1, 3)]
    expected += [("task's CPUs", cpus) for cpus in (None, 0, 0.5, 1, CPUS)]
    expected += [("actor's CPUs", cpus) for cpus in (None, 0, 0.5)]
    assert [kind for kind in expected if not found[kind]] == []


@given(SEEDS)
@settings(max_examples=30, deadline=None)
def test_all_that_a_program_holds_for_long_fits_on_one_node_beside_what_its_tasks_ask_for(seed: int) -> None:
    steps = all_steps(Program.random(Random(seed), 150, drivers=2))
    actors = [step.demand for step in steps if isinstance(step, Create)]
    tasks = [(step.demand, step.body) for step in steps if isinstance(step, Submit)]
    assert sum(demand.seats for demand in actors) <= SEATS[1]
    most = max((1.0 if demand.num_cpus is None else demand.num_cpus for demand, _ in tasks), default=0.0)
    assert sum(demand.num_cpus or 0.0 for demand in actors) + most <= CPUS
    for demand, body in tasks:
        assert demand.tokens <= TOKENS[1]
        assert not (demand.tokens and any(isinstance(step, Get | Wait | Call | Submit) for step in body.steps))


def test_programs_can_do_without_actors_and_cancellations() -> None:
    for seed in range(30):
        steps = all_steps(Program.random(Random(seed), 60, actors=False, cancellations=False))
        assert not any(isinstance(step, (Create, Call, Kill, Cancel)) for step in steps)
        assert not any(isinstance(step, Submit) and step.cancelled for step in steps)


def test_a_pause_is_all_that_it_adds_to_a_program() -> None:
    for seed in range(20):
        program, slow = (Program.random(Random(seed), 60, large_values=True, pause=pause) for pause in (0.0, 0.002))
        kinds, slow_kinds = ([type(step) for step in all_steps(one)] for one in (program, slow))
        pauses = [step for step in all_steps(slow) if isinstance(step, Sleep) and step.seconds == 0.002]
        assert [kind for kind in kinds if kind is not Sleep] == [kind for kind in slow_kinds if kind is not Sleep]
        assert len(kinds) <= len(slow_kinds) <= len(kinds) + len(pauses)
