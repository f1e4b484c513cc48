"""What asyncray catches and logs lest a daemon ends is a bug nevertheless: a simulation fails of it."""

from __future__ import annotations

import asyncio

import pytest

import asyncray
from asyncray.simulation.world import SimulationFailed
from asyncray.testing import SimCluster
from asyncray.worker.leases import Leases


@asyncray.remote
def double(number: int) -> int:
    return 2 * number


def test_an_exception_that_is_caught_by_whoever_catches_all_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Leases, *fields: object) -> None:
        raise ZeroDivisionError("the handler of a message has a bug")

    async def program(cluster: SimCluster) -> None:
        await cluster.add_node()
        async with asyncray.init():
            await asyncio.wait([double.remote(1)], timeout=5)

    monkeypatch.setattr(Leases, "_on_granted", fail)
    with pytest.raises(SimulationFailed, match=r"driver 1 has logged: .* its receiver failed: ZeroDivisionError"):
        SimCluster(1).run(program)
