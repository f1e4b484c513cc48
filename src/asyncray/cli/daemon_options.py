"""The options of the commands that start daemons, and the settings that they stand for."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from asyncray.cli.parameter_types import Address, Labels, ResourceAmounts, Size

if TYPE_CHECKING:
    from asyncray.daemon import DaemonSettings
    from asyncray.session import SessionInfo

_C = TypeVar("_C", bound=Callable[..., Any])

_HEAD_OR_NODE = (
    click.option("--head", is_flag=True, help="Start a new cluster: its control plane, and a node."),
    click.option("--address", type=Address(), help="Join the cluster whose control plane is there."),
)
_NODE = (
    click.option(
        "--node-port", type=click.IntRange(0, 65535), default=0, help="Port of the node.  [default: a free one]"
    ),
    click.option("--num-cpus", type=click.FloatRange(min=0), metavar="N", help="Cores to offer.  [default: all]"),
    click.option("--num-gpus", type=click.FloatRange(min=0), metavar="N", help="GPUs to offer.  [default: all]"),
    click.option("--memory", type=Size(), help="Memory for tasks, as in 512MB or 2GiB.  [default: what is left]"),
    click.option(
        "--object-store-memory", type=Size(), help="What the object store may grow to.  [default: 30 % of the memory]"
    ),
    click.option(
        "--memory-threshold",
        type=click.FloatRange(0, 1),
        metavar="SHARE",
        help="End workers when more of the machine's memory is in use; 0: never."
        "  [default: ASYNCRAY_MEMORY_THRESHOLD, or 0.95]",
    ),
    click.option(
        "--object-spilling-directory",
        multiple=True,
        metavar="PATH",
        help="Where objects go that do not fit into memory: a folder or an fsspec URL; may be repeated."
        "  [default: the session's folder]",
    ),
    click.option(
        "--arena-dir",
        type=click.Path(exists=True, file_okay=False),
        envvar="ASYNCRAY_ARENA_DIR",
        help="Keep the object store in a file there.  [default: ASYNCRAY_ARENA_DIR, or in memory]",
    ),
    click.option("--resources", type=ResourceAmounts(), default="{}", help="Resources of your own: '{\"disk\": 2}'."),
    click.option("--labels", type=Labels(), multiple=True, help="Labels of the node; may be repeated."),
)
_SERVING = (
    click.option(
        "--host",
        default="127.0.0.1",
        show_default=True,
        help="Where to listen: an address of this machine, or 0.0.0.0.",
    ),
    click.option("--port", type=click.IntRange(0, 65535), help="Port of the control plane.  [default: a free one]"),
)
_SHARED = (
    click.option(
        "--token-file",
        type=click.Path(dir_okay=False),
        help="File with the cluster's token; a new cluster makes it if it is missing."
        "  [default: ASYNCRAY_TOKEN, or what a daemon on this machine has]",
    ),
    click.option("--tls-cert", type=click.Path(exists=True, dir_okay=False), help="Certificate to show, PEM."),
    click.option("--tls-key", type=click.Path(exists=True, dir_okay=False), help="Its key, PEM."),
    click.option("--tls-ca", type=click.Path(exists=True, dir_okay=False), help="Who signed the others' certificates."),
    click.option(
        "--log-level",
        type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR"], case_sensitive=False),
        default="INFO",
        show_default=True,
        help="What the daemon's log tells.",
    ),
)


def node_options(command: _C) -> _C:
    """For commands that start a node, with a control plane or without."""
    return _with(command, (*_HEAD_OR_NODE, *_SERVING, *_NODE, *_SHARED))


def control_options(command: _C) -> _C:
    """For the control plane alone."""
    return _with(command, (*_SERVING, *_SHARED))


def _with(command: _C, options: tuple[Callable[[_C], _C], ...]) -> _C:
    for option in reversed(options):
        command = option(command)
    return command


def node_settings(*, head: bool, address: str | None, **options: Any) -> DaemonSettings:
    """The settings of a head, or of a node that joins. Raises UsageError, AuthenticationError."""
    if head == (address is not None):
        raise click.UsageError("give either --head, for a new cluster, or --address, to join one")
    if address is None:
        return _settings("head", **options)
    if options["port"] is not None:
        raise click.UsageError("--port is the control plane's, which --address has already: use --node-port")
    return _settings("node", address=address, **options)


def control_settings(**options: Any) -> DaemonSettings:
    """The settings of a control plane alone. Raises UsageError, AuthenticationError."""
    return _settings("control", **options)


def _settings(
    role: str,
    *,
    address: str = "",
    token_file: str | None,
    port: int | None,
    labels: tuple[dict[str, str], ...] = (),
    object_spilling_directory: tuple[str, ...] = (),
    arena_dir: str | None = None,
    tls_cert: str | None,
    tls_key: str | None,
    tls_ca: str | None,
    log_level: str,
    **amounts: Any,
) -> DaemonSettings:
    from asyncray.cli.local_cluster import find_token
    from asyncray.daemon import DaemonSettings

    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key go together")
    if tls_ca is not None and tls_cert is None:
        raise click.UsageError("--tls-ca goes with --tls-cert and --tls-key: daemons listen as well as connect")
    return DaemonSettings(
        role=role,
        address=address,
        port=port or 0,
        token=find_token(address, token_file) if address else _token_of_new_cluster(token_file),
        labels={key: value for given in labels for key, value in given.items()},
        object_spilling_directory=list(object_spilling_directory),
        arena_dir=arena_dir or "",
        tls_cert=tls_cert or "",
        tls_key=tls_key or "",
        tls_ca=tls_ca or "",
        log_level=log_level.upper(),
        **amounts,
    )


def _token_of_new_cluster(token_file: str | None) -> str:
    """What was given, else a new one, kept in the file that was named."""
    from asyncray.cli.local_cluster import given_token
    from asyncray.session import write_private

    if token_file is None or os.path.exists(token_file):
        return given_token(token_file) or secrets.token_urlsafe(32)
    token = given_token(None) or secrets.token_urlsafe(32)
    try:
        write_private(Path(token_file), token)
    except OSError as error:
        raise click.ClickException(f"cannot write the token file {token_file}: {error.strerror}") from None
    return token


def describe(info: SessionInfo, settings: DaemonSettings, command: str = "node") -> str:
    """What a user wants to know of a daemon that has begun to serve; `command` is how others would join."""
    from asyncray.rpc.own_address import LOOPBACK, reachable

    host, _, port = info.address.rpartition(":")
    address = f"{reachable(host)}:{port}"
    token_file = f"{info.directory}/token"
    join = f"asyncray {command} --address {address} --token-file {token_file}"
    if settings.tls_cert:
        join += " --tls-cert CERT --tls-key KEY" + (" --tls-ca CA" if settings.tls_ca else "")
    title = {
        "head": f"A cluster's control plane and a node serve at {address}",
        "control": f"A cluster's control plane serves at {address}",
        "node": f"A node has joined the cluster at {address}",
    }[info.role]
    lines = [
        title,
        f"  to join         {join}",
        f'  in programs     asyncray.init(address="{address}")',
        f"  what goes on    asyncray status --address {address}",
        f"  to stop         asyncray stop --address {address}",
        f"  logs            {info.directory}/logs",
        f"  token           {token_file}",
    ]
    if host in LOOPBACK and info.role != "node":
        lines.append(
            "Only this machine can reach it: for others to join, start it with --host, and bring them the token."
        )
    return "\n".join(lines)
