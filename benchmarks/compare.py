"""asyncray and its peers, one right after the other on this machine: figures, and how many times better ours are.

    sh benchmarks/peers/setup.sh DIR
    python benchmarks/compare.py DIR [--peer ray] [--filter 'actor calls'] [--json FILE] [--markdown FILE]

A machine's speed changes with what else it does: only figures of one run can be compared, and of those the ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from asyncray.benchmark.row import Row
from asyncray.benchmark.suite import choose

SCRIPTS = Path(__file__).parent / "peers"
TIMEOUT = 600.0
"""Seconds that one row of one peer may take."""
RAY_MICROBENCHMARK = """
from ray._private import ray_perf
ray_perf.client_microbenchmark_main = lambda results: None
ray_perf.main()
"""
"""`ray microbenchmark`, without the rows of Ray Client at its end: minutes, whichever rows are wanted."""
_RAY_LINE = re.compile(r"^(?P<name>.+?) per second (?P<mean>[\d.]+) \+- (?P<deviation>[\d.]+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Figure:
    mean: float
    deviation: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """One row, ours and a peer's."""

    name: str
    unit: str
    peer: str
    ours: Figure
    theirs: Figure
    ratio: float
    """How many times better ours is."""


class PeerFailed(Exception):
    """A peer's program ended with an error."""


class Peer:
    """A system with a script of rows, run by the python of its own environment."""

    def __init__(self, name: str, environment: str) -> None:
        self.name = name
        self._environment = environment

    def python(self, folder: Path) -> Path:
        return folder / self._environment / "bin" / "python"

    def rows(self, folder: Path) -> set[str]:
        """Names of what it can measure."""
        return set(self._script(folder, "--list").splitlines())

    def measure(self, folder: Path, name: str, seconds: float) -> Figure:
        """Raises PeerFailed, and TimeoutExpired."""
        for line in self._script(folder, "--seconds", str(seconds), name).splitlines():
            if line.startswith("{"):
                figures = json.loads(line)
                return Figure(figures["mean"], figures["deviation"])
        raise PeerFailed("it gave no figure")

    def _script(self, folder: Path, *arguments: str) -> str:
        return output_of([str(self.python(folder)), str(SCRIPTS / f"{self.name}_rows.py"), *arguments])


class Ray(Peer):
    """Measures what `ray microbenchmark` has by that."""

    OWN = frozenset(
        {
            "single client get calls (Plasma Store)",
            "single client put calls (Plasma Store)",
            "multi client put calls (Plasma Store)",
            "single client put gigabytes",
            "single client tasks and get batch",
            "multi client put gigabytes",
            "single client get object containing 10k refs",
            "single client wait 1k refs",
            "single client tasks sync",
            "single client tasks async",
            "multi client tasks async",
            "1:1 actor calls sync",
            "1:1 actor calls async",
            "1:1 actor calls concurrent",
            "1:n actor calls async",
            "n:n actor calls async",
            "n:n actor calls with arg async",
            "1:1 async-actor calls sync",
            "1:1 async-actor calls async",
            "1:1 async-actor calls with args async",
            "1:n async-actor calls async",
            "n:n async-actor calls async",
        }
    )

    def __init__(self) -> None:
        super().__init__("ray", "ray")

    def rows(self, folder: Path) -> set[str]:
        return super().rows(folder) | self.OWN

    def measure(self, folder: Path, name: str, seconds: float) -> Figure:
        if name not in self.OWN:
            return super().measure(folder, name, seconds)
        output = output_of([str(self.python(folder)), "-c", RAY_MICROBENCHMARK], TESTS_TO_RUN=name)
        figures = ray_figures(output)
        if name not in figures:
            raise PeerFailed("it gave no figure")
        return figures[name]


PEERS: tuple[Peer, ...] = (Ray(), Peer("xoscar", "others"), Peer("dask", "others"), Peer("pool", "others"))


def ray_figures(output: str) -> dict[str, Figure]:
    """What `ray microbenchmark` prints, by name."""
    return {
        found["name"]: Figure(float(found["mean"]), float(found["deviation"])) for found in _RAY_LINE.finditer(output)
    }


