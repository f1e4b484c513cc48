"""Looking at the cluster: tables of its state, its messages, its invariants."""

from __future__ import annotations

from typing import Final

from asyncray.simulation.invariants import ClusterState, quiescence
from asyncray.simulation.scenario.commands.kind import NAMES, Kind
from asyncray.simulation.scenario.errors import ScenarioError
from asyncray.simulation.scenario.message_text import KINDS as MESSAGES
from asyncray.simulation.scenario.stage import Stage
from asyncray.simulation.scenario.tables import TABLES, references

CALLS: Final = "calls"
"""Stands for all unary calls among the kinds of messages."""


async def _show(stage: Stage, table: str) -> None:
    if table not in TABLES:
        raise ScenarioError(f"there is nothing to show as {table!r}; there are {', '.join(TABLES)}")
    transcript = stage.cluster.world.transcript
    for line in TABLES[table](stage.cluster, stage.names) or [f"no {table}"]:
        transcript.note(None, line)


async def _show_references(stage: Stage, names: str) -> None:
    for line in references(stage.cluster, stage.names, names.split(", ")) or [f"no references to {names}"]:
        stage.cluster.world.transcript.note(None, line)


async def _messages_on(stage: Stage, but: str | None, kinds: str) -> None:
    named = frozenset(kinds.split())
    if unknown := sorted(named - MESSAGES.keys() - {CALLS}):
        raise ScenarioError(f"there is no message {unknown[0]!r}; there are {CALLS}, {', '.join(sorted(MESSAGES))}")
    everything = frozenset((*MESSAGES, CALLS))
    chosen = everything - named if but or not named else named
    stage.conversation.told = frozenset(MESSAGES[kind] for kind in chosen if kind != CALLS)
    stage.conversation.calls_told = CALLS in chosen


async def _messages_off(stage: Stage) -> None:
    stage.conversation.told = frozenset()
    stage.conversation.calls_told = False


async def _check(stage: Stage) -> None:
    cluster = stage.cluster
    nodes = [node.manager for node in cluster.nodes]
    state = ClusterState(cluster.control, nodes, list(cluster.runtimes.values()))
    for problem in quiescence(state, idle_links=True) or ["quiescent"]:
        cluster.world.transcript.note(None, stage.names.in_text(problem))


KINDS: Final = (
    Kind(f"show {' | '.join(TABLES)}", r"show (?P<table>\w+)", _show),
    Kind("show references to a, b", rf"show references to {NAMES}", _show_references),
    Kind("messages on [but] [TASK RESULT calls ...]", r"messages on(?P<but> but)?(?P<kinds>( \w+)*)", _messages_on),
    Kind("messages off", r"messages off", _messages_off),
    Kind("check", r"check", _check),
)
