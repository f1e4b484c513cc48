"""The group of commands: help, and errors in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from asyncray.cli.program import program
from asyncray.errors import ConnectionFailed

COMMANDS = ("start", "stop", "status", "node", "control", "microbenchmark")


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(program, arguments, prog_name="asyncray")


def error_of(*arguments: str) -> str:
    """The one line that a misused command prints."""
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line


@pytest.fixture
def failing(request: pytest.FixtureRequest) -> str:
    """The name of a command that raises what the test says."""

    @program.command("failing")
    def failing() -> None:
        raise request.param

    request.addfinalizer(lambda: program.commands.pop("failing"))
    return "failing"


def test_help_lists_every_command_in_whole_sentences() -> None:
    result = invoke("--help")
    assert result.exit_code == 0
    for name, command in program.commands.items():
        assert f"  {name} " in result.output
        assert (command.help or "").splitlines()[0].endswith(".")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_a_help_text(name: str) -> None:
    assert invoke(name, "--help").exit_code == invoke(name, "-h").exit_code == 0
    options = [option for option in program.commands[name].params if isinstance(option, click.Option)]
    assert [option.name for option in options if not option.help] == []


def test_help_is_quick_because_it_imports_little() -> None:
    heavy = {"asyncio", "grpclib", "psutil", "rich", "ssl", "uvloop", "yaml"}
    text = f"""
import sys
from click.testing import CliRunner
before = set(sys.modules)
from asyncray.cli.program import program
assert CliRunner().invoke(program, ["--help"]).exit_code == 0
print(sorted({heavy!r} & (set(sys.modules) - before)))
"""
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == "[]"


def test_the_version_is_the_packages() -> None:
    from asyncray import __version__

    assert invoke("--version").output == f"asyncray {__version__}\n"


def test_misuse_names_the_mistake_and_where_to_find_help() -> None:
    assert error_of("nonsense") == "asyncray: No such command 'nonsense' (see asyncray --help)"
    assert error_of("node", "--nonsense") == "asyncray: No such option '--nonsense' (see asyncray node --help)"
    assert "either --head, for a new cluster, or --address" in error_of("node")
    assert "either --head, for a new cluster, or --address" in error_of("start", "--head", "--address", "h:1")
    assert "use --node-port" in error_of("node", "--address", "h:1", "--port", "5")
    assert "'h' is not HOST:PORT" in error_of("status", "--address", "h")


def test_a_certificate_needs_its_key(tmp_path: Path) -> None:
    file = tmp_path / "file.pem"
    file.touch()
    assert "--tls-cert and --tls-key go together" in error_of("node", "--head", f"--tls-cert={file}")
    assert "--tls-cert and --tls-key go together" in error_of("status", f"--tls-key={file}")
    assert "--tls-ca goes with --tls-cert" in error_of("node", "--head", f"--tls-ca={file}")


@pytest.mark.parametrize(
    ("failing", "line"),
    [
        (ConnectionFailed("nothing\nlistens there"), "asyncray: nothing listens there"),
        (FileNotFoundError(2, "No such file", "/there"), "asyncray: /there: No such file"),
        (click.ClickException("no"), "asyncray: no"),
    ],
    indirect=["failing"],
)
def test_a_failure_is_one_line(failing: str, line: str) -> None:
    result = invoke(failing)
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", f"{line}\n")


@pytest.mark.parametrize("failing", [KeyboardInterrupt()], indirect=True)
def test_an_interrupt_is_no_error_to_explain(failing: str) -> None:
    result = invoke(failing)
    assert (result.exit_code, result.stderr.strip()) == (130, "")


@pytest.mark.parametrize("failing", [ZeroDivisionError("a bug")], indirect=True)
def test_a_bug_is_not_hidden(failing: str) -> None:
    assert isinstance(invoke(failing).exception, ZeroDivisionError)


def test_nobody_reading_the_output_is_not_worth_a_traceback() -> None:
    command = f"{sys.executable} -m asyncray microbenchmark --list | true"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=30)
    assert done.stderr == ""
