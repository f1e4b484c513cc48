"""`asyncray status`."""

from __future__ import annotations

import click

from asyncray.cli.cluster_options import cluster_options


@click.command()
@cluster_options
def status(
    address: str,
    form: str,
    token_file: str | None,
    tls_ca: str | None,
    tls_cert: str | None,
    tls_key: str | None,
) -> None:
    """Show a cluster: its nodes, resources, workers, objects, actors and jobs."""
    import asyncio
    from dataclasses import asdict

    from asyncray.cli.cluster_options import tls_of
    from asyncray.cli.cluster_status import gather_status
    from asyncray.cli.local_cluster import running_cluster
    from asyncray.cli.output import print_data

    tls = tls_of(tls_ca, tls_cert, tls_key)
    found = asyncio.run(gather_status(running_cluster() if address == "auto" else address, token_file, tls))
    if form != "table":
        print_data(asdict(found), form)
        return
    from asyncray.cli.status_table import print_status

    print_status(found)
