"""`asyncray start`: a daemon in the background."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from asyncray.cli.daemon_options import describe, node_options, node_settings

if TYPE_CHECKING:
    from asyncray.daemon import DaemonSettings
    from asyncray.session import SessionInfo

START_TIMEOUT: Final = 30.0
"""Seconds within which the daemon must say that it serves, or why not."""
_ANSWER_LIMIT: Final = 1 << 16
_LAST_LINES: Final = 5
"""How much is shown of what a daemon printed that ended without a reason."""


@click.command()
@node_options
def start(**options: Any) -> None:
    """Start a node in the background.

    Returns when it serves. With --head it starts a new cluster, with --address it joins one, which needs the token of
    that cluster. `asyncray stop` ends it.
    """
    settings = node_settings(**options)
    click.echo(describe(start_in_background(settings), settings, command="start"))


def start_in_background(settings: DaemonSettings) -> SessionInfo:
    """Starts the daemon, and returns once it serves. Raises AsyncrayError with its reason when it does not.

    It is a fork of this process, because it has to get the token: a command line can be read by everyone.
    Must be called in a process without threads or a loop.
    """
    from asyncray.session import base_directory

    place = base_directory().parent
    place.mkdir(parents=True, exist_ok=True)
    # What it prints, until its session has a folder to move the file to.
    output, output_path = tempfile.mkstemp(prefix="asyncray-start-", dir=place)
    ready, settings.ready_fd = os.pipe()
    try:
        pid = _fork_detached(settings, output, unneeded=ready)
        os.close(settings.ready_fd)
        return _await_session(ready, pid, Path(output_path), settings.role)
    finally:
        os.close(ready)
        os.close(output)
        Path(output_path).unlink(missing_ok=True)


def _fork_detached(settings: DaemonSettings, output: int, unneeded: int) -> int:
    """Forks twice, so that the daemon leads no session, belongs to no terminal, and is nobody's zombie.

    Returns the daemon's pid.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    pid_reader, pid_writer = os.pipe()
    middle = os.fork()
    if middle:
        os.close(pid_writer)
        os.waitpid(middle, 0)
        with open(pid_reader, "rb") as reader:
            return int(reader.read())
    os.setsid()
    daemon = os.fork()
    if daemon:
        os.write(pid_writer, str(daemon).encode())
        os._exit(0)
    for descriptor in (pid_reader, pid_writer, unneeded):
        os.close(descriptor)
    os._exit(_become_daemon(settings, output))


def _become_daemon(settings: DaemonSettings, output: int) -> int:
    """The rest of the daemon's life; returns its exit status."""
    import traceback

    from asyncray.daemon import report, run_daemon
    from asyncray.errors import AsyncrayError

    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(output)
    serving: list[SessionInfo] = []
    try:
        return run_daemon(settings, serving.append)
    except AsyncrayError as error:
        if not serving:
            report(settings.ready_fd, {"error": str(error)})
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _await_session(ready: int, pid: int, output: Path, role: str) -> SessionInfo:
    from asyncray.errors import AsyncrayError
    from asyncray.session import SessionInfo

    if not select.select([ready], [], [], START_TIMEOUT)[0]:
        os.kill(pid, signal.SIGKILL)
        raise AsyncrayError(f"the daemon did not start within {START_TIMEOUT:.0f} s")
    answer = os.read(ready, _ANSWER_LIMIT)
    if not answer:
        last = " | ".join(output.read_text(errors="replace").splitlines()[-_LAST_LINES:])
        raise AsyncrayError(f"the daemon ended at once: {last or 'it did not say why'}")
    message = json.loads(answer)
    if "error" in message:
        raise AsyncrayError(message["error"])
    directory = Path(message["directory"])
    output.rename(directory / "logs" / f"{role}.out")
    return SessionInfo(**json.loads((directory / "session.json").read_text()))
