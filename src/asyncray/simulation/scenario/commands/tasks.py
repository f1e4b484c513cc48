"""Tasks and objects: what returns at once, and what waits for values."""

from __future__ import annotations

from typing import Any, Final

from asyncray.simulation.scenario.commands.kind import NAME, NAMES, ON_DRIVER, OPTIONS, Kind
from asyncray.simulation.scenario.errors import ScenarioError
from asyncray.simulation.scenario.expression import read_call, read_options, read_value
from asyncray.simulation.scenario.stage import Stage

_PATIENCE: Final = 60.0
"""Virtual seconds for which `get` waits at the most."""
_OPTIONS: Final = {
    "cpus": "num_cpus",
    "gpus": "num_gpus",
    "resources": "resources",
    "retries": "max_retries",
    "concurrency": "max_concurrency",
}


def remote_options(text: str) -> dict[str, Any]:
    """Those of `@remote`. Raises ScenarioError."""
    options = {}
    for name, value in read_options(text).items():
        if name not in _OPTIONS:
            raise ScenarioError(f"there is no option {name!r}; there are {', '.join(_OPTIONS)}")
        options[_OPTIONS[name]] = value
    return options


async def _task(stage: Stage, names: str, call: str, options: str, driver: str | None) -> None:
    function = read_call(call)
    if function.target:
        raise ScenarioError(f"{call!r} is a call of an actor: write 'call {names} = {call}'")
    stage.driver(driver).submit(names.split(", "), function.name, function.arguments, remote_options(options))


async def _put(stage: Stage, name: str, value: str, driver: str | None) -> None:
    make = read_value(value)
    chosen = stage.driver(driver)
    await chosen.put(name, lambda: make(chosen.value))


async def _get(stage: Stage, name: str, seconds: str | None, driver: str | None) -> None:
    await stage.driver(driver).get(name, _PATIENCE if seconds is None else float(seconds))


async def _wait(stage: Stage, count: str, names: str, seconds: str | None, driver: str | None) -> None:
    await stage.driver(driver).wait(names.split(", "), int(count), _PATIENCE if seconds is None else float(seconds))


async def _watch(stage: Stage, name: str, driver: str | None) -> None:
    stage.driver(driver).watch(name)


async def _cancel(stage: Stage, name: str, driver: str | None) -> None:
    stage.driver(driver).cancel(name)


KINDS: Final = (
    Kind(
        "task a = function(1, b, [c]) [cpus=2] [retries=0] [on driver 2]",
        rf"task {NAMES} = (?P<call>.+\)){OPTIONS}{ON_DRIVER}",
        _task,
    ),
    Kind("put a = [1, b] [on driver 2]", rf"put {NAME} = (?P<value>.+?){ON_DRIVER}", _put),
    Kind("get a [within 2.5] [on driver 2]", rf"get {NAME}( within (?P<seconds>[\d.]+))?{ON_DRIVER}", _get),
    Kind(
        "wait for 1 of a, b [within 2.5] [on driver 2]",
        rf"wait for (?P<count>\d+) of {NAMES}( within (?P<seconds>[\d.]+))?{ON_DRIVER}",
        _wait,
    ),
    Kind("watch a [on driver 2]", rf"watch {NAME}{ON_DRIVER}", _watch),
    Kind("cancel a [on driver 2]", rf"cancel {NAME}{ON_DRIVER}", _cancel),
)
