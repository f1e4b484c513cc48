"""The text of a scenario: a title, then blocks of commands, each with the transcript of what they brought about.

    # One task: the driver leases a worker, and sends it the task.

    # Remarks may stand before any block.
    node cpus=1
    driver
    ----
    node 1: starts at 10.0.0.2 with 1 CPUs

    task a = double(21)
    get a
    ----
    driver 1: a = 42

A block's commands come one a line. The transcript is the lines from `----` to the next blank line; it may be empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from asyncray.simulation.scenario.errors import ScenarioError

SEPARATOR = "----"


@dataclass(frozen=True, slots=True)
class Command:
    """One line of a block."""

    text: str
    line: int
    """Its number in the file, from 1."""


@dataclass(frozen=True, slots=True)
class Block:
    """Commands, and what is expected to happen because of them."""

    commands: tuple[Command, ...]
    expected: tuple[str, ...]
    remarks: tuple[str, ...] = ()
    """The lines above it, `#` included."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A whole file."""

    name: str
    """How errors call the file."""
    title: tuple[str, ...]
    """What it shows: its first lines, `#` included."""
    blocks: tuple[Block, ...]

    def with_transcripts(self, transcripts: Sequence[Sequence[str]]) -> Scenario:
        """The same commands, with something else expected."""
        blocks = (replace(block, expected=tuple(lines)) for block, lines in zip(self.blocks, transcripts, strict=True))
        return replace(self, blocks=tuple(blocks))

    def __str__(self) -> str:
        """The text of the file."""
        parts = ["\n".join(self.title)]
        for block in self.blocks:
            commands = (command.text for command in block.commands)
            parts.append("\n".join((*block.remarks, *commands, SEPARATOR, *block.expected)))
        return "\n\n".join(parts) + "\n"


def read_scenario(text: str, name: str) -> Scenario:
    """Reads the text of a file that is called `name`. Raises ScenarioError."""
    reader = _Reader(name)
    for number, line in enumerate(text.splitlines(), 1):
        reader.take(number, line.rstrip())
    return reader.finished()


@dataclass(slots=True)
class _Reader:
    name: str
    title: tuple[str, ...] = ()
    blocks: list[Block] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    expected: list[str] | None = None
    """None before the separator."""

    def take(self, number: int, line: str) -> None:
        if self.expected is not None:
            if line:
                self.expected.append(line)
            else:
                self._end_block()
        elif line == SEPARATOR:
            if not self.commands:
                raise ScenarioError(f"{self.name}:{number}: {SEPARATOR} without a command above it")
            self.expected = []
        elif not line:
            self._end_paragraph(number)
        elif line.startswith("#") and not self.commands:
            self.remarks.append(line)
        else:
            if not self.title:
                raise ScenarioError(f"{self.name}:{number}: a scenario begins with '# ' and what it shows")
            self.commands.append(Command(line, number))

    def finished(self) -> Scenario:
        if self.expected is not None:
            self._end_block()
        self._check_separated()
        if self.remarks or not self.blocks:
            raise ScenarioError(f"{self.name}: it ends where commands should follow")
        return Scenario(self.name, self.title, tuple(self.blocks))

    def _end_paragraph(self, number: int) -> None:
        """A blank line outside of a transcript."""
        self._check_separated()
        if not self.title:
            self.title, self.remarks = tuple(self.remarks), []
        elif self.remarks:
            raise ScenarioError(f"{self.name}:{number}: a remark belongs to the commands right below it")

    def _check_separated(self) -> None:
        if self.commands:
            last = self.commands[-1]
            raise ScenarioError(f"{self.name}:{last.line}: {SEPARATOR} is missing after {last.text!r}")

    def _end_block(self) -> None:
        self.blocks.append(Block(tuple(self.commands), tuple(self.expected or ()), tuple(self.remarks)))
        self.commands, self.remarks, self.expected = [], [], None
