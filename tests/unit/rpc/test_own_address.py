"""Which addresses mean this machine."""

from __future__ import annotations

import pytest

from asyncray.rpc.own_address import WILDCARDS, is_same, reachable


@pytest.mark.parametrize("wildcard", WILDCARDS)
def test_nobody_is_told_to_dial_a_wildcard(wildcard: str) -> None:
    assert reachable(wildcard) not in (*WILDCARDS, "")


def test_a_host_that_was_chosen_is_told_as_it_is() -> None:
    assert reachable("10.1.2.3") == "10.1.2.3"


@pytest.mark.parametrize(
    ("asked", "known"),
    [
        ("10.0.0.1:5", "10.0.0.1:5"),
        ("localhost:5", "127.0.0.1:5"),
        ("127.0.0.1:5", "0.0.0.0:5"),
        ("localhost:5", "0.0.0.0:5"),
    ],
)
def test_one_cluster_has_several_addresses(asked: str, known: str) -> None:
    assert is_same(asked, known)


@pytest.mark.parametrize(
    ("asked", "known"),
    [
        ("127.0.0.1:5", "127.0.0.1:6"),
        ("10.0.0.1:5", "127.0.0.1:5"),
        ("198.51.100.7:5", "0.0.0.0:5"),
        ("name.invalid:5", "0.0.0.0:5"),
    ],
)
def test_another_machine_is_another_cluster(asked: str, known: str) -> None:
    assert not is_same(asked, known)
