"""What the scripts of the peers share: rows by name, timed as `asyncray microbenchmark` times its own.

    python peers/X_rows.py [--seconds S] [NAME ...]

prints one line of JSON for each row that was named, or for all. It runs in the peer's environment, so it uses nothing
of asyncray.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil

Samples = list[float]
Measure = Callable[[float], Samples]

REPETITIONS = 4
WARM_UP_LIMIT = 1.0
TIMES = 5
SETTLE = 2.0
IDLE = 5.0

_rows: dict[str, Measure] = {}


def row(name: str) -> Callable[[Measure], Measure]:
    """Registers what measures a row; it is given the length of a time slice, and returns samples."""

    def register(measure: Measure) -> Measure:
        _rows[name] = measure
        return measure

    return register


def slices(seconds: float) -> list[float]:
    """The first is for warming up."""
    return [min(seconds, WARM_UP_LIMIT), *[seconds] * REPETITIONS]


def throughput(work: Callable[[], object], seconds: float, amount: float = 1) -> Samples:
    """How much a second, when one round of work does `amount`."""

    def measure(length: float) -> float:
        rounds, start = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - start) < length or not rounds:
            work()
            rounds += 1
        return amount * rounds / elapsed

    return [measure(length) for length in slices(seconds)][1:]


async def throughput_async(work: Callable[[], Awaitable[object]], seconds: float, amount: float = 1) -> Samples:
    """The same for a coroutine function."""

    async def measure(length: float) -> float:
        rounds, start = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - start) < length or not rounds:
            await work()
            rounds += 1
        return amount * rounds / elapsed

    return [await measure(length) for length in slices(seconds)][1:]


def throughput_of_fresh(
    fresh: Callable[[], object], work: Callable[[object], object], seconds: float, amount: float
) -> Samples:
    """The same where each round works on something new: what `fresh` gives, whose time does not count."""

    def measure(length: float) -> float:
        rounds, taken = 0, 0.0
        while taken < length or not rounds:
            thing = fresh()
            start = time.perf_counter()
            work(thing)
            taken += time.perf_counter() - start
            rounds += 1
            del thing
        return amount * rounds / taken

    return [measure(length) for length in slices(seconds)][1:]


def of_programs(text: str, times: int = TIMES) -> Samples:
    """The numbers that a program prints when it is run again and again."""
    command = [sys.executable, "-c", text]
    runs = [subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True) for _ in range(times + 1)]
    return [float(run.stdout.split()[-1]) for run in runs[1:]]  # the first one may have had to read from disk


def family() -> list[psutil.Process]:
    """This process and its descendants."""
    this = psutil.Process()
    return [this, *this.children(recursive=True)]


def idle_memory() -> Samples:
    """MB of the family, a page that several share counted once (PSS)."""
    time.sleep(SETTLE)
    return [sum(process.memory_full_info().pss for process in family()) / 1e6]


def idle_processor_time() -> Samples:
    """Of the family, in percent of one core."""
    time.sleep(SETTLE)
    before, start = _processor_seconds(), time.perf_counter()
    time.sleep(IDLE)
    after, elapsed = _processor_seconds(), time.perf_counter() - start
    return [100 * sum(seconds - before.get(pid, 0.0) for pid, seconds in after.items()) / elapsed]


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _processor_seconds() -> dict[int, float]:
    """By pid, from the scheduler's own nanoseconds: ticks of 10 ms are too coarse."""
    used: dict[int, float] = {}
    for process in family():
        for task in Path(f"/proc/{process.pid}/task").glob("*/schedstat"):
            try:
                used[process.pid] = used.get(process.pid, 0.0) + int(task.read_text().split()[0]) / 1e9
            except OSError:  # the thread has ended
                continue
    return used


def main() -> None:
    """Measures the rows that the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--list", action="store_true", help="only print the names")
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()
    for name, measure in _rows.items():
        if options.names and name not in options.names:
            continue
        if options.list:
            print(name)
            continue
        samples = measure(options.seconds)
        figures = {"name": name, "mean": statistics.fmean(samples), "deviation": statistics.pstdev(samples)}
        print(json.dumps(figures), flush=True)
