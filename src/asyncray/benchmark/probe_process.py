"""A probe that runs, and every process that it has started, however far removed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psutil

from asyncray.benchmark.row import Plan

_MARK: Final = "ASYNCRAY_BENCHMARK_MARK"
"""An environment variable, which all descendants inherit: those whose parent has ended, too."""


class Probe:
    """One process of `asyncray.benchmark.probe`."""

    def __init__(self, process: subprocess.Popen[str], mark: str, timeout: float) -> None:
        self._process = process
        self._mark = mark
        self._timeout = timeout

    def figures(self) -> dict[str, float]:
        """What it prints. Raises TimeoutError, and RuntimeError when it fails."""
        watchdog = threading.Timer(self._timeout, self._process.kill)
        watchdog.start()
        try:
            assert self._process.stdout is not None
            line = self._process.stdout.readline()
        finally:
            late = not watchdog.is_alive()
            watchdog.cancel()
        if late:
            raise TimeoutError(f"it did not end within {self._timeout:.0f} s")
        if not line:
            raise RuntimeError("the probe failed: its error is above")
        figures: dict[str, float] = json.loads(line)
        return figures

    def processes(self) -> list[psutil.Process]:
        """The probe, its cluster's daemons and workers."""
        return [process for process in psutil.process_iter() if _environment(process).get(_MARK) == self._mark]

    def memory(self) -> int:
        """Bytes of all of them, a page that several share counted once (PSS)."""
        total = 0
        for process in self.processes():
            try:
                total += process.memory_full_info().pss
            except psutil.NoSuchProcess:
                continue
        return total

    def processor_seconds(self) -> dict[int, float]:
        """Time on a processor so far, by pid."""
        return {process.pid: _processor_seconds(process.pid) for process in self.processes()}


@contextmanager
def started_probe(kind: str, plan: Plan, *options: str, timeout: float = 60.0) -> Iterator[Probe]:
    """Starts a probe; in the end it is ended, and waited for."""
    mark = uuid.uuid4().hex
    command = [sys.executable, "-m", "asyncray.benchmark.probe", kind, *options]
    command += ["--blocking"] if plan.blocking else []
    command += [] if plan.uvloop else ["--asyncio"]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, _MARK: mark},
    )
    try:
        yield Probe(process, mark, timeout)
        process.communicate(timeout=timeout)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def _environment(process: psutil.Process) -> dict[str, Any]:
    try:
        return process.environ()
    except psutil.Error:
        return {}


def _processor_seconds(pid: int) -> float:
    """From the scheduler's own nanoseconds: the usual figures are in ticks of 10 ms, too coarse for an idle process."""
    total = 0
    for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        try:
            total += int(task.read_text().split()[0])
        except OSError:  # the thread has ended
            continue
    return total / 1e9
