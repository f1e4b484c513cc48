"""The work queue: the program on real processes, and its own tests, which run on simulated clusters."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

RunProgram = Callable[..., "subprocess.CompletedProcess[str]"]


def test_all_jobs_are_finished_on_a_real_cluster(run_program: RunProgram) -> None:
    done = run_program("examples/work_queue/work_queue.py", "--jobs", "8", "--consumers", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (done.stdout, done.stderr) == ("8 jobs finished, 8 handed out\n", "")


def test_the_tests_of_the_example_pass(run_program: RunProgram) -> None:
    done = run_program("-m", "pytest", "-q", "-p", "no:cacheprovider", "--sim-seeds", "5", "examples/work_queue")
    assert done.returncode == 0, done.stdout + done.stderr
