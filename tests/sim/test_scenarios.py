"""Stories of a cluster, told by the files in `scenarios/`: the same thing happens each time."""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest

from asyncray.simulation.scenario import Scenario, read_scenario, replay

FOLDER = Path(__file__).parent / "scenarios"
FILES = sorted(FOLDER.glob("*.txt"))
CHECK = "check"


def load(path: Path) -> Scenario:
    return read_scenario(path.read_text(), f"{path.parent.name}/{path.name}")


def difference(expected: str, happened: str, name: str) -> str:
    lines = difflib.unified_diff(expected.splitlines(), happened.splitlines(), "expected", "happened", lineterm="")
    return "\n".join(
        [
            f"{name} tells another story than before. If this one is right, run pytest tests/sim --rewrite-scenarios",
            *lines,
        ]
    )


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_happens_is_what_the_scenario_tells(path: Path, rewrites_scenarios: bool) -> None:
    scenario = load(path)
    happened = str(replay(scenario))
    if rewrites_scenarios:
        path.write_text(happened)
    elif happened != path.read_text():
        pytest.fail(difference(path.read_text(), happened, scenario.name), pytrace=False)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_nothing_is_left_in_the_end_of_a_scenario(path: Path) -> None:
    """Those that end with a dead control plane cannot tell."""
    last = load(path).blocks[-1]
    if last.commands[-1].text == CHECK:
        assert last.expected[-1] == "quiescent"
    else:
        assert path.stem == "control_plane_dies"


def test_two_runs_tell_the_same_story() -> None:
    scenario = load(FOLDER / "nested_tasks.txt")
    assert replay(scenario) == replay(scenario)


def test_a_changed_story_is_shown_line_by_line_with_the_flag_that_accepts_it(tmp_path: Path) -> None:
    path = tmp_path / "story.txt"
    path.write_text("# One task\n\nnode cpus=1\ndriver\n----\n\ntask a = double(4)\nget a\n----\ndriver 1: a = 9\n")
    with pytest.raises(pytest.fail.Exception) as failed:
        test_what_happens_is_what_the_scenario_tells(path, rewrites_scenarios=False)
    first, *lines = str(failed.value).splitlines()
    assert "story.txt tells another story than before" in first
    assert "--rewrite-scenarios" in first
    assert lines[-2:] == ["-driver 1: a = 9", "+driver 1: a = 8"]
    test_what_happens_is_what_the_scenario_tells(path, rewrites_scenarios=True)
    assert path.read_text().endswith("get a\n----\ndriver 1: a = 8\n")
    test_what_happens_is_what_the_scenario_tells(path, rewrites_scenarios=False)
