"""The text of scenarios."""

from __future__ import annotations

import pytest

from asyncray.simulation.scenario.errors import ScenarioError
from asyncray.simulation.scenario.file import read_scenario

TEXT = """\
# What it shows,
# in two lines.

node cpus=1
driver
----
node 1: starts

# A remark.
until quiet
----

check
----
quiescent
"""


def test_a_text_that_is_read_is_written_as_it_was() -> None:
    assert str(read_scenario(TEXT, "story.txt")) == TEXT


def test_a_block_has_its_remarks_its_commands_with_their_lines_and_what_is_expected() -> None:
    first, second, third = read_scenario(TEXT, "story.txt").blocks
    assert [(command.text, command.line) for command in first.commands] == [("node cpus=1", 4), ("driver", 5)]
    assert first.expected == ("node 1: starts",)
    assert (second.remarks, second.expected) == (("# A remark.",), ())
    assert third.expected == ("quiescent",)


def test_other_transcripts_leave_everything_else_as_it_was() -> None:
    scenario = read_scenario(TEXT, "story.txt").with_transcripts([["one"], ["two", "three"], []])
    assert str(scenario) == TEXT.replace("node 1: starts", "one").replace(
        "until quiet\n----\n", "until quiet\n----\ntwo\nthree\n"
    ).replace("quiescent\n", "")


@pytest.mark.parametrize("gap", ["\n\n", "\n  \n\n"])
def test_several_blank_lines_are_as_good_as_one(gap: str) -> None:
    assert str(read_scenario(TEXT.replace("\n\n", f"\n{gap}"), "story.txt")) == TEXT


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "story.txt: it ends where commands should follow"),
        ("# Title\n", "story.txt: it ends where commands should follow"),
        ("node\n----\n", "story.txt:1: a scenario begins with"),
        ("# Title\nnode\n----\n", "story.txt:2: a scenario begins with"),
        ("# Title\n\n----\n", "story.txt:3: ---- without a command above it"),
        ("# Title\n\nnode\n\ndriver\n----\n", "story.txt:3: ---- is missing after 'node'"),
        ("# Title\n\nnode\n----\n\ndriver\n", "story.txt:6: ---- is missing after 'driver'"),
        ("# Title\n\n# Lost remark\n\nnode\n----\n", "story.txt:4: a remark belongs to the commands right below it"),
        ("# Title\n\nnode\n----\n\n# Lost remark\n", "story.txt: it ends where commands should follow"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_line(text: str, complaint: str) -> None:
    with pytest.raises(ScenarioError) as raised:
        read_scenario(text, "story.txt")
    assert str(raised.value).startswith(complaint)
