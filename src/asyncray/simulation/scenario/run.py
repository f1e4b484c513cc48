"""Runs a scenario, and gives back its text with what really happened."""

from __future__ import annotations

from collections.abc import Sequence

from asyncray.simulation.scenario.commands import read_command
from asyncray.simulation.scenario.commands.kind import Action
from asyncray.simulation.scenario.errors import ScenarioError
from asyncray.simulation.scenario.file import Command, Scenario
from asyncray.simulation.scenario.stage import Stage
from asyncray.simulation.scenario.story import Story


def replay(scenario: Scenario) -> Scenario:
    """The same scenario, with the transcripts of this run. Takes virtual time only.

    Raises ScenarioError, with file and line, for a command that cannot be read (before anything runs) or done.
    """
    actions = [[_read(scenario, command) for command in block.commands] for block in scenario.blocks]
    stage = Stage()
    transcripts = stage.cluster.world.run(_run(scenario, stage, actions))
    return scenario.with_transcripts(transcripts)


async def _run(scenario: Scenario, stage: Stage, actions: Sequence[Sequence[Action]]) -> list[list[str]]:
    story = Story(stage.cluster.world.transcript, stage.names)
    transcripts = []
    await stage.cluster._start_control()
    for block, block_actions in zip(scenario.blocks, actions, strict=True):
        for command, action in zip(block.commands, block_actions, strict=True):
            try:
                await action(stage)
            except ScenarioError as error:
                raise _located(scenario, command, error) from None
        transcripts.append(story.news())
    return transcripts


def _read(scenario: Scenario, command: Command) -> Action:
    try:
        return read_command(command.text)
    except ScenarioError as error:
        raise _located(scenario, command, error) from None


def _located(scenario: Scenario, command: Command, error: ScenarioError) -> ScenarioError:
    return ScenarioError(f"{scenario.name}:{command.line}: {error}")
