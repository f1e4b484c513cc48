"""Who holds which objects, for people."""

from __future__ import annotations

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from asyncray.cli.cluster_memory import ClusterMemory, group_of
from asyncray.cli.output import console, show_bytes


def print_memory(found: ClusterMemory, group_by: str, limit: int) -> None:
    """The arenas, the references by group, and what is not known."""
    out = console()
    _print_nodes(out, found.nodes)
    shown = found.references[:limit]
    if not shown:
        out.print("Nobody holds an object.")
    elif group_by == "none":
        _print_references(out, f"References: {len(found.references)}", shown)
    else:
        for group, total in found.totals.items():
            rows = [row for row in shown if group_of(row, group_by) == group]
            if rows:
                title = f"{group}: {total['references']} references, {show_bytes(total['bytes'])}"
                _print_references(out, title, rows)
    rest = len(found.references) - len(shown)
    if rest > 0:
        out.print(f"... and {rest} more: --limit N shows as many.")
    if found.left_out:
        out.print(f"{found.left_out} small objects were left out by those who hold them.")
    for process in found.silent:
        who = f"{process['role']} {escape(process['name'])}, node {process['node_id'][:8]}"
        out.print(f"[yellow]pid {process['pid']} ({who}) does not answer[/]: its loop is blocked.")


def _print_nodes(out: Console, nodes: list[dict[str, Any]]) -> None:
    table = _table(
        "Object stores", "node", "host", "in use", "objects", "pinned", "spilled", "overflow", "fragmentation"
    )
    for node in nodes:
        if "no_answer" in node:
            table.add_row(node["node_id"][:8], escape(node["hostname"]), f"[yellow]{escape(node['no_answer'])}[/]")
            continue
        table.add_row(
            node["node_id"][:8],
            escape(node["hostname"]),
            f"{show_bytes(node['used'])} of {show_bytes(node['capacity'])}",
            str(node["objects"]),
            show_bytes(node["pinned"]),
            f"{show_bytes(node['spilled'])} ({node['spilled_objects']} objects)",
            show_bytes(node["overflow"]),
            f"{100 * node['fragmentation']:.1f} %",
        )
    out.print(table)


def _print_references(out: Console, title: str, rows: list[dict[str, Any]]) -> None:
    table = _table(title, "object", "size", "where", "held by", "owner", "type")
    sites = any(row["call_site"] for row in rows)
    if sites:
        table.add_column("call site", overflow="fold")
    for row in rows:
        cells = [
            row["object_id"],
            show_bytes(row["size"]),
            "\n".join(_where(row)),
            _process(row["holder"]) if row["holder"] is not None else "nobody who answers",
            "itself" if row["owner"] == row["holder"] else _process(row["owner"]),
            "\n".join(row["types"]),
        ]
        table.add_row(*map(escape, cells), *([escape(row["call_site"])] if sites else []))
    out.print(table)


def _where(row: dict[str, Any]) -> list[str]:
    if row["state"] != "store":
        return ["in its owner" if row["state"] == "process" else row["state"]]
    return [f"{', '.join(copy['where'])} on {copy['node_id'][:8]}" for copy in row["copies"]] or ["on its way"]


def _process(process: dict[str, Any]) -> str:
    if not process["pid"]:
        return f"process {process['process_id'][:8]}, which is gone or does not answer"
    return f"pid {process['pid']} on {process['node_id'][:8]}: {process['name'] or process['role']}"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column == "object")  # to be copied as a whole
    return table
