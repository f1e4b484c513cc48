"""What user code prints in a worker: into the worker's own file, and on to the driver."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from typing import BinaryIO, TextIO


class _Line(threading.local):
    """What a thread has written since its last newline."""

    begun = ""


class ForwardedOutput(io.TextIOBase):
    """Stands for `sys.stdout` or `sys.stderr`: writes through, and hands over whole lines. Any thread."""

    def __init__(self, target: TextIO, forward: Callable[[str], None]) -> None:
        self._target = target
        self._forward = forward
        self._line = _Line()

    def write(self, text: str) -> int:
        self._target.write(text)
        line = self._line
        lines, newline, line.begun = (line.begun + text).rpartition("\n")
        if newline:
            self._forward(lines)
        return len(text)

    def end_line(self) -> None:
        """Hands over what the calling thread has written without a newline at the end."""
        begun = self._line.begun
        if begun:
            self._line.begun = ""
            self._forward(begun)

    def flush(self) -> None:
        self._target.flush()

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        return self._target.fileno()

    @property
    def buffer(self) -> BinaryIO:
        """What is written to it gets into the log file only."""
        return self._target.buffer

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._target.encoding
