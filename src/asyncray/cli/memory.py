"""`asyncray memory`."""

from __future__ import annotations

import click

from asyncray.cli.cluster_options import cluster_options


@click.command()
@cluster_options
@click.option(
    "--sort-by",
    type=click.Choice(["size", "pid", "type"]),
    default="size",
    show_default=True,
    help="What comes first: the largest, or by who holds it, or why.",
)
@click.option(
    "--group-by",
    type=click.Choice(["node", "call-site", "none"]),
    default="node",
    show_default=True,
    help="Add up by the holder's node, or by the line of code (with ASYNCRAY_RECORD_CALL_SITES=1 in the program).",
)
@click.option("--limit", type=click.IntRange(min=0), default=100, show_default=True, help="Rows to show.")
def memory(
    address: str,
    form: str,
    token_file: str | None,
    tls_ca: str | None,
    tls_cert: str | None,
    tls_key: str | None,
    sort_by: str,
    group_by: str,
    limit: int,
) -> None:
    """Show who holds which objects, where they are, and why they are kept.

    \b
    ACTOR_HANDLE          a handle of an actor
    PINNED_IN_MEMORY      a value in shared memory that the process has read, and uses
    USED_BY_PENDING_TASK  an argument of a task that has no result yet
    CAPTURED_IN_OBJECT    inside of another object that is kept
    BORROWED              of another process; at the owner: another process has it
    LOCAL_REFERENCE       an ObjectRef
    """
    import asyncio
    from dataclasses import asdict

    from asyncray.cli.cluster_memory import arrange, gather_memory
    from asyncray.cli.cluster_options import tls_of
    from asyncray.cli.local_cluster import running_cluster
    from asyncray.cli.output import print_data

    tls = tls_of(tls_ca, tls_cert, tls_key)
    found = asyncio.run(gather_memory(running_cluster() if address == "auto" else address, token_file, tls))
    arrange(found, sort_by, group_by)
    if form != "table":
        print_data({**asdict(found), "references": found.references[:limit]}, form)
        return
    from asyncray.cli.memory_table import print_memory

    print_memory(found, group_by, limit)
