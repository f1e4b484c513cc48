"""`asyncray status`."""

from __future__ import annotations

import click

from asyncray.cli.parameter_types import Address


@click.command()
@click.option(
    "--address",
    type=Address(auto=True),
    default="auto",
    envvar="ASYNCRAY_ADDRESS",
    help="The cluster to ask.  [default: ASYNCRAY_ADDRESS, or the one that runs here]",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "yaml"]),
    default="table",
    show_default=True,
    help="For people, or for programs.",
)
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False),
    help="File with the cluster's token.  [default: ASYNCRAY_TOKEN, or what a daemon on this machine has]",
)
@click.option("--tls-ca", type=click.Path(exists=True, dir_okay=False), help="Who signed the daemons' certificates.")
@click.option("--tls-cert", type=click.Path(exists=True, dir_okay=False), help="Certificate to show, if they ask.")
@click.option("--tls-key", type=click.Path(exists=True, dir_okay=False), help="Its key.")
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

    from asyncray.cli.cluster_status import gather_status
    from asyncray.cli.local_cluster import running_cluster
    from asyncray.cli.output import print_data
    from asyncray.rpc.tls import TlsConfig

    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key go together")
    tls = TlsConfig(tls_cert, tls_key, tls_ca) if tls_ca or tls_cert else None
    found = asyncio.run(gather_status(running_cluster() if address == "auto" else address, token_file, tls))
    if form != "table":
        print_data(asdict(found), form)
        return
    from asyncray.cli.status_table import print_status

    print_status(found)
