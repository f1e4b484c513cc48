"""The `asyncray` command, with real daemons."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from .polling import PATIENCE, eventually_blocking

Run = Callable[..., "subprocess.CompletedProcess[str]"]
SMALL = ("--num-cpus", "1", "--object-store-memory", "64MB")


def asyncray_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "asyncray", *arguments]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, surroundings: Any) -> Run:
    """Runs the command to its end."""
    for variable in ("ASYNCRAY_ADDRESS", "ASYNCRAY_TOKEN"):
        monkeypatch.delenv(variable, raising=False)

    def run(*arguments: str, token: str | None = None) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, **({"ASYNCRAY_TOKEN": token} if token else {})}
        command = asyncray_command(*arguments)
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=environment)

    return run


@pytest.fixture
def succeed(run: Run) -> Callable[..., str]:
    """Runs the command, which must end well and complain of nothing; returns what it prints."""

    def succeed(*arguments: str, token: str | None = None) -> str:
        done = run(*arguments, token=token)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    return succeed


@pytest.fixture
def fail(run: Run) -> Callable[..., str]:
    """Runs the command, which must say in one line why it fails; returns the line."""

    def fail(*arguments: str, token: str | None = None) -> str:
        done = run(*arguments, token=token)
        assert done.returncode == 1, done
        assert done.stdout == ""
        (line,) = done.stderr.splitlines()
        return line

    return fail


@pytest.fixture
def stop_all(run: Run) -> Iterator[None]:
    """Whatever a test starts in the background has ended after it, also when it fails."""
    yield
    run("stop", "--all")


pytestmark = pytest.mark.usefixtures("stop_all")


def address_in(output: str) -> str:
    found = re.search(r"127\.0\.0\.1:\d+", output)
    assert found is not None, output
    return found[0]


def status_of(output: str) -> dict[str, Any]:
    status: dict[str, Any] = json.loads(output)
    return status


def run_driver(text: str) -> str:
    """A user's program, in an interpreter of its own."""
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def driver(address: str) -> str:
    """A program that counts the nodes of its cluster, and has one of them compute."""
    return f"""
import asyncio, asyncray

@asyncray.remote
def double(x): return 2 * x

async def main():
    async with asyncray.init(address={address!r}):
        print(len(await asyncray.nodes()), await double.remote(21))

asyncio.run(main())
"""


