"""The check of `tests/conftest.py`, on tests that leave something."""

from __future__ import annotations

from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"

TIDY = """
import asyncio, os, subprocess, sys
from pathlib import Path
import pytest

pytestmark = pytest.mark.usefixtures("leaves_nothing_behind")

def test_sync_and_tidy():
    subprocess.run([sys.executable, "-c", "pass"], check=True)

async def test_async_and_tidy():
    process = await asyncio.create_subprocess_exec("true")
    await process.wait()

def test_has_a_folder_for_its_sessions():
    assert Path(os.environ["ASYNCRAY_TMPDIR"]).is_dir()

async def test_lets_a_task_finish_that_is_about_to():
    asyncio.create_task(asyncio.sleep(0))
"""

UNTIDY = """
import asyncio, os, socket, subprocess, sys
import pytest

pytestmark = pytest.mark.usefixtures("leaves_nothing_behind")

def test_leaves_a_process():
    subprocess.Popen(["sleep", "60"])

def test_leaves_a_zombie():
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    process.returncode = 0  # or else it would be collected together with this object

def test_leaves_an_orphan():
    subprocess.run(["sh", "-c", "setsid sleep 61 >/dev/null 2>&1 &"], check=True)

def test_leaves_a_socket():
    socket.socket(socket.AF_UNIX).bind(os.environ["ASYNCRAY_TMPDIR"] + "/socket")

def test_leaves_shared_memory():
    open("/dev/shm/asyncray-left-by-a-test", "w").close()

async def test_leaves_a_task():
    test_leaves_a_task.task = asyncio.create_task(asyncio.sleep(60))

async def test_leaves_a_session():
    os.mkdir(os.environ["ASYNCRAY_TMPDIR"] + "/session")
"""

PLAIN = """
import os

def test_is_not_checked():
    assert "ASYNCRAY_TEST_MARK" not in os.environ
"""


@pytest.fixture
def nested(pytester: pytest.Pytester) -> pytest.Pytester:
    """A test run of its own, with the same check and less patience."""
    pytester.makeconftest(CONFTEST.read_text() + "\nSETTLE = 0.1\nTASK_SETTLE = 0.1\n")
    pytester.makeini("[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n")
    return pytester


def test_a_tidy_test_passes(nested: pytest.Pytester) -> None:
    nested.makepyfile(TIDY)
    nested.runpytest_subprocess().assert_outcomes(passed=4)


def test_an_untidy_test_fails_and_says_what_it_left(nested: pytest.Pytester) -> None:
    nested.makepyfile(UNTIDY)
    result = nested.runpytest_subprocess()
    result.assert_outcomes(passed=7, errors=7)
    result.stdout.fnmatch_lines_random(
        [
            "*process * (sleeping): sleep 60",
            "*process * (sleeping): sleep 61",
            "*process * (a zombie*",
            "*/tmp/ar-*/socket",
            "*/dev/shm/asyncray-left-by-a-test",
            "*<Task pending *sleep()*",
            "*/tmp/ar-*/session",
        ]
    )


def test_only_tests_of_real_processes_are_checked_unasked(nested: pytest.Pytester) -> None:
    nested.makepyfile(PLAIN)
    folder = nested.mkdir("cluster")
    (folder / "test_checked.py").write_text("def test_left(): open('/dev/shm/asyncray-left-unasked', 'w').close()\n")
    nested.runpytest_subprocess().assert_outcomes(passed=2, errors=1)
