"""`asyncray microbenchmark`."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncray.benchmark.row import Row
    from asyncray.benchmark.suite import Result


@click.command()
@click.option(
    "--filter",
    "patterns",
    multiple=True,
    metavar="GLOB",
    help="Only rows with this in their name; * and ? are wildcards. May be repeated.",
)
@click.option("--blocking", is_flag=True, help="Through asyncray.sync, from a plain thread.")
@click.option("--long", is_flag=True, help="The rows that take minutes, too.")
@click.option(
    "--list", "only_list", is_flag=True, help="Print the names of the rows and their goals, and measure none."
)
@click.option("--json", "json_file", type=click.File("w", lazy=True), help="Write the figures there; - is stdout.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="Length of a time slice.",
)
@click.option("--repetitions", type=click.IntRange(min=1), default=4, show_default=True, help="Time slices of a row.")
@click.option(
    "--loop",
    type=click.Choice(["uvloop", "asyncio"]),
    default="uvloop",
    show_default=True,
    help="The driver's event loop.",
)
def microbenchmark(
    patterns: tuple[str, ...],
    blocking: bool,
    long: bool,
    only_list: bool,
    json_file: IO[str] | None,
    seconds: float,
    repetitions: int,
    loop: str,
) -> int:
    """Measure the speed of asyncray on this machine.

    The rows do the same work as those of the same name in `ray microbenchmark`. Each has a cluster of its own, is
    warmed up, and runs in several time slices: mean and standard deviation are theirs. The last column compares with
    the goal: 1 or more has reached it.
    """
    import os

    from asyncray.benchmark.row import Plan
    from asyncray.benchmark.suite import choose, measure

    rows = choose(patterns, long or only_list)
    if not rows:
        raise click.UsageError(f"no row is called {' or '.join(map(repr, patterns))}: --list shows all")
    if only_list:
        for row in rows:
            click.echo(f"{row.name:<{_width(rows)}}  {_goal(row)}{'  (long)' if row.long else ''}".rstrip())
        return 0
    # Every row has a cluster of its own, whichever programs usually join.
    os.environ.pop("ASYNCRAY_ADDRESS", None)
    plan = Plan(seconds, repetitions, blocking, loop == "uvloop")
    # Figures on stdout must be all that is there.
    aside = json_file is not None and json_file.name == "-"
    results = []
    for result in measure(rows, plan):
        click.echo(_line(result, _width(rows)), err=aside)
        results.append(result)
    if json_file is not None:
        import json

        json.dump(_report(results, plan), json_file, indent=2)
        json_file.write("\n")
    return 1 if any(result.failed for result in results) else 0


def _width(rows: Sequence[type[Row]]) -> int:
    return max(len(row.name) for row in rows)


def _line(result: Result, width: int) -> str:
    row = result.row
    if not result.samples:
        return f"{row.name:<{width}}  {'failed' if result.failed else 'left out'}: {result.problem}"
    figure = f"{_number(result.mean):>10} ± {_number(result.deviation):<8} {row.unit:<10}"
    compared = "" if result.ratio is None else f"{_goal(row):<22} {result.ratio:.2f}x"
    return f"{row.name:<{width}}  {figure} {compared}".rstrip()


def _goal(row: type[Row]) -> str:
    if row.goal is None:
        return ""
    return f"goal {'below ' if row.less_is_better else ''}{_number(row.goal)} {row.unit}"


def _number(value: float) -> str:
    """Four digits that count, and no fewer than there are before the point."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def _report(results: list[Result], plan: Any) -> dict[str, Any]:
    import os
    import platform
    from dataclasses import asdict

    from asyncray import __version__

    return {
        "version": __version__,
        "python": platform.python_version(),
        "machine": platform.platform(),
        "cores": os.cpu_count(),
        "plan": asdict(plan),
        "results": [result.as_data() for result in results],
    }
