"""Virtual time."""

from __future__ import annotations

import asyncio
from typing import Final

from asyncray.simulation.scenario.commands.kind import Kind
from asyncray.simulation.scenario.stage import Stage


async def _advance(stage: Stage, seconds: str) -> None:
    await asyncio.sleep(float(seconds))


async def _until_quiet(stage: Stage) -> None:
    await stage.until_quiet()


async def _time(stage: Stage) -> None:
    stage.cluster.world.transcript.note(None, f"it is {asyncio.get_running_loop().time():.6f} s")


KINDS: Final = (
    Kind("advance 1.5", r"advance (?P<seconds>[\d.]+)", _advance),
    Kind("until quiet", r"until quiet", _until_quiet),
    Kind("time", r"time", _time),
)
