"""A cluster's status for people."""

from __future__ import annotations

import time
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from asyncray.cli.cluster_status import ClusterStatus
from asyncray.cli.output import console, show_bytes

ACTORS_SHOWN: Final = 20
JOBS_SHOWN: Final = 10
_BYTES: Final = ("memory", "object_store_memory")


def print_status(status: ClusterStatus) -> None:
    """Tables of what there is, and a line for what there is none of."""
    out = console()
    alive = [node for node in status.nodes if node["alive"]]
    dead = len(status.nodes) - len(alive)
    count = "1 node" if len(alive) == 1 else f"{len(alive)} nodes"
    out.print(f"[bold]Cluster at {status.address}[/]: {count}{f', {dead} dead' if dead else ''}")
    _print_resources(out, status)
    _print_nodes(out, status.nodes)
    _print_actors(out, status.actors)
    _print_jobs(out, status.jobs)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _amount(name: str, amount: float) -> str:
    return show_bytes(amount) if name in _BYTES else f"{amount:g}"


def _print_resources(out: Console, status: ClusterStatus) -> None:
    table = _table("Resources", "name", "used", "total")
    for name, total in sorted(status.resources["total"].items()):
        table.add_row(escape(name), _amount(name, status.resources["used"].get(name, 0)), _amount(name, total))
    out.print(table)


def _print_nodes(out: Console, nodes: list[dict[str, Any]]) -> None:
    table = _table("Nodes", "id", "host", "address", "CPU", "workers", "leases", "object store", "state")
    for node in nodes:
        name = escape(node["hostname"]) + (" (head)" if node["head"] else "")
        if not node["alive"]:
            cause = escape(node["death_cause"])
            table.add_row(node["node_id"][:8], name, node["address"], "", "", "", "", f"[red]dead[/]: {cause}")
            continue
        cpus = f"{node['used'].get('CPU', 0):g} of {node['total'].get('CPU', 0):g}"
        if "workers" not in node:
            state = f"[yellow]{escape(node['no_answer'])}[/]"
            table.add_row(node["node_id"][:8], name, node["address"], cpus, "?", "?", "?", state)
            continue
        store = node["object_store"]
        table.add_row(
            node["node_id"][:8],
            name,
            node["address"],
            cpus,
            f"{node['workers']} ({node['idle_workers']} idle)",
            f"{node['leases']} ({node['queued_leases']} queued)",
            "\n".join(_store(store)),
            "[green]alive[/]",
        )
    out.print(table)


def _store(store: dict[str, Any]) -> list[str]:
    """What is in memory; what is on disk, and how much came back from there."""
    lines = [f"{show_bytes(store['used'])} of {show_bytes(store['capacity'])}, {store['objects']} objects"]
    if store["spilled_objects"] or store["restores"]:
        files = f"{store['spilled_objects']} objects in {store['spill_files']} files"
        lines.append(f"spilled: {show_bytes(store['spilled'])}, {files}, {store['restores']} read back so far")
    if store["overflow"]:
        lines.append(f"[yellow]overflow on disk[/]: {show_bytes(store['overflow'])}, since all memory was pinned")
    return lines


def _print_actors(out: Console, actors: list[dict[str, Any]]) -> None:
    living = [actor for actor in actors if actor["state"] != "DEAD"]
    ended = len(actors) - len(living)
    if not living:
        out.print(f"No actors{f' ({ended} have ended)' if ended else ''}.")
        return
    table = _table(f"Actors: {len(living)}", "id", "class", "name", "state", "pid", "node")
    for actor in living[:ACTORS_SHOWN]:
        table.add_row(
            actor["actor_id"][:8],
            escape(actor["class"]),
            escape(actor["name"]),
            actor["state"],
            str(actor["pid"] or ""),
            actor["node_id"][:8],
        )
    out.print(table)
    _print_rest(out, len(living) - ACTORS_SHOWN)


def _print_jobs(out: Console, jobs: list[dict[str, Any]]) -> None:
    running = [job for job in jobs if job["alive"]]
    if not running:
        out.print("No jobs.")
        return
    table = _table(f"Jobs: {len(running)}", "id", "pid", "since", "program")
    for job in running[:JOBS_SHOWN]:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(job["started"]))
        table.add_row(job["job_id"], str(job["pid"]), since, escape(job["entrypoint"]))
    out.print(table)
    _print_rest(out, len(running) - JOBS_SHOWN)


def _print_rest(out: Console, count: int) -> None:
    if count > 0:
        out.print(f"... and {count} more: --format json shows all.")
