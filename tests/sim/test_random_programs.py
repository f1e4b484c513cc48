"""Random programs on simulated clusters, each seed with one profile of faults; `--sim-seeds 1000` runs that many."""

from __future__ import annotations

from dataclasses import replace

from asyncray.config import DEFAULT
from asyncray.pytest_plugin import SEEDS_ATTRIBUTE
from asyncray.simulation.cluster import SimCluster
from asyncray.simulation.faults import PROFILES
from asyncray.simulation.trial import SMALL_STORE, run_trial


def profile_of(seed: int) -> str:
    """The profiles take turns; every other seed is calm."""
    profiles = [name for name in PROFILES if name != "calm"]
    return profiles[seed // 2 % len(profiles)] if seed % 2 else "calm"


def test_a_random_program_is_right_and_leaves_nothing(sim_seed: int) -> None:
    run_trial(sim_seed, profile_of(sim_seed))


def test_a_random_program_with_large_values_is_right_on_one_node(sim_seed: int) -> None:
    run_trial(sim_seed, profile_of(sim_seed), nodes=1, operations=100)


def test_a_random_program_is_right_when_processes_part_as_soon_as_they_can(sim_seed: int) -> None:
    profile = profile_of(sim_seed)
    config = replace(DEFAULT, link_idle_timeout=0.004, reference_sweep_interval=0.002, idle_sweep_interval=0.01)
    conditions = PROFILES[profile].conditions
    cluster = SimCluster(sim_seed, config=config, conditions=conditions, horizon=10_000)
    run_trial(sim_seed, profile, cluster=cluster)


def test_a_random_program_is_right_when_copies_take_long(sim_seed: int) -> None:
    """A large value is on its way for a tenth of a second: most faults come in the middle of some."""
    profile = profile_of(sim_seed)
    conditions = replace(PROFILES[profile].conditions, bandwidth=1e6)
    cluster = SimCluster(sim_seed, conditions=conditions, horizon=10_000)
    run_trial(sim_seed, profile, operations=100, cluster=cluster)


def test_a_random_program_is_right_when_large_values_go_to_disk(sim_seed: int) -> None:
    """A store has room for a dozen large values. Tasks of bursts take a while: workers die with many not begun."""
    nodes = 1 + 4 * (sim_seed // 2 % 2)
    run_trial(sim_seed, profile_of(sim_seed), nodes=nodes, operations=100, store=SMALL_STORE, pause=0.002)


def test_a_random_program_is_right_when_it_holds_more_than_memory(sim_seed: int) -> None:
    """What finds no room goes to disk: every value fits the store, and hardly two do."""
    run_trial(sim_seed, profile_of(sim_seed), nodes=1 + sim_seed % 2, store=700_000)


setattr(test_a_random_program_is_right_and_leaves_nothing, SEEDS_ATTRIBUTE, 50)
setattr(test_a_random_program_with_large_values_is_right_on_one_node, SEEDS_ATTRIBUTE, 6)
setattr(test_a_random_program_is_right_when_processes_part_as_soon_as_they_can, SEEDS_ATTRIBUTE, 8)
setattr(test_a_random_program_is_right_when_copies_take_long, SEEDS_ATTRIBUTE, 6)
setattr(test_a_random_program_is_right_when_large_values_go_to_disk, SEEDS_ATTRIBUTE, 6)
setattr(test_a_random_program_is_right_when_it_holds_more_than_memory, SEEDS_ATTRIBUTE, 8)
