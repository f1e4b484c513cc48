"""Whole worlds of processes, checked after every step against an account of their own.

`ASYNCRAY_MODEL_PROGRAMS=20000 pytest --timeout=0 ...` runs as many programs of each kind.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from asyncray import messages
from asyncray.messages import Address
from asyncray.worker.effects import Effect, Send
from asyncray.worker.ownership import Ownership
from asyncray.worker.reference import Confirmation, Execution, Reference

from .ownership_program import Program
from .ownership_world import World

PROGRAMS = int(os.environ.get("ASYNCRAY_MODEL_PROGRAMS", "200"))
STEPS = 150
WEIGHTS = {
    "deliver": 15,
    "flush": 4,
    "stall": 4,
    "squeeze": 6,
    "share": 5,
    "relay": 4,
    "put": 4,
    "submit": 9,
    "submit_again": 2,
    "start": 14,
    "finish": 14,
    "drop": 6,
    "drop_all": 1,
    "fetch": 12,
    "spawn": 0.5,
}
"""How often a random program does what. Each program favours some of it, so that not all of them are alike."""

OwnershipType = Callable[[bytes], Ownership]


def run_program(seed: int, crashes: bool, ownership: OwnershipType = Ownership) -> None:
    generator = random.Random(seed)
    program = Program(World(generator.choice((3, 3, 4, 5)), ownership), generator.choice)
    weights = {**WEIGHTS, "crash": 1.5} if crashes else WEIGHTS
    favoured = [weight * generator.choice((0.3, 1, 1, 3)) for weight in weights.values()]
    for operation in generator.choices(list(weights), favoured, k=STEPS):
        program.step(operation)
    program.end()


def first_failure(ownership: OwnershipType, crashes: bool, programs: int = 1000) -> str:
    """What is wrong with the first program that this way of counting fails."""
    for seed in range(programs):
        try:
            run_program(seed, crashes, ownership)
        except AssertionError as failure:
            return str(failure)
    return ""


@pytest.mark.parametrize("tenth", range(10))
@pytest.mark.parametrize("crashes", [False, True], ids=["calm", "crashes"])
def test_random_programs_lose_nothing_and_leak_nothing(crashes: bool, tenth: int) -> None:
    for seed in range(tenth, PROGRAMS, 10):
        try:
            run_program(seed, crashes)
        except AssertionError as failure:
            pytest.fail(f"program {seed}: {failure}")


class OwnershipMachine(RuleBasedStateMachine):
    """The same, with the steps chosen by hypothesis, which makes a failure as short as can be."""

    failed = True

    @initialize(processes=st.integers(3, 5))
    def begin(self, processes: int) -> None:
        self.program = Program(World(processes), lambda options: options[0])
        self.failed = False

    def teardown(self) -> None:
        if not self.failed:
            self.program.choose = lambda options: options[0]
            self.program.end()


def _rule(operation: str) -> Any:
    def step(self: OwnershipMachine, data: st.DataObject) -> None:
        self.failed = True
        self.program.choose = lambda options: options[data.draw(st.integers(0, len(options) - 1))]
        self.program.step(operation)
        self.failed = False

    step.__name__ = operation
    return rule(data=st.data())(step)


for _operation in [*WEIGHTS, "crash"]:
    setattr(OwnershipMachine, _operation, _rule(_operation))

TestOwnershipMachine = OwnershipMachine.TestCase
TestOwnershipMachine.settings = settings(
    max_examples=PROGRAMS,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


# ---- the account can fail: ways of counting that are wrong


class ReleaseIsLost(Ownership):
    def take_effects(self) -> list[Effect]:
        effects = super().take_effects()
        return [e for e in effects if not (isinstance(e, Send) and e.message[0] == messages.RELEASE)]


class BorrowIsAcknowledgedBeforeItIsRecorded(Ownership):
    late: tuple[Address, bytes, int] | None = None

    def on_borrow(self, sender: Address, id: bytes, sequence: int) -> None:
        if self.late is not None:
            late, self.late = self.late, None
            before = len(self.effects)
            super().on_borrow(*late)
            del self.effects[before:]
        alive = self.owned(id) is not None
        if alive:
            self.late = sender, id, sequence
        self.effects.append(Send(sender, (messages.BORROW_ACK, id, sequence, alive)))


class WaitsForNoConfirmation(Ownership):
    def _wait(self, reference: Reference, source: Reference | Execution | None) -> None:
        if not isinstance(source, Confirmation):
            super()._wait(reference, source)


class RepliesAtOnce(Ownership):
    def _wait(self, reference: Reference, source: Reference | Execution | None) -> None:
        if not isinstance(source, Execution) or isinstance(source, Confirmation):
            super()._wait(reference, source)


class DropsTheOuterAtOnce(Ownership):
    def _wait(self, reference: Reference, source: Reference | Execution | None) -> None:
        if not isinstance(source, Reference):
            super()._wait(reference, source)


class TakesAnyAcknowledgement(Ownership):
    def on_borrow_ack(self, sender: Address, id: bytes, sequence: int, alive: bool) -> None:
        reference = self.references.find(id, sender[0])
        super().on_borrow_ack(sender, id, reference.sequence if reference else sequence, alive)


class ForgetsWhatItReturned(Ownership):
    def hold_result(self, *arguments: Any) -> None:
        pass


class HeedsTheDead(Ownership):
    def process_lost(self, process_id: bytes) -> None:
        super().process_lost(process_id)
        self.process_connected(process_id)


class KeepsResultsOfTheDead(Ownership):
    def process_lost(self, process_id: bytes) -> None:
        if process_id in self.ties:
            self.ties[process_id].results.clear()
        super().process_lost(process_id)


@pytest.mark.parametrize(
    ("ownership", "crashes", "complaint"),
    [
        (ReleaseIsLost, False, "still knows"),
        (BorrowIsAcknowledgedBeforeItIsRecorded, False, "freed too early"),
        (WaitsForNoConfirmation, False, "freed too early"),
        (RepliesAtOnce, False, "freed too early"),
        (DropsTheOuterAtOnce, False, "freed too early"),
        (TakesAnyAcknowledgement, False, "freed too early"),
        (ForgetsWhatItReturned, False, "freed too early"),
        (HeedsTheDead, True, "still knows"),
        (KeepsResultsOfTheDead, True, "still knows"),
    ],
)
def test_the_account_notices(ownership: type[Ownership], crashes: bool, complaint: str) -> None:
    assert complaint in first_failure(ownership, crashes)
