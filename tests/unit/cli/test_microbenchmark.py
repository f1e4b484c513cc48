"""`asyncray microbenchmark`: what it measures is up to its options, what it prints is for people or programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from asyncray.benchmark import suite
from asyncray.benchmark.row import Plan, Row
from asyncray.cli.program import program


class Good(Row):
    name = "good"
    goal = 1_000
    plans: list[Plan] = []  # noqa: RUF012 - what it was measured with

    def samples(self, plan: Plan) -> list[float]:
        self.plans.append(plan)
        return [12_345.0, 12_345.0]


class Bad(Row):
    name = "bad"

    def samples(self, plan: Plan) -> list[float]:
        raise ValueError("no")


@pytest.fixture(autouse=True)
def two_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "ROWS", (Good, Bad))
    Good.plans.clear()


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(program, ("microbenchmark", *arguments), prog_name="asyncray")


def test_a_figure_is_compared_with_its_goal() -> None:
    result = invoke("--filter", "good")
    assert result.exit_code == 0
    assert " ".join(result.stdout.split()) == "good 12,345 ± 0 /s goal 1,000 /s 12.35x"


def test_a_row_that_fails_says_why_and_makes_the_command_fail() -> None:
    result = invoke()
    assert result.exit_code == 1
    assert "bad   failed: ValueError: no" in result.stdout


def test_options_reach_the_rows() -> None:
    invoke("--filter", "good", "--blocking", "--seconds", "0.5", "--repetitions", "2", "--loop", "asyncio")
    assert Good.plans == [Plan(seconds=0.5, repetitions=2, blocking=True, uvloop=False)]


def test_figures_for_programs_stand_alone_on_stdout() -> None:
    result = invoke("--filter", "good", "--json", "-")
    report = json.loads(result.stdout)
    assert report["plan"]["blocking"] is False
    assert [row["mean"] for row in report["results"]] == [12_345]
    assert "good" in result.stderr


def test_figures_for_programs_go_to_a_file(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    invoke("--json", str(path))
    assert [row.get("problem") for row in json.loads(path.read_text())["results"]] == [None, "ValueError: no"]


def test_the_list_measures_nothing() -> None:
    result = invoke("--list")
    assert result.stdout.splitlines() == ["good  goal 1,000 /s", "bad"]
    assert Good.plans == []


def test_a_filter_that_matches_nothing_is_misuse() -> None:
    result = invoke("--filter", "nonsense")
    assert result.exit_code == 2
    assert "no row is called 'nonsense'" in result.stderr
