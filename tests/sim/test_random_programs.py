"""Random programs on simulated clusters, each seed with one profile of faults; `--sim-seeds 1000` runs that many."""

from __future__ import annotations

from asyncray.simulation.faults import PROFILES
from asyncray.simulation.trial import run_trial

SEEDS = 50


def test_a_random_program_is_right_and_leaves_nothing(sim_seed: int) -> None:
    """The profiles take turns; every other seed is calm."""
    profiles = [name for name in PROFILES if name != "calm"]
    run_trial(sim_seed, profiles[sim_seed // 2 % len(profiles)] if sim_seed % 2 else "calm")


test_a_random_program_is_right_and_leaves_nothing.__asyncray_sim_seeds__ = SEEDS  # type: ignore[attr-defined]
