"""`asyncray stop`: ends daemons of this user on this machine."""

from __future__ import annotations

import os
import select
import signal
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import click

from asyncray.cli.parameter_types import Address

if TYPE_CHECKING:
    from asyncray.session import SessionInfo

GRACE: Final = 10.0
"""Seconds that a daemon may take to stop before it is killed."""


@click.command()
@click.option("--address", type=Address(), help="Only the daemons of that cluster.")
@click.option("--all", "everything", is_flag=True, help="Clusters of single programs too, which init() has started.")
@click.option("--grace", type=click.FloatRange(min=0), default=GRACE, show_default=True, help="Seconds until SIGKILL.")
def stop(address: str | None, everything: bool, grace: float) -> int:
    """Stop the daemons that you have started on this machine.

    Their workers end with them. Daemons on other machines go on, but without its control plane a cluster ends.
    """
    from asyncray.errors import AsyncrayError
    from asyncray.rpc.own_address import is_same
    from asyncray.session import running_sessions

    sessions = running_sessions()
    chosen = [info for info in sessions if everything or address is not None or not info.embedded]
    if address is not None:
        chosen = [info for info in chosen if is_same(address, info.address)]
        if not chosen:
            raise AsyncrayError(f"no daemon of a cluster at {address} runs on this machine")
    if not chosen:
        left = f", but {len(sessions)} of single programs, which --all stops" if sessions else ""
        click.echo(f"Nothing to stop: no daemon runs on this machine{left}.")
        return 0
    # Nodes first: they leave an orderly control plane, and do not lose one.
    stopped = True
    for wave in ([info for info in chosen if info.role == "node"], [info for info in chosen if info.role != "node"]):
        stopped &= _stop_all(wave, grace)
    return 0 if stopped else 1


def _stop_all(daemons: list[SessionInfo], grace: float) -> bool:
    """SIGTERM, and SIGKILL to what is still there after `grace` seconds. False if that was needed."""
    from asyncray.session import remove_session

    orderly = True
    with ExitStack() as stack:
        descriptors = {}
        for info in daemons:
            try:
                descriptor = os.pidfd_open(info.pid)
            except ProcessLookupError:
                continue
            stack.callback(os.close, descriptor)
            descriptors[descriptor] = info
            signal.pidfd_send_signal(descriptor, signal.SIGTERM)
        for descriptor in _still_running(descriptors, grace):
            orderly = False
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            info = descriptors[descriptor]
            click.echo(f"Killed {_name(info)}: it had not stopped after {grace:g} s", err=True)
        running = _still_running(descriptors, GRACE)
        for descriptor, info in descriptors.items():
            if descriptor in running:
                click.echo(f"Even SIGKILL has not ended {_name(info)}", err=True)
                continue
            remove_session(info.directory)
            click.echo(f"Stopped {_name(info)}.")
    return orderly


def _still_running(descriptors: dict[int, SessionInfo], timeout: float) -> list[int]:
    """Which of these processes have not ended after `timeout` seconds. Zombies have."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    running = set(descriptors)
    deadline = time.monotonic() + timeout
    while running:
        left = deadline - time.monotonic()
        ended = poll.poll(max(0.0, left) * 1000)
        for descriptor, _ in ended:
            poll.unregister(descriptor)
            running.discard(descriptor)
        if left <= 0:
            break
    return sorted(running)


def _name(info: SessionInfo) -> str:
    kind = {"head": "the head", "control": "the control plane", "node": "a node"}[info.role]
    return f"{kind} of the cluster at {info.address} (pid {info.pid})"