@contextmanager
def running(*arguments: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A process that is killed in the end, if it has not ended."""
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options) as process:
        try:
            yield process
        finally:
            process.kill()


# ---- in the background


def test_a_cluster_in_the_background_serves_programs_until_it_is_stopped(succeed: Callable[..., str]) -> None:
    address = address_in(succeed("start", "--head", *SMALL))
    assert run_driver(driver("auto")) == run_driver(driver(address)) == "1 42"
    joined = succeed("start", "--address", address, "--resources", '{"disk": 2}', "--labels", "zone=a,rack=1", *SMALL)
    assert f"joined the cluster at {address}" in joined
    status = status_of(succeed("status", "--format", "json"))
    assert status["address"] == address
    assert status["resources"]["total"]["disk"] == 2
    assert {node["labels"].get("zone") for node in status["nodes"]} == {None, "a"}
    assert {node["object_store"]["capacity"] for node in status["nodes"]} == {64_000_000}
    assert run_driver(driver("auto")) == "2 42"
    stopped = succeed("stop").splitlines()
    assert [line.split(" of ")[0] for line in stopped] == ["Stopped a node", "Stopped the head"]


def test_a_daemon_in_the_background_belongs_to_no_terminal_and_logs_what_it_prints(succeed: Callable[..., str]) -> None:
    logs = re.search(r"logs +(\S+)", succeed("start", "--head", *SMALL))
    assert logs is not None
    (node,) = status_of(succeed("status", "--format", "json"))["nodes"]
    daemon = psutil.Process(node["pid"])
    assert os.getsid(daemon.pid) not in (os.getsid(0), daemon.pid), "it could get a terminal, were it a leader"
    assert daemon.terminal() is None
    streams = [os.readlink(f"/proc/{daemon.pid}/fd/{number}") for number in range(3)]
    assert streams == ["/dev/null", f"{logs[1]}/head.out", f"{logs[1]}/head.out"]
    records = [json.loads(line) for line in Path(logs[1], "head.log").read_text().splitlines()]
    joined = next(record for record in records if record.get("node_id") == node["node_id"])
    assert (joined["level"], joined["logger"], joined["role"]) == ("INFO", "asyncray.control.nodes", "head")
    assert (joined["pid"], joined["message"].split()[0]) == (daemon.pid, "node")


def test_a_token_file_that_the_head_makes_lets_others_join(succeed: Callable[..., str], tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    address = address_in(succeed("start", "--head", "--token-file", str(token_file), *SMALL))
    assert token_file.stat().st_mode & 0o777 == 0o600
    succeed("start", "--address", address, "--token-file", str(token_file), *SMALL)
    status = status_of(succeed("status", "--format", "json", token=token_file.read_text()))
    assert len(status["nodes"]) == 2


def test_status_shows_actors_and_jobs_while_they_live(succeed: Callable[..., str]) -> None:
    succeed("start", "--head", *SMALL)
    text = """
import asyncray.sync as ray
ray.init("auto")

@ray.remote
class Keeper:
    def ping(self): return 1

keeper = Keeper.remote()
ray.get(keeper.ping.remote())
print("ready", flush=True)
input()
ray.shutdown()
"""
    with running(sys.executable, "-c", text, stdin=subprocess.PIPE) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        status = status_of(succeed("status", "--format", "json"))
        (actor,) = status["actors"]
        assert (actor["class"], actor["state"], actor["job_id"]) == ("Keeper", "ALIVE", status["jobs"][0]["job_id"])
        (job,) = status["jobs"]
        assert (job["alive"], job["pid"]) == (True, program.pid)
        table = succeed("status")
        assert "Keeper" in table and str(program.pid) in table
        program.communicate("\n", timeout=PATIENCE)
    table = eventually_blocking(lambda: "No jobs" in (shown := succeed("status")) and shown)
    assert "No actors (1 have ended)." in table


def test_a_daemon_that_does_not_stop_is_killed(run: Run, succeed: Callable[..., str]) -> None:
    succeed("start", "--head", *SMALL)
    (node,) = status_of(succeed("status", "--format", "json"))["nodes"]
    os.kill(node["pid"], signal.SIGSTOP)
    done = run("stop", "--grace", "0.1")
    assert done.returncode == 1
    assert "Killed the head" in done.stderr
    assert not psutil.pid_exists(node["pid"]) or psutil.Process(node["pid"]).status() == psutil.STATUS_ZOMBIE


def test_clusters_of_single_programs_are_stopped_only_when_they_are_meant(
    succeed: Callable[..., str], fail: Callable[..., str]
) -> None:
    text = "import asyncray.sync as ray; print(ray.init(num_cpus=1).address, flush=True); input()"
    with running(sys.executable, "-c", text, stdin=subprocess.PIPE) as program:
        assert program.stdout is not None
        address = program.stdout.readline().strip()
        assert address in fail("status")
        assert "1 of single programs" in succeed("stop")
        assert address in succeed("status", "--address", address)
        assert "Stopped the head" in succeed("stop", "--address", address)


# ---- in the foreground


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_node_in_the_foreground_says_how_to_join_and_stops_on_a_signal(
    number: signal.Signals, succeed: Callable[..., str]
) -> None:
    with running(*asyncray_command("node", "--head", *SMALL)) as daemon:
        assert daemon.stdout is not None
        lines = [daemon.stdout.readline() for _ in range(7)]
        address = address_in(lines[0])
        join = re.search(rf"asyncray node --address {address} --token-file (\S+)", "".join(lines))
        assert join is not None
        assert Path(join[1]).stat().st_mode & 0o777 == 0o600
        assert run_driver(driver(address)) == "1 42"
        daemon.send_signal(number)
        assert daemon.wait(PATIENCE) == 0
        assert daemon.stderr is not None and daemon.stderr.read() == ""


def test_a_control_plane_alone_waits_for_nodes(succeed: Callable[..., str]) -> None:
    with running(*asyncray_command("control")) as control:
        assert control.stdout is not None
        address = address_in(control.stdout.readline())
        assert status_of(succeed("status", "--format", "json"))["nodes"] == []
        succeed("start", "--address", address, *SMALL)
        assert run_driver(driver("auto")) == "1 42"
        succeed("stop")
        assert control.wait(PATIENCE) == 0


# ---- errors


@pytest.mark.parametrize("command", ["node", "start"])
def test_a_port_in_use_is_named(command: str, succeed: Callable[..., str], fail: Callable[..., str]) -> None:
    address = address_in(succeed("start", "--head", *SMALL))
    port = address.rpartition(":")[2]
    assert fail(command, "--head", "--port", port) == f"asyncray: {address} is taken: another process listens there"


@pytest.mark.parametrize("command", ["node", "start", "status"])
def test_an_address_at_which_nothing_listens_is_named(
    command: str, fail: Callable[..., str], unused_tcp_port: int
) -> None:
    address = f"127.0.0.1:{unused_tcp_port}"
    line = fail(command, "--address", address, token="some-token")
    assert line == f"asyncray: cannot connect to {address}: nothing listens there"


@pytest.mark.parametrize("command", ["node", "start", "status"])
def test_a_wrong_token_is_refused(command: str, succeed: Callable[..., str], fail: Callable[..., str]) -> None:
    address = address_in(succeed("start", "--head", *SMALL))
    assert "refused the token" in fail(command, "--address", address, token="wrong")
    assert len(status_of(succeed("status", "--format", "json"))["nodes"]) == 1


def test_without_a_cluster_status_says_how_to_start_one(fail: Callable[..., str], succeed: Callable[..., str]) -> None:
    assert "`asyncray start --head`" in fail("status")
    assert succeed("stop") == "Nothing to stop: no daemon runs on this machine.\n"


def test_two_clusters_on_one_machine_do_not_meet(succeed: Callable[..., str], fail: Callable[..., str]) -> None:
    started = [succeed("start", "--head", *SMALL) for _ in range(2)]
    first, second = (address_in(output) for output in started)
    assert first != second
    line = fail("status")
    assert first in line and second in line
    for address in (first, second):
        assert len(status_of(succeed("status", "--address", address, "--format", "json"))["nodes"]) == 1
        assert run_driver(driver(address)) == "1 42"
    token_of_first = re.search(r"token +(\S+)\n", started[0])
    assert token_of_first is not None
    assert "refused the token" in fail("start", "--address", second, "--token-file", token_of_first[1])
    assert first in succeed("stop", "--address", first)
    assert second in succeed("status")


# ---- the benchmark


@pytest.mark.parametrize("mode", [[], ["--blocking"], ["--loop", "asyncio"]], ids=["async", "blocking", "asyncio"])
def test_the_benchmark_measures_with_clusters_of_its_own(mode: list[str], run: Run) -> None:
    filters = [f"--filter={name}" for name in ("1:1 actor calls sync", "single client put calls*", "n:n actor calls *")]
    done = run("microbenchmark", *filters, "--seconds=0.05", "--repetitions=2", "--json=-", *mode)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)["results"]
    assert len(results) == len(done.stderr.splitlines()) == 4
    assert all(result["mean"] > 0 and len(result["samples"]) == 2 for result in results), results


def test_the_benchmark_measures_what_programs_of_its_own_use(run: Run) -> None:
    done = run("microbenchmark", "--filter=10,000 queued tasks", "--filter=memory of an idle", "--json=-")
    assert done.returncode == 0, done.stderr
    rate, memory_per_task, memory = (result["mean"] for result in json.loads(done.stdout)["results"])
    assert rate > 0
    assert 0 < memory_per_task < 100_000
    assert 20 < memory < 2000
