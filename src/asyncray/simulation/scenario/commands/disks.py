"""What happens to the disks of machines."""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import Final

from asyncray.simulation.disk import SimulatedDisk
from asyncray.simulation.scenario.commands.kind import Kind
from asyncray.simulation.scenario.errors import ScenarioError
from asyncray.simulation.scenario.stage import Stage

_DISK: Final = r"disk of (?P<node>node \d+)"


def _disk(stage: Stage, node: str) -> SimulatedDisk:
    return stage.cluster.world.disk(stage.node(node).host)


async def _size(stage: Stage, node: str, mebibytes: str) -> None:
    disk = _disk(stage, node)
    disk.conditions = replace(disk.conditions, capacity=int(mebibytes) << 20)


async def _slow(stage: Stage, node: str, factor: str) -> None:
    _disk(stage, node).slow(float(factor))


async def _fail(stage: Stage, node: str, which: str | None) -> None:
    _disk(stage, node).fail(errno.EIO, reads=which != "writes", writes=which != "reads")


async def _heal(stage: Stage, node: str) -> None:
    _disk(stage, node).heal()


async def _corrupt(stage: Stage, node: str) -> None:
    """The first one that there is."""
    contents = _disk(stage, node).contents
    files = [path for path, size in contents.files().items() if size]
    if not files:
        raise ScenarioError(f"there is no file on the disk of {node}")
    contents.corrupt(files[0])


KINDS: Final = (
    Kind("disk of node 1 has 4 MiB", rf"{_DISK} has (?P<mebibytes>\d+) MiB", _size),
    Kind("disk of node 1 is 100 times as slow", rf"{_DISK} is (?P<factor>[\d.]+) times as slow", _slow),
    Kind("disk of node 1 fails [reads | writes]", rf"{_DISK} fails( (?P<which>reads|writes))?", _fail),
    Kind("disk of node 1 works", rf"{_DISK} works", _heal),
    Kind("disk of node 1 forgets a bit", rf"{_DISK} forgets a bit", _corrupt),
)
