"""What happened in a simulation, as a story: when, who, what."""

from __future__ import annotations

import hashlib
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import IO

from asyncray.errors import AsyncrayError
from asyncray.simulation.process import Process, current_process

_NOBODY = "simulator"


class Transcript:
    """One line an event, in the order of their times. The same seed gives the same lines, byte for byte."""

    def __init__(self, clock: Callable[[], float], *, limit: int | None = None) -> None:
        """`limit`: lines that are kept, the latest ones; all by default."""
        self._clock = clock
        self._limit = limit
        self._lines: list[str] = []
        self._digest = hashlib.blake2b(digest_size=16)
        self.echo: IO[str] | _Prints | None = None
        """Where each line is also written at once. `sys.stdout` is taken as it was before the simulation."""
        self._prints: _Prints | None = None
        self.closed = False

    def close(self) -> None:
        """The story is over: what still happens is not told."""
        if self._prints is not None:
            self._prints.end_lines()
        self.closed = True

    def note(self, who: Process | None, what: str) -> None:
        """`what` may have several lines."""
        if self.closed:
            return
        name = who.name if who is not None else _NOBODY
        for part in what.splitlines() or [""]:
            line = f"{self._clock():12.6f}  {name:<12} {part}"
            self._digest.update(line.encode())
            if self.echo is not None:
                (self.echo.original if isinstance(self.echo, _Prints) else self.echo).write(f"{line}\n")
            self._lines.append(line)
        if self._limit is not None and len(self._lines) > 2 * self._limit:
            del self._lines[: -self._limit]

    def delivered(self, time: float, source: Process, target: Process, route: str, body: bytes) -> None:
        """A message that has arrived: too many for a story, but part of what a seed decides.

        Its length stands for its content, in which cloudpickle leaves a random number for each class that it pickles
        by value. Whatever makes a difference shows in the times of what follows.
        """
        if self.closed:
            return
        self._digest.update(f"{time!r} {source.name} {target.name} {route} {len(body)}".encode())

    @property
    def fingerprint(self) -> str:
        """Of all that was told so far."""
        return self._digest.hexdigest()

    def __str__(self) -> str:
        return "\n".join(self._lines if self._limit is None else self._lines[-self._limit :])

    @contextmanager
    def listening(self, level: int = logging.INFO, on_bug: Callable[[str], None] = lambda text: None) -> Iterator[None]:
        """Meanwhile the story has what simulated processes log, and what user code in them prints.

        `on_bug` is told of logged exceptions that asyncray does not raise itself: nobody expected those.
        """
        logger = logging.getLogger("asyncray")
        before = logger.level, logger.propagate, logger.handlers[:]
        handler = _LogLines(self, on_bug)
        logger.setLevel(level)
        logger.propagate = False
        logger.handlers[:] = [handler]
        try:
            prints = self._prints = _Prints(self, sys.stdout)
            with redirect_stdout(prints):
                yield
        finally:
            self._prints = None
            logger.level, logger.propagate, logger.handlers[:] = before


class _LogLines(logging.Handler):
    def __init__(self, transcript: Transcript, on_bug: Callable[[str], None]) -> None:
        super().__init__()
        self._transcript = transcript
        self._on_bug = on_bug

    def emit(self, record: logging.LogRecord) -> None:
        process = current_process.get()
        self._transcript.note(process, f"{record.levelname.lower()}: {self.format(record)}")
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not isinstance(error, AsyncrayError) and not self._transcript.closed:
            where = process.name if process is not None else "somebody"
            self._on_bug(f"{where} has logged: {record.getMessage()}: {type(error).__name__}: {error}")


class _Prints:
    """A text stream: what simulated processes print goes to the story, all else where it went before."""

    def __init__(self, transcript: Transcript, original: IO[str]) -> None:
        self._transcript = transcript
        self.original = original
        self._partial: dict[Process, str] = {}

    def write(self, text: str) -> int:
        process = current_process.get()
        if process is None:
            return self.original.write(text)
        lines = (self._partial.pop(process, "") + text).split("\n")
        if lines[-1]:
            self._partial[process] = lines[-1]
        for line in lines[:-1]:
            self._transcript.note(process, f"prints: {line}")
        return len(text)

    def end_lines(self) -> None:
        """Tells what has no end of its line yet."""
        partial, self._partial = self._partial, {}
        for process, text in partial.items():
            self._transcript.note(process, f"prints: {text}")

    def flush(self) -> None:
        self.original.flush()
