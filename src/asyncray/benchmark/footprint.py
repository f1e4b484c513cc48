"""Rows: what a cluster takes to start and to stop, and what it uses while nothing happens."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Final

from asyncray.benchmark.probe_process import started_probe
from asyncray.benchmark.row import Plan, Row

TIMES: Final = 5
"""How often a process is started to take its time."""
SETTLE: Final = 2.0
"""Seconds until an idle cluster has given back what it keeps for a short while."""
IDLE: Final = 5.0
"""Seconds over which idle processor time is measured."""
_IMPORT: Final = """
import time
start = time.perf_counter()
import asyncray
asyncray.init, asyncray.remote, asyncray.get, asyncray.put, asyncray.wait
print(time.perf_counter() - start)
"""


class ImportTime(Row):
    """Public names are imported when they are first used: those that every program uses are asked for."""

    name = "import"
    unit = "s"
    goal = 0.15
    less_is_better = True

    def samples(self, plan: Plan) -> list[float]:
        command = [sys.executable, "-c", _IMPORT]
        runs = [subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(TIMES + 1)]
        return [float(run.stdout) for run in runs[1:]]  # the first one may have had to read from disk


class _Life(Row):
    unit = "s"
    less_is_better = True
    figure: str

    def samples(self, plan: Plan) -> list[float]:
        taken = []
        for _ in range(TIMES):
            with started_probe("life", plan) as probe:
                taken.append(probe.figures()[self.figure])
        return taken


class InitToFirstResult(_Life):
    name = "init to first result"
    goal = 0.4
    figure = "first_result"


class Shutdown(_Life):
    name = "shutdown"
    goal = 0.2
    figure = "shutdown"


class IdleMemory(Row):
    name = "memory of an idle 2-CPU cluster and its driver"
    unit = "MB"
    goal = 90
    less_is_better = True

    def samples(self, plan: Plan) -> list[float]:
        with started_probe("idle", plan) as probe:
            probe.figures()
            time.sleep(SETTLE)
            return [probe.memory() / 1e6]


class IdleProcessorTime(Row):
    """Of the driver and its cluster together, in percent of one core."""

    name = "idle processor time"
    unit = "%"
    goal = 0.5
    less_is_better = True

    def samples(self, plan: Plan) -> list[float]:
        with started_probe("idle", plan) as probe:
            probe.figures()
            time.sleep(SETTLE)
            before, start = probe.processor_seconds(), time.perf_counter()
            time.sleep(IDLE)
            after, elapsed = probe.processor_seconds(), time.perf_counter() - start
        used = sum(seconds - before.get(pid, 0.0) for pid, seconds in after.items())
        return [100 * used / elapsed]


ROWS = (ImportTime, InitToFirstResult, Shutdown, IdleMemory, IdleProcessorTime)
