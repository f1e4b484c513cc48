"""How long the worker pool waits before it starts another worker, when those that it starts do not last."""

from __future__ import annotations

_FIRST = 0.1
_LONGEST = 30.0


class StartPause:
    """Doubles with each failure in a row, so that a broken environment does not keep the machine busy with forks."""

    def __init__(self) -> None:
        self.until = 0.0
        """Nothing is started before."""
        self._length = 0.0

    def failed(self, now: float) -> float:
        """A worker ended before it was of any use. Returns the length of the pause that begins, in seconds.

        That is 0 during a pause: what fails then was started before it.
        """
        if now < self.until:
            return 0.0
        self._length = min(2 * self._length, _LONGEST) if self._length else _FIRST
        self.until = now + self._length
        return self._length

    def succeeded(self) -> None:
        """A worker has come into use."""
        self._length = 0.0
