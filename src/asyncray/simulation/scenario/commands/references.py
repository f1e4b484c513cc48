"""Who holds which reference."""

from __future__ import annotations

from typing import Final

from asyncray.simulation.scenario.commands.kind import NAME, NAMES, ON_DRIVER, Kind
from asyncray.simulation.scenario.stage import Stage


async def _take(stage: Stage, name: str, source: str, index: str, driver: str | None) -> None:
    await stage.driver(driver).take(name, source, int(index))


async def _drop(stage: Stage, names: str, driver: str | None) -> None:
    for name in names.split(", "):
        stage.driver(driver).drop(name)


async def _free(stage: Stage, names: str, driver: str | None) -> None:
    await stage.driver(driver).free(names.split(", "))


KINDS: Final = (
    Kind("take inner = a[0] [on driver 2]", rf"take {NAME} = (?P<source>\w+)\[(?P<index>\d+)\]{ON_DRIVER}", _take),
    Kind("drop a, b [on driver 2]", rf"drop {NAMES}{ON_DRIVER}", _drop),
    Kind("free a, b [on driver 2]", rf"free {NAMES}{ON_DRIVER}", _free),
)
