"""`asyncray simulate`: what it simulates is up to its options, what it prints is for people or programs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from asyncray.cli.program import program

SMALL = ("--nodes", "2", "--actors", "2", "--tasks", "20", "--cpus-per-node", "1", "--task-seconds", "0.01", "--quiet")


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(program, ("simulate", *arguments), prog_name="asyncray")


def test_programs_get_the_figures_of_the_run() -> None:
    for form, read in (("json", json.loads), ("yaml", yaml.safe_load)):
        result = invoke(*SMALL, "--format", form)
        assert result.exit_code == 0, result.output
        (run,) = read(result.stdout)["runs"]
        assert (run["nodes"], run["tasks"], run["actor_calls"]) == (2, 20, 22)
        assert run["makespan"] > 0


def test_people_get_a_table() -> None:
    result = invoke(*SMALL)
    assert result.exit_code == 0, result.output
    assert "2 nodes, 2 actors, 20 tasks, 1 drivers" in result.stdout
    assert "virtual makespan, s" in result.stdout
    assert "nodes^" not in result.stdout


def test_growth_has_a_column_for_each_size_and_the_exponents(tmp_path: Path) -> None:
    picture = tmp_path / "growth.png"
    result = invoke(*SMALL, "--nodes", "8", "--growth", "--plot", str(picture), "--format", "json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert [run["nodes"] for run in found["runs"]] == [1, 2, 4, 8]
    assert "callbacks" in found["exponents"]
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--nodes", "4", "--growth"), "4 nodes are too few"),
        (("--plot", "growth.png"), "--plot draws growth"),
        (("--nodes", "0"), "--nodes"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(arguments: tuple[str, ...], complaint: str) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert complaint in result.stderr
    assert result.stderr.count("\n") == 1


def test_without_greenlet_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "greenlet", None)
    result = invoke(*SMALL)
    assert result.exit_code == 1
    assert "asyncray[simulation]" in result.stderr
    assert result.stderr.count("\n") == 1


def test_it_says_how_far_it_is_unless_it_is_to_be_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    invoke(*(option for option in SMALL if option != "--quiet"))
    assert "2 nodes have joined" in capfd.readouterr().err
