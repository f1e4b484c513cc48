"""Who takes part: nodes and drivers."""

from __future__ import annotations

from typing import Any, Final

from asyncray.simulation.scenario.commands.kind import OPTIONS, Kind
from asyncray.simulation.scenario.driver import Driver
from asyncray.simulation.scenario.errors import ScenarioError
from asyncray.simulation.scenario.expression import read_options
from asyncray.simulation.scenario.stage import Stage

_MIB: Final = 1 << 20
_NODE_OPTIONS: Final = {
    "cpus": "num_cpus",
    "gpus": "num_gpus",
    "resources": "resources",
    "labels": "labels",
    "store": "object_store_memory",
    "memory": "host_memory",
}


async def _node(stage: Stage, options: str) -> None:
    """`store` and `memory` are in MiB."""
    settings: dict[str, Any] = {}
    for name, value in read_options(options).items():
        if name not in _NODE_OPTIONS:
            raise ScenarioError(f"a node has no {name!r}; it has {', '.join(_NODE_OPTIONS)}")
        settings[_NODE_OPTIONS[name]] = value * _MIB if name in ("store", "memory") else value
    await stage.cluster.add_node(**settings)


async def _driver(stage: Stage, node: str | None) -> None:
    driver = Driver(stage.cluster, stage.names, stage.node(node) if node else None)
    stage.drivers.append(driver)
    await driver.joined()


async def _leave(stage: Stage, number: str) -> None:
    stage.driver(number).leave()


async def _remove(stage: Stage, node: str) -> None:
    await stage.cluster.remove_node(stage.node(node))


KINDS: Final = (
    Kind('node cpus=2 gpus=1 store=8 memory=64 resources={"gadget":1} labels={"zone":"a"}', rf"node{OPTIONS}", _node),
    Kind("remove node 2", r"remove (?P<node>node \d+)", _remove),
    Kind("driver [on node 2]", r"driver( on (?P<node>node \d+))?", _driver),
    Kind("end driver 1", r"end driver (?P<number>\d+)", _leave),
)
