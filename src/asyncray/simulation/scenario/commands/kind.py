"""A kind of command: how it is written, and what it does."""

from __future__ import annotations

import functools
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from asyncray.simulation.scenario.stage import Stage

Action = Callable[[Stage], Awaitable[None]]

ON_DRIVER: Final = r"( on driver (?P<driver>\d+))?"
OPTIONS: Final = r"(?P<options>( \w+=\S+)*)"
NAME: Final = r"(?P<name>\w+)"
NAMES: Final = r"(?P<names>\w+(, \w+)*)"


@dataclass(frozen=True, slots=True)
class Kind:
    """`run(stage, **groups)` gets the named groups of the pattern: texts, None for those that are absent."""

    usage: str
    pattern: str
    run: Callable[..., Awaitable[None]]

    def read(self, text: str) -> Action | None:
        """None for another kind's text."""
        match = re.fullmatch(self.pattern, text)
        return functools.partial(_run, self.run, match.groupdict()) if match is not None else None


async def _run(run: Callable[..., Awaitable[None]], groups: dict[str, str | None], stage: Stage) -> None:
    await run(stage, **groups)
