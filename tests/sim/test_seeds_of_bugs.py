"""Seeds with which random programs have found a bug, which is mended."""

from __future__ import annotations

import pytest

from asyncray.simulation.trial import run_trial


@pytest.mark.parametrize(
    ("seed", "profile"),
    [
        (359, "dying workers"),  # the bytes of an object were not sent, and stayed pinned at their source
        (23, "dying drivers"),  # a driver died while it joined, and its node knew it for ever
        (29, "dying drivers"),  # so did the control plane
        (240, "dying drivers"),  # a worker was to exit, and what it asked for to finish its work was not answered
        (5174, "dying workers"),  # an actor died, and what its calls had waited for came later: it was kept for ever
        (6005, "dying nodes"),  # a driver that had lost its node went on telling a dead machine what it had freed
        (3, "dying control plane"),  # an error that several had got kept an actor's handle alive
    ],
)
def test_a_program_that_has_failed_once_is_right(seed: int, profile: str) -> None:
    run_trial(seed, profile)


@pytest.mark.parametrize(
    ("seed", "profile", "nodes", "store"),
    [
        (1, "calm", 5, 838_860),  # likewise
        (10, "dying workers", 5, 838_656),  # what asyncio.gather had told of its references was collected as garbage
    ],
)
def test_a_program_with_little_memory_that_has_failed_once_is_right(
    seed: int, profile: str, nodes: int, store: int
) -> None:
    run_trial(seed, profile, nodes=nodes, operations=100, store=store)
