"""Pipelines, lease queue, reclaiming and worker pool together, on a virtual clock.

See `LeaseWorld` for what is checked all the time and in the end.
"""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .lease_program import Step, peaceful, run, violent
from .virtual_loop import run_virtually

many = settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))


@many
@given(steps=st.lists(peaceful, max_size=12), seed=st.integers(0, 1000))
def test_all_work_gets_done_without_idle_leases_while_others_wait(steps: list[Step], seed: int) -> None:
    run_virtually(run(steps, seed))


@many
@given(steps=st.lists(violent, max_size=16), seed=st.integers(0, 1000))
def test_nothing_is_lost_or_leaked_when_workers_and_drivers_die(steps: list[Step], seed: int) -> None:
    run_virtually(run(steps, seed))
