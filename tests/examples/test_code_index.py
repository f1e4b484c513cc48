"""The demo, run as a user runs it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from asyncray.demo import command, main
from asyncray.demo.source_index import Index

SCRIPT = "examples/code_index.py"
RunProgram = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """No line of a table is broken."""
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Packages three deep; two files that are not Python."""
    for depth, directory in enumerate([tmp_path, tmp_path / "package", tmp_path / "package" / "inner"]):
        directory.mkdir(exist_ok=True)
        for number in range(20):
            (directory / f"module_{number}.py").write_text(f"import os\n\ndef f_{depth}():\n    print(len('x'))\n")
    (tmp_path / "package" / "old.py").write_text("print 'Python 2'\n")
    (tmp_path / "package" / "inner" / "coding.py").write_bytes(b"# coding: utf-8\nx = '\xff'\n")
    return tmp_path


def test_a_part_of_the_standard_library_is_indexed_as_in_one_process(run_program: RunProgram) -> None:
    library = sysconfig.get_paths()["stdlib"]
    done = run_program(SCRIPT, library, "--limit", "100", "--top", "3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert re.search(r"100 modules, [\d,]+ definitions, [\d,]+ calls; both indices are equal", done.stdout)
    assert "Most imported" in done.stdout


def test_files_that_do_not_parse_are_reported_and_nothing_else_is_lost(run_program: RunProgram, tree: Path) -> None:
    done = run_program("-m", "asyncray", "demo", tree)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "62 files" in done.stdout
    assert "60 modules, 60 definitions, 120 calls; both indices are equal" in done.stdout
    assert re.search(r"package/old\.py +│ SyntaxError: Missing parentheses", done.stdout)
    assert re.search(r"package/inner/coding\.py +│ \w*Error", done.stdout)


def test_an_index_that_differs_is_shown_and_fails(
    tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Forgetful(Index):
        def add(self, outcomes: object) -> None:
            """Loses everything."""

    monkeypatch.setattr(command, "Index", Forgetful)
    assert main([str(tree), "--limit", "2", "--cpus", "1"]) == 1
    assert "The two indices differ" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["/no/such/directory"], ["--limit", "0"], ["--cpus", "many"]])
def test_arguments_that_make_no_sense_are_one_clear_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert arguments[-1] in capsys.readouterr().err.splitlines()[-1]


def test_ctrl_c_ends_it_and_its_cluster() -> None:
    command = [sys.executable, "-m", "asyncray", "demo"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while "A cluster has started" not in (line := process.stdout.readline()):
            assert line, process.communicate()
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=30)
    assert process.returncode == 130, rest + errors
    assert "interrupted" in rest
    assert errors == ""
