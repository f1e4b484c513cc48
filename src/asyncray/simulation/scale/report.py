"""Figures of runs for people: a table, a column for each run."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from asyncray.simulation.scale.growth import QUANTITIES, Growth
from asyncray.simulation.scale.measure import Figures


def table_of(runs: Sequence[Figures], growths: Sequence[Growth]) -> Table:
    """`growths`: of all quantities, or none. What grows too fast is marked."""
    last = runs[-1]
    title = f"{last.nodes:,} nodes, {last.actors:,} actors, {last.tasks:,} tasks, {last.drivers:,} drivers"
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for run in runs:
        table.add_column(f"{run.nodes:,} nodes", justify="right")
    if growths:
        table.add_column("grows as", justify="right")
        table.add_column("")
    for row, quantity in enumerate(QUANTITIES):
        cells = [_number(quantity.of(run)) for run in runs]
        if growths:
            growth = growths[row]
            worse = "faster than linearly" if quantity.expected else "should not grow"
            cells += [f"nodes^{growth.exponent:.2f}", f"[red]{worse}[/]" if growth.too_fast else ""]
        table.add_row(quantity.name, *cells)
    return table


def _number(value: float) -> str:
    """Three digits that count, and no fewer than there are before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
