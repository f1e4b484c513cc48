"""What the demo shows of an index."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from asyncray.demo.source_index import Index
from asyncray.demo.source_tree import Package

_TEXT = frozenset({"file", "module", "name", "reason"})
"""Columns that are not of numbers."""


def describe(root: Path, tree: Package) -> str:
    """One line about what is going to be indexed."""
    sizes = [file.size for file in tree.all_files()]
    return f"{len(sizes):,} files ({sum(sizes) / 1e6:.1f} MB), packages: {tree.count():,}, below {escape(str(root))}"


def tables(index: Index, rows: int) -> Iterator[Table]:
    """The largest modules, what is imported and called most, and the files that could not be read."""
    largest = sorted(index.modules.values(), key=lambda module: (-module.lines, module.name))[:rows]
    yield _table(
        "Largest modules",
        ("module", "lines", "definitions", "calls"),
        ((module.name, module.lines, len(module.definitions), module.calls.total()) for module in largest),
    )
    yield _table("Most imported", ("module", "importers"), _most(index.imported, rows))
    yield _table("Most called", ("name", "calls"), _most(index.called, rows))
    if index.skipped:
        yield _table(f"Skipped: {len(index.skipped)} files", ("file", "reason"), sorted(index.skipped.items()))


def differences(first: Index, second: Index) -> list[str]:
    """Where two indices disagree, a line each; none when they are equal."""
    names = first.modules.keys() | second.modules.keys() | first.skipped.keys() | second.skipped.keys()
    lines = [
        f"file {name}"
        for name in sorted(names)
        if first.modules.get(name) != second.modules.get(name) or first.skipped.get(name) != second.skipped.get(name)
    ]
    if first.imported != second.imported:
        lines.append("the sums of imports")
    if first.called != second.called:
        lines.append("the sums of calls")
    return lines


def verdict(index: Index, cluster_seconds: float, seconds: float) -> str:
    """The last line: what was found, and how fast."""
    definitions = sum(len(module.definitions) for module in index.modules.values())
    return (
        f"{len(index.modules):,} modules, {definitions:,} definitions, {index.called.total():,} calls; both indices are"
        f" equal.\nOn the cluster: {cluster_seconds:.2f} s. In this process: {seconds:.2f} s,"
        f" {seconds / cluster_seconds:.2f} times as long."
    )


def _most(counts: dict[str, int], rows: int) -> list[tuple[str, int]]:
    """The largest counts; names decide between equal ones, so that the order is always the same."""
    return sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))[:rows]


def _table(title: str, columns: tuple[str, ...], rows: Iterable[tuple[str | int, ...]]) -> Table:
    """Numbers to the right, with thousands apart."""
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="left" if column in _TEXT else "right")
    for row in rows:
        table.add_row(*(escape(cell) if isinstance(cell, str) else f"{cell:,}" for cell in row))
    return table
