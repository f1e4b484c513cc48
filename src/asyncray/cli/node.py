"""`asyncray node` and `asyncray control`: a daemon in the foreground."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from asyncray.cli.daemon_options import control_options, control_settings, describe, node_options, node_settings

if TYPE_CHECKING:
    from asyncray.daemon import DaemonSettings


@click.command()
@node_options
def node(**options: Any) -> int:
    """Run a node in the foreground, until Ctrl-C.

    With --head it starts a new cluster, and serves its control plane too. With --address it joins one, which needs
    the token of that cluster.
    """
    return _serve(node_settings(**options))


@click.command()
@control_options
def control(**options: Any) -> int:
    """Run a control plane alone in the foreground, until Ctrl-C.

    It needs little, and starts a cluster without offering this machine's cores to it: nodes join with
    `asyncray node --address`.
    """
    return _serve(control_settings(**options))


def _serve(settings: DaemonSettings) -> int:
    from asyncray.daemon import run_daemon

    return run_daemon(settings, lambda info: click.echo(describe(info, settings)))
