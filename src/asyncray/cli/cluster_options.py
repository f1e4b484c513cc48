"""The options of the commands that ask a running cluster: which one, how it is reached, how the answer is printed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from asyncray.cli.parameter_types import Address

if TYPE_CHECKING:
    from asyncray.rpc.tls import TlsConfig

_C = TypeVar("_C", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--address",
        type=Address(auto=True),
        default="auto",
        envvar="ASYNCRAY_ADDRESS",
        help="The cluster to ask.  [default: ASYNCRAY_ADDRESS, or the one that runs here]",
    ),
    click.option(
        "--format",
        "form",
        type=click.Choice(["table", "json", "yaml"]),
        default="table",
        show_default=True,
        help="For people, or for programs.",
    ),
    click.option(
        "--token-file",
        type=click.Path(dir_okay=False),
        help="File with the cluster's token.  [default: ASYNCRAY_TOKEN, or what a daemon on this machine has]",
    ),
    click.option(
        "--tls-ca", type=click.Path(exists=True, dir_okay=False), help="Who signed the daemons' certificates."
    ),
    click.option("--tls-cert", type=click.Path(exists=True, dir_okay=False), help="Certificate to show, if they ask."),
    click.option("--tls-key", type=click.Path(exists=True, dir_okay=False), help="Its key."),
)


def cluster_options(command: _C) -> _C:
    """Adds them: `address`, `form`, `token_file`, `tls_ca`, `tls_cert`, `tls_key`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def tls_of(tls_ca: str | None, tls_cert: str | None, tls_key: str | None) -> TlsConfig | None:
    """Raises UsageError."""
    from asyncray.rpc.tls import TlsConfig

    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key go together")
    return TlsConfig(tls_cert, tls_key, tls_ca) if tls_ca or tls_cert else None
