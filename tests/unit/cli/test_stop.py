"""`asyncray stop` ends daemons, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from asyncray import session
from asyncray.cli.stop import stop
from asyncray.session import SessionInfo

pytestmark = pytest.mark.usefixtures("leaves_nothing_behind")
SLEEPING = "import sys; print(flush=True); sys.stdin.read()"


@pytest.fixture
def process(surroundings: object) -> Iterator[subprocess.Popen[str]]:
    """A process that has begun, and ends when it is asked to."""
    command = [sys.executable, "-c", SLEEPING]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def publish(pid: int) -> Path:
    directory = session.base_directory() / "session"
    directory.mkdir(parents=True)
    session.publish(SessionInfo(str(directory), "head", pid, "127.0.0.1:1", "", "", "", False))
    return directory


def test_a_daemon_is_ended_and_its_session_removed(process: subprocess.Popen[str]) -> None:
    directory = publish(process.pid)
    result = CliRunner().invoke(stop, catch_exceptions=False)
    assert result.output == f"Stopped the head of the cluster at 127.0.0.1:1 (pid {process.pid}).\n"
    assert process.wait(10) != 0
    assert not directory.exists()


def test_a_process_that_has_got_the_number_of_a_dead_daemon_is_spared(process: subprocess.Popen[str]) -> None:
    directory = publish(process.pid)
    os.utime(directory / "session.json", (0, 0))  # written long before the process began
    result = CliRunner().invoke(stop, catch_exceptions=False)
    assert result.output == "Nothing to stop: no daemon runs on this machine.\n"
    assert process.poll() is None
    session.remove_session(str(directory))
