"""What docs/simulation.md and the README say of the simulator is true: tests pass, commands print what is shown."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from asyncray.simulation.scenario import read_scenario, replay

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "simulation.md").read_text()
README = (ROOT / "README.md").read_text()
PATIENCE = 60.0
"""Seconds in which a command must have ended."""


def blocks(language: str, page: str = PAGE) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.M | re.S)


def files() -> dict[str, str]:
    """A block whose first line is the name of a file begins it, and one without goes on with it."""
    texts: dict[str, str] = {}
    for block in blocks("python"):
        if (name := re.match(r"# (\w+\.py)\n", block)) is not None:
            assert name[1] not in texts
            texts[name[1]] = block
        else:
            texts[next(reversed(texts))] += "\n\n" + block
    return texts


FILES = files()
COMMANDS: dict[str, str] = dict(re.findall(r"^```console\n\$ ([^\n]+)\n(.*?)^```", PAGE, re.M | re.S))
"""What each prints."""


def masked(text: str) -> str:
    """Without what any change of asyncray may change: times and ids; and without the width of a table."""
    text = re.sub(r"\b\d+\.\d{6}\b", "TIME", text)
    text = re.sub(r"\b(?=\w*\d)(?:[0-9a-f]{32}|[0-9a-f]{12}|[0-9a-f]{8})\b", "ID", text)
    return "\n".join(line.strip() for line in text.splitlines()) + "\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A directory with the files of the page."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def run(command: list[str], project: Path) -> subprocess.CompletedProcess[str]:
    """Runs what the environment of these tests has installed, as at a terminal of 80 columns."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COLUMNS": "80"}
    for name in ("CI", "BUILD_NUMBER"):  # with either, pytest does not shorten lines
        environment.pop(name, None)
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, cwd=project, env=environment)


def test_the_page_has_tests_and_output() -> None:
    assert len(FILES) > 5
    assert len(COMMANDS) > 2


def test_the_tests_of_the_page_pass(project: Path) -> None:
    """Those of which the page does not show the output."""
    names = [name for name in FILES if not any(name in command for command in COMMANDS)]
    done = run(["pytest", "-q", *names], project)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_test_in_the_readme_passes(project: Path) -> None:
    (program,) = (block for block in blocks("python", README) if "@simulated" in block)
    (project / "test_readme_program.py").write_text(program)
    done = run(["pytest", "-q", "--sim-seeds", "20", "test_readme_program.py"], project)
    assert "20 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page_prints_what_is_shown(command: str, project: Path) -> None:
    done = run(command.split(), project)
    shown, printed = masked(COMMANDS[command]), masked(done.stdout)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert doctest.OutputChecker().check_output(shown, printed, flags), f"{done.stdout}{done.stderr}\nshown:\n{shown}"


@pytest.mark.parametrize("text", blocks("text"))
def test_a_scenario_of_the_page_tells_what_happens(text: str) -> None:
    assert str(replay(read_scenario(text, "docs/simulation.md"))) == text
