"""What is wrong with a scenario's text."""

from __future__ import annotations

from asyncray.errors import AsyncrayError


class ScenarioError(AsyncrayError):
    """A scenario cannot be read, or one of its commands makes no sense where it stands. Names file and line."""
