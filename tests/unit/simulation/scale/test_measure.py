"""A small plan, simulated."""

from __future__ import annotations

from dataclasses import replace

from asyncray.simulation.scale.measure import measure
from asyncray.simulation.scale.plan import Plan
from asyncray.simulation.scale.workload import TREE

SMALL = Plan(nodes=3, actors=6, tasks=TREE + 10, drivers=2, cpus_per_node=2, task_seconds=0.02, actor_calls=2)


def test_the_cluster_does_all_its_work_and_the_figures_say_so() -> None:
    figures = measure(SMALL)
    assert (figures.nodes, figures.tasks, figures.actors) == (3, TREE + 10, 6)
    assert figures.actor_calls == 6 * (1 + 2 * 2)
    assert figures.processes >= 1 + 3 + 3 + 6
    assert figures.makespan > SMALL.tasks * SMALL.task_seconds / 6 / 2
    assert 1 < figures.messages_per_task < 100
    assert 0 < figures.control_share < 1


def test_the_same_seed_gives_the_same_figures_but_for_the_real_time_and_memory() -> None:
    first, second = (replace(measure(SMALL), real_seconds=0.0, peak_memory=0) for _ in range(2))
    assert first == second


def test_another_seed_gives_another_run() -> None:
    assert measure(SMALL).makespan != measure(replace(SMALL, seed=1)).makespan


def test_there_may_be_nothing_but_tasks_or_nothing_but_actors() -> None:
    assert measure(replace(SMALL, actors=0)).actor_calls == 0
    assert measure(replace(SMALL, tasks=0)).actor_calls == 30


def test_progress_is_told_in_lines() -> None:
    lines: list[str] = []
    measure(replace(SMALL, task_seconds=1.0), lines.append)
    assert "3 nodes have joined" in lines[0]
    assert "virtual seconds" in lines[1]
