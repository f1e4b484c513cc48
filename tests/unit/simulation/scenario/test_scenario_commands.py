"""What a scenario can command, and how it learns of its mistakes."""

from __future__ import annotations

import pytest

from asyncray.simulation.scenario import ScenarioError, read_scenario, replay
from asyncray.simulation.scenario.commands import ALL, read_command

START = "# Story\n\nnode cpus=1\ndriver\n----\n\n"


def happened(commands: str) -> list[str]:
    """What the last block tells."""
    return list(replay(read_scenario(f"{START}{commands}\n----\n", "story.txt")).blocks[-1].expected)


def complaint(commands: str) -> str:
    with pytest.raises(ScenarioError) as raised:
        happened(commands)
    return str(raised.value)


def test_an_unknown_command_is_told_which_there_are() -> None:
    text = complaint("until quiet\njump node 1")
    assert text.startswith("story.txt:8: unknown command 'jump'; there are:\n    node cpus=2")
    assert all(kind.usage in text for kind in ALL)


def test_a_command_that_is_nearly_right_is_shown_how_it_is_written() -> None:
    assert complaint("advance quickly") == "story.txt:7: 'advance quickly' does not read as 'advance 1.5'"


def test_commands_are_read_before_anything_runs() -> None:
    assert "story.txt:8" in complaint("get nobody_put_it\nhop")  # and not line 7


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("get a", "driver 1 holds no a; it holds nothing"),
        ("put x = 1\ndrop y", "driver 1 holds no y; it holds x"),
        ("put x = 1\nkill actor x", "x is a reference, not an actor"),
        ("actor c = Counter()\nget c", "c is an actor, not a reference"),
        ("actor c = Counter()\ncall a = c.multiply()", "c has no method 'multiply'"),
        ("task a = nothing()", "there is no nothing in programs.py; there are"),
        ("task a = asyncio()", "there is no asyncio in programs.py; there are"),
        ("task a = c.add()", "'c.add()' is a call of an actor: write 'call a = c.add()'"),
        ("call a = double(1)", "'double(1)' is no call of an actor: write 'task a = double(1)'"),
        ("task a = double(x)", "driver 1 holds no x"),
        ("task a = double(1) colour=2", "there is no option 'colour'; there are cpus, gpus"),
        ("node wheels=4", "a node has no 'wheels'; it has cpus, gpus"),
        ("kill worker 7.1", "there is no living 'worker 7.1'; there are control, node 1, worker 1.1, driver 1"),
        ("remove node 3", "there is no living 'node 3'"),
        ("get a on driver 2", "there is no living driver 2"),
        ("show numbers", "there is nothing to show as 'numbers'; there are nodes, leases"),
        ("messages on TASKS", "there is no message 'TASKS'; there are calls, "),
    ],
)
def test_a_command_that_makes_no_sense_names_its_line_and_why(command: str, reason: str) -> None:
    line = 6 + len(command.splitlines())
    assert complaint(f"{command}").startswith(f"story.txt:{line}: {reason}")


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.usage.split("[")[0])
def test_every_usage_that_is_shown_can_be_read(kind: object) -> None:
    """The first of several alternatives, with and without what is optional."""
    usage = kind.usage.replace(" ...", "")  # type: ignore[attr-defined]
    if " | node 2" not in usage or usage.startswith(("kill", "freeze", "thaw", "show")):
        usage = usage.split(" | ")[0]
    brackets = "[c]", "a[0]", "= [1, b]"
    optional = usage if any(part in usage for part in brackets) else usage.replace("[", "").replace("]", "")
    read_command(optional.partition(" [on driver")[0].partition(" [cpus")[0])


def test_an_answer_of_the_simulator_has_no_name_and_an_event_has_one() -> None:
    assert happened("put a = 5\nget a\nadvance 1\ntime") == ["driver 1: a = 5", "it is 1.002000 s"]


def test_messages_of_chosen_kinds_are_told_until_they_are_off() -> None:
    lines = happened("messages on TASK RESULT\ntask a = double(1)\nget a\nmessages off\ntask b = double(2)\nget b")
    assert lines == [
        "driver 1 -> worker 1.1: TASK a",
        "worker 1.1 -> driver 1: RESULT a",
        "driver 1: a = 2",
        "driver 1: b = 4",
    ]


def test_messages_can_be_told_but_for_some() -> None:
    lines = happened("messages on but RESOURCES VIEW calls\ntask a = double(1)\nget a\nuntil quiet")
    assert lines[0] == "driver 1 -> node 1: LEASE_REQUEST 1: CPU=1"
    assert not [line for line in lines if "RESOURCES" in line or "VIEW" in line or "Kv" in line]


def test_it_is_quiet_when_only_signs_of_life_are_left() -> None:
    assert happened("messages on\nadvance 30\ntime")[-1] == "it is 30.002000 s"
    assert len(happened("until quiet\nmessages on\nadvance 30")) == 0


def test_get_does_not_wait_for_ever() -> None:
    assert happened("task a = sleep(600)\nget a\nget a within 1\ntime") == [
        "driver 1: a raises GetTimeoutError: 1 of 1 values were not there after 60.0 s",
        "driver 1: a raises GetTimeoutError: 1 of 1 values were not there after 1.0 s",
        "it is 61.002000 s",
    ]


def test_wait_tells_which_are_ready() -> None:
    assert happened("task a = sleep(1)\ntask b = sleep(9)\nwait for 2 of a, b within 2\nwait for 1 of b within 0") == [
        "driver 1: ready: a",
        "driver 1: ready: none",
    ]


def test_a_watched_value_is_told_when_it_comes() -> None:
    assert happened("task a = sleep(1, 7)\nwatch a\nadvance 0.5\ntime\nadvance 1")[-1] == "driver 1: a = 7"


def test_what_a_dead_driver_was_doing_is_over() -> None:
    assert happened("task a = sleep(9)\nwatch a\nkill driver 1\nadvance 1\nshow leases\nshow references") == [
        "driver 1: is dead: killed by SIGKILL",
        "control: job 1 ended",
        "no leases",
        "no references",
    ]


def test_references_to_some_objects_are_shown_alone() -> None:
    assert happened("put x = 1\nput y = [x]\nshow references to x\nshow references to z") == [
        "driver 1: x owned, inline, local=1, containers=1",
        "no references to z",
    ]


def test_several_results_have_names_of_their_own() -> None:
    assert happened("task a, b = same([1, 2])\nget b\nget a") == ["driver 1: b = 2", "driver 1: a = 1"]
    commands = "actor k = Keeper()\nput x = 1\ncall n = k.keep([x, x])\ncall p, q = k.read()\nget q"
    assert happened(commands)[-1] == "driver 1: q = 1"


def test_a_violated_invariant_is_told() -> None:
    lines = happened("task a = sleep(9)\nadvance 1\ncheck")
    assert "driver 1: task a (sleep) is not over" in lines


def test_what_could_not_be_put_is_not_held() -> None:
    lines = happened("node cpus=1 store=1\ndriver on node 2\nput x = 2 MiB on driver 2\nuntil quiet\ncheck")
    assert "driver 2: put x raises ObjectStoreFullError" in lines[-2]
    assert lines[-1] == "quiescent"


def test_who_dies_within_a_block_keeps_its_name() -> None:
    lines = happened("node cpus=1\nkill node 2\nuntil quiet")
    assert "control: node 2 joined from 10.0.0.3:20000" in lines
    assert any(line.startswith("control: warning: node 2 at 10.0.0.3:20000 is dead") for line in lines)
