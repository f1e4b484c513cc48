"""The demo's command line: one index made twice, on a cluster and in this process, timed and compared."""

from __future__ import annotations

import argparse
import asyncio
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import asyncray
from asyncray.demo import report
from asyncray.demo.cluster_index import build_index
from asyncray.demo.source_index import Index, index_file
from asyncray.demo.source_tree import Package, scan

INTERRUPTED = 130
"""The exit status that shells give to Ctrl-C."""


def run(argv: list[str] | None) -> int:
    """0 when both indices are equal, 1 when they are not, 2 (by SystemExit) for arguments that make no sense."""
    arguments = _parse(argv)
    console = Console()
    tree = scan(arguments.path, arguments.limit)
    console.print(report.describe(arguments.path, tree))
    try:
        on_cluster, cluster_seconds = asyncio.run(_on_cluster(tree, arguments.cpus, console))
        here, seconds = _in_this_process(tree, console)
    except KeyboardInterrupt:
        console.print("interrupted")
        return INTERRUPTED
    for table in report.tables(on_cluster, arguments.top):
        console.print(table)
    if different := report.differences(on_cluster, here):
        console.print("[bold red]The two indices differ[/]", *different, sep="\n")
        return 1
    console.print(report.verdict(on_cluster, cluster_seconds, seconds))
    return 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="asyncray demo",
        description="Indexes Python source on a cluster of this machine's CPUs: who defines, imports and calls what."
        " Then makes the same index without a cluster, and compares results and times.",
    )
    library = Path(sysconfig.get_paths()["stdlib"])
    parser.add_argument("path", nargs="?", type=_directory, default=library, help="default: Python's standard library")
    parser.add_argument("--limit", type=_positive, metavar="N", help="index the first N files only")
    parser.add_argument("--cpus", type=_positive, metavar="N", help="CPUs of the cluster; default: all of the machine")
    parser.add_argument("--top", type=_positive, metavar="N", default=10, help="rows of each table (%(default)s)")
    return parser.parse_args(argv)


def _directory(text: str) -> Path:
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is not a directory")
    return path.resolve()


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return int(text)


async def _on_cluster(tree: Package, cpus: int | None, console: Console) -> tuple[Index, float]:
    """The index, and the seconds that it took once the cluster was there."""
    begun = time.perf_counter()
    async with asyncray.init(num_cpus=cpus):
        ready = time.perf_counter()
        console.print(f"A cluster has started in {ready - begun:.2f} s.")
        with _progress(console) as progress:
            index = await build_index(tree, _bar(progress, "On the cluster", tree))
        return index, time.perf_counter() - ready


def _in_this_process(tree: Package, console: Console) -> tuple[Index, float]:
    begun = time.perf_counter()
    index = Index()
    with _progress(console) as progress:
        advance = _bar(progress, "In this process", tree)
        for file in tree.all_files():
            index.add([index_file(file)])
            advance(1)
    return index, time.perf_counter() - begun


def _progress(console: Console) -> Progress:
    columns = TextColumn("{task.description:15}"), BarColumn(), MofNCompleteColumn(), TextColumn("files")
    return Progress(*columns, TimeElapsedColumn(), console=console)


def _bar(progress: Progress, description: str, tree: Package) -> Callable[[int], None]:
    """A bar for all files of the tree; the function moves it on by a number of files."""
    task = progress.add_task(description, total=sum(1 for _ in tree.all_files()))
    return lambda files: progress.advance(task, files)
