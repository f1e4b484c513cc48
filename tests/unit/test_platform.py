"""What the real platform says of the machine."""

from __future__ import annotations

import os
import subprocess
import sys

from asyncray.platform import Platform


def test_a_process_runs_until_it_has_ended_whether_anybody_has_asked_for_its_status_or_not() -> None:
    is_running = Platform(None).is_running  # type: ignore[arg-type]
    assert is_running(os.getpid()) and is_running(1)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert is_running(child.pid)
        assert child.stdin is not None
        child.stdin.close()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not is_running(child.pid)
        child.wait()
    assert not is_running(child.pid)


def test_what_is_no_pid_may_run_for_ever() -> None:
    assert Platform(None).is_running(0)  # type: ignore[arg-type]
