"""Calls and values as scenarios write them."""

from __future__ import annotations

import pytest

from asyncray.simulation.scenario.errors import ScenarioError
from asyncray.simulation.scenario.expression import read_call, read_options, read_value

HELD = {"a": "ref a", "b": "ref b"}


def test_names_in_a_call_stand_for_what_is_held_also_in_containers() -> None:
    call = read_call('add(-1, a, [b, 2], {"k": a}, key=b)')
    assert (call.target, call.name) == ("", "add")
    assert call.arguments(HELD.__getitem__) == ([-1, "ref a", ["ref b", 2], {"k": "ref a"}], {"key": "ref b"})


def test_a_method_is_called_on_an_actor() -> None:
    call = read_call("c.add()")
    assert (call.target, call.name, call.arguments(HELD.__getitem__)) == ("c", "add", ([], {}))


@pytest.mark.parametrize(("text", "length"), [("3 KiB", 3072), ("2 MiB", 2_097_152)])
def test_a_size_is_so_many_bytes(text: str, length: int) -> None:
    assert read_value(text)(HELD.__getitem__) == bytes(length)


def test_options_are_literals_by_name() -> None:
    assert read_options(' cpus=0.5 resources={"disk":1}') == {"cpus": 0.5, "resources": {"disk": 1}}


@pytest.mark.parametrize("text", ["add(1", "5", "a.b.c()", "add(1)(2)", "lambda: 0"])
def test_what_is_no_call_is_refused(text: str) -> None:
    with pytest.raises(ScenarioError):
        read_call(text)


@pytest.mark.parametrize("text", ["1 + a", "f(2)", "[x for x in a]", "a["])
def test_a_value_is_not_computed(text: str) -> None:
    with pytest.raises(ScenarioError):
        read_value(text)(HELD.__getitem__)
