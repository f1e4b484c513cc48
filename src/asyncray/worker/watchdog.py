"""Names the coroutine that blocks a worker's loop."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import traceback
from types import FrameType

_log = logging.getLogger(__name__)


class LoopWatchdog:
    """A thread that looks, now and then, whether the loop has moved on. Start it from the loop's own thread."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._beats = 0
        self._stopped = threading.Event()
        self._reported = -1
        threading.Thread(target=self._watch, name="asyncray watchdog", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def _watch(self) -> None:
        while not self._stopped.is_set():
            seen = self._beats
            self._loop.call_soon_threadsafe(self._beat)
            if self._stopped.wait(self._limit):
                return
            if self._beats == seen and self._reported != seen:
                self._reported = seen
                self._report()

    def _beat(self) -> None:
        self._beats += 1

    def _report(self) -> None:
        frame = sys._current_frames().get(self._loop_thread)
        if frame is None:
            return
        culprit = user_frame(frame)
        _log.warning(
            "a coroutine blocks this worker's event loop for more than %g s, at %s:%d in %s():"
            " use asyncio's functions there, or a plain `def`, which runs on a thread of its own\n%s",
            self._limit,
            culprit.f_code.co_filename,
            culprit.f_lineno,
            culprit.f_code.co_name,
            "".join(traceback.format_stack(frame)[-3:]),
        )


def user_frame(frame: FrameType) -> FrameType:
    """The innermost frame that is not of asyncio: the line to look at."""
    current: FrameType | None = frame
    while current is not None and f"{asyncio.__name__}/" in current.f_code.co_filename:
        current = current.f_back
    return current or frame
