"""Actors and their calls."""

from __future__ import annotations

from typing import Final

from asyncray.simulation.scenario.commands.kind import NAME, NAMES, ON_DRIVER, OPTIONS, Kind
from asyncray.simulation.scenario.commands.tasks import remote_options
from asyncray.simulation.scenario.errors import ScenarioError
from asyncray.simulation.scenario.expression import read_call
from asyncray.simulation.scenario.stage import Stage


async def _actor(stage: Stage, name: str, call: str, options: str, driver: str | None) -> None:
    creation = read_call(call)
    stage.driver(driver).create(name, creation.name, creation.arguments, remote_options(options))


async def _call(stage: Stage, names: str, call: str, driver: str | None) -> None:
    method = read_call(call)
    if not method.target:
        raise ScenarioError(f"{call!r} is no call of an actor: write 'task {names} = {call}'")
    stage.driver(driver).call(names.split(", "), method.target, method.name, method.arguments)


async def _kill(stage: Stage, name: str, driver: str | None) -> None:
    await stage.driver(driver).kill(name)


KINDS: Final = (
    Kind("actor c = Class(1) [cpus=1] [on driver 2]", rf"actor {NAME} = (?P<call>.+\)){OPTIONS}{ON_DRIVER}", _actor),
    Kind("call a = c.method(1, b) [on driver 2]", rf"call {NAMES} = (?P<call>.+\)){ON_DRIVER}", _call),
    Kind("kill actor c [on driver 2]", rf"kill actor {NAME}{ON_DRIVER}", _kill),
)
