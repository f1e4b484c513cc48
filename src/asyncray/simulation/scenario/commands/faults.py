"""What goes wrong."""

from __future__ import annotations

from typing import Final

from asyncray.simulation.scenario.commands.kind import Kind
from asyncray.simulation.scenario.stage import Stage

_PROCESS: Final = r"(?P<process>worker \d+\.\d+|node \d+|driver \d+|control)"
_TWO: Final = r"(?P<one>node \d+|control) \| (?P<other>node \d+|control)"


async def _kill(stage: Stage, process: str) -> None:
    if process == "control":
        await stage.cluster.kill_control()
    else:
        stage.process(process).kill("killed by SIGKILL")


async def _lose(stage: Stage, node: str) -> None:
    stage.cluster.lose_machine(stage.node(node))


async def _freeze(stage: Stage, process: str) -> None:
    frozen = stage.process(process)
    frozen.freeze()
    stage.cluster.world.network.froze(frozen)


async def _thaw(stage: Stage, process: str) -> None:
    thawed = stage.process(process)
    thawed.thaw()
    stage.cluster.world.network.thawed(thawed)


async def _partition(stage: Stage, one: str, other: str, one_way: str | None) -> None:
    hosts = stage.process(one).host, stage.process(other).host
    stage.cluster.world.network.partition(*hosts, both=one_way is None)


async def _heal(stage: Stage) -> None:
    stage.cluster.world.network.heal_all()


async def _cut(stage: Stage, one: str, other: str) -> None:
    stage.cluster.world.network.cut(stage.process(one).host, stage.process(other).host)


async def _use(stage: Stage, process: str, mebibytes: str) -> None:
    stage.cluster.use_memory(stage.process(process), int(mebibytes) << 20)


KINDS: Final = (
    Kind("kill worker 1.1 | node 2 | driver 1 | control", rf"kill {_PROCESS}", _kill),
    Kind("lose machine of node 2", r"lose machine of (?P<node>node \d+)", _lose),
    Kind("freeze worker 1.1 | node 2 | driver 1 | control", rf"freeze {_PROCESS}", _freeze),
    Kind("thaw worker 1.1 | node 2 | driver 1 | control", rf"thaw {_PROCESS}", _thaw),
    Kind("partition node 1 | node 2 [one way]", rf"partition {_TWO}(?P<one_way> one way)?", _partition),
    Kind("heal", r"heal", _heal),
    Kind("use 500 MiB in worker 1.1 | driver 1", rf"use (?P<mebibytes>\d+) MiB in {_PROCESS}", _use),
    Kind("cut node 1 | node 2", rf"cut {_TWO}", _cut),
)
