"""The lines of the cluster's transcript as a scenario shows them: without times, and with names for ids."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from asyncray.simulation.scenario.names import Names
from asyncray.simulation.transcript import Transcript

_NAME_AT: Final = 14
_TEXT_AT: Final = 27
"""Columns of a transcript's lines: the time, who, what."""
_INFORMATION: Final = "info: "
_SIMULATOR: Final = "simulator"
"""Its lines answer commands: they need no name."""
_TRACEBACK: Final = "Traceback (most recent call last):"


class Story:
    """What a transcript has had since it was last asked."""

    def __init__(self, transcript: Transcript, names: Names) -> None:
        self._transcript = transcript
        self._names = names
        self._told = 0

    def news(self) -> list[str]:
        lines = str(self._transcript).splitlines()
        new, self._told = lines[self._told :], len(lines)
        return list(self._texts(new))

    def _texts(self, lines: list[str]) -> Iterator[str]:
        """Without tracebacks, which name places in source files."""
        in_traceback = False
        for line in lines:
            who, what = line[_NAME_AT:_TEXT_AT].rstrip(), line[_TEXT_AT:]
            if in_traceback or what == _TRACEBACK:
                in_traceback = what == _TRACEBACK or what.startswith(" ")  # the last line of one is not indented
                continue
            what = self._names.in_text(what.removeprefix(_INFORMATION))
            if who == _SIMULATOR:
                yield what
            else:
                yield f"{who} {what}" if what.startswith("->") else f"{who}: {what}"
