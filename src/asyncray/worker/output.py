"""What user code prints in a worker: into the worker's log file, and on to the driver."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TextIO


class ForwardedOutput(io.TextIOBase):
    """Stands for `sys.stdout` or `sys.stderr`: writes through, and hands over whole lines. Any thread."""

    def __init__(self, target: TextIO, forward: Callable[[str], None]) -> None:
        self._target = target
        self._forward = forward
        self._pending = ""

    def write(self, text: str) -> int:
        self._target.write(text)
        pending = self._pending + text
        lines, newline, self._pending = pending.rpartition("\n")
        if newline:
            self._forward(lines)
        return len(text)

    def flush(self) -> None:
        self._target.flush()

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        return self._target.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._target.encoding