def output_of(command: Sequence[str], **environment: str) -> str:
    """What the command writes to stdout. Raises PeerFailed with the end of its complaints, and TimeoutExpired."""
    variables = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", **environment}
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, env=variables)
    if done.returncode:
        raise PeerFailed(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return done.stdout


def our_figure(name: str, seconds: float, blocking: bool) -> Figure | None:
    """Measured in a process of its own, as the peers are. None when it failed, which that process has said."""
    with tempfile.NamedTemporaryFile("r", suffix=".json") as file:
        command = [sys.executable, "-m", "asyncray", "microbenchmark", f"--filter={name}", f"--json={file.name}"]
        command += [f"--seconds={seconds}", *(["--blocking"] if blocking else [])]
        subprocess.run(command, stdout=sys.stderr, timeout=TIMEOUT)
        # The filter looks for the name anywhere: others may have it in theirs.
        results = [result for result in json.load(file)["results"] if result["name"] == name]
    return Figure(results[0]["mean"], results[0]["deviation"]) if "mean" in results[0] else None


def compare(
    rows: Sequence[type[Row]], peers: Sequence[Peer], folder: Path, seconds: float, blocking: bool
) -> Iterator[Comparison]:
    """Row by row, so that what is compared runs at about the same time."""
    known = {peer: peer.rows(folder) for peer in peers}
    for row in rows:
        able = [peer for peer in peers if row.name in known[peer]]
        ours = our_figure(row.name, seconds, blocking) if able else None
        if ours is None:
            continue
        for peer in able:
            try:
                theirs = peer.measure(folder, row.name, seconds)
            except (PeerFailed, subprocess.TimeoutExpired) as error:
                print(f"{row.name}: {peer.name}: {error}", file=sys.stderr)
                continue
            ratio = theirs.mean / ours.mean if row.less_is_better else ours.mean / theirs.mean
            yield Comparison(row.name, row.unit, peer.name, ours, theirs, ratio)


def markdown(comparisons: Sequence[Comparison]) -> str:
    """The table, and under which circumstances it came to be."""
    lines = [
        f"{os.cpu_count()} cores, {platform.platform()}, Python {platform.python_version()},"
        f" {time.strftime('%Y-%m-%d')}. Ratio: how many times better asyncray is.",
        "",
        "| work | asyncray | peer | | ratio |",
        "|---|---:|---:|---|---:|",
    ]
    for entry in comparisons:
        ours, theirs = (f"{number(figure.mean)} ± {number(figure.deviation)}" for figure in (entry.ours, entry.theirs))
        lines.append(f"| {entry.name}, {entry.unit} | {ours} | {theirs} | {entry.peer} | {entry.ratio:.2f} |")
    return "\n".join(lines)


def number(value: float) -> str:
    """Four digits that count, and no fewer than there are before the point."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Runs asyncray and its peers in turn on this machine.")
    parser.add_argument("folder", type=Path, metavar="DIR", help="where peers/setup.sh has put the peers")
    names = [peer.name for peer in PEERS]
    parser.add_argument("--peer", action="append", choices=names, help="only this one; may be repeated")
    parser.add_argument(
        "--filter", action="append", default=[], metavar="GLOB", help="only rows with this in their name"
    )
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a time slice, of which there are four")
    parser.add_argument("--blocking", action="store_true", help="ours through asyncray.sync")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    options = parser.parse_args()
    peers = [peer for peer in PEERS if not options.peer or peer.name in options.peer]
    missing = [peer.name for peer in peers if not peer.python(options.folder).exists()]
    if missing:
        parser.error(f"{options.folder} has no {', '.join(missing)}: sh {SCRIPTS / 'setup.sh'} {options.folder}")
    comparisons: list[Comparison] = []
    for entry in compare(choose(options.filter, False), peers, options.folder, options.seconds, options.blocking):
        print(
            f"{entry.name}: {entry.peer} {number(entry.theirs.mean)} {entry.unit}, {entry.ratio:.2f}x", file=sys.stderr
        )
        comparisons.append(entry)
        write(comparisons, options)  # a run takes a while: what is there is kept
    print(markdown(comparisons))


def write(comparisons: Sequence[Comparison], options: Any) -> None:
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(entry) for entry in comparisons], indent=2) + "\n")
    if options.markdown is not None:
        options.markdown.write_text(markdown(comparisons) + "\n")


if __name__ == "__main__":
    main()
