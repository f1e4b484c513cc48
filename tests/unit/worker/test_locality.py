"""To which node a task goes for its arguments."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from asyncray.messages import INLINE, STORED
from asyncray.worker.locality import preferred_node

MEGABYTE = 1 << 20


def place(name: str) -> list[Any]:
    return [name.encode() * 16, f"{name}:1"]


def stored(size: int, primary: str, copies: str = "") -> list[Any]:
    return [0, b"id", STORED, [*place(primary), size, b"o" * 16, [place(copy) for copy in copies]], None]


OWN = place("o")[0]


def preferred(*entries: list[Any]) -> list[Any] | None:
    return preferred_node(entries, OWN, MEGABYTE)


def test_a_task_goes_where_most_of_its_arguments_are() -> None:
    assert preferred(stored(3 * MEGABYTE, "a"), stored(4 * MEGABYTE, "b"), stored(2 * MEGABYTE, "a")) == place("a")
    assert preferred(stored(3 * MEGABYTE, "a", "b"), stored(MEGABYTE, "b")) == place("b"), "copies count"


def test_it_stays_when_that_is_the_own_node_or_the_gain_is_small() -> None:
    assert preferred(stored(3 * MEGABYTE, "o"), stored(3 * MEGABYTE, "a")) is None
    assert preferred(stored(9 * MEGABYTE, "a", "o")) is None
    assert preferred(stored(MEGABYTE - 1, "a")) is None
    assert preferred(stored(MEGABYTE, "a")) == place("a")


def test_small_values_do_not_count() -> None:
    assert preferred([0, b"id", INLINE, bytes(5 * MEGABYTE)]) is None
    assert preferred() is None


@given(st.lists(st.tuples(st.integers(1, 10 * MEGABYTE), st.sampled_from("oabc"), st.sets(st.sampled_from("oabc")))))
def test_nowhere_else_is_more_of_them(arguments: list[tuple[int, str, set[str]]]) -> None:
    entries = [stored(size, primary, "".join(sorted(copies - {primary}))) for size, primary, copies in arguments]
    held = {name: sum(size for size, at, copies in arguments if name in copies | {at}) for name in "oabc"}
    chosen = preferred(*entries)
    if chosen is None:
        assert max(held.values()) - held["o"] < MEGABYTE
    else:
        name = chosen[1][0]
        assert chosen == place(name) and held[name] == max(held.values()) and held[name] - held["o"] >= MEGABYTE
