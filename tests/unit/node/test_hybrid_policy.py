"""Where the hybrid policy places a request."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from asyncray.node.scheduling import PACK_BELOW, NodeView, hybrid, utilisation_with
from asyncray.resources import fits, to_units

LOCAL = b"m"


def view(name: bytes, available: float, total: float = 4, **others: float) -> NodeView:
    amounts = {"CPU": total, **others}
    return NodeView(name, name.decode(), to_units(amounts), {**to_units(others), "CPU": int(available * 10_000)})


def placed(*nodes: NodeView, **demand: float) -> bytes | None:
    chosen = hybrid(nodes, to_units(demand or {"CPU": 1}))
    return None if chosen is None else chosen.node_id


def test_it_packs_on_the_local_node_up_to_half() -> None:
    assert placed(view(LOCAL, 4), view(b"a", 4), view(b"z", 4)) == LOCAL
    assert placed(view(LOCAL, 3), view(b"a", 4), view(b"z", 4)) == LOCAL


def test_it_packs_on_the_others_in_their_order() -> None:
    assert placed(view(LOCAL, 2), view(b"z", 4), view(b"a", 4)) == b"z"
    assert placed(view(LOCAL, 2), view(b"z", 2), view(b"a", 4)) == b"a"


def test_above_half_it_takes_the_least_utilised_node() -> None:
    assert placed(view(LOCAL, 1), view(b"a", 1, total=8), view(b"z", 2)) == b"z"


def test_of_equally_utilised_nodes_it_takes_the_local_one() -> None:
    assert placed(view(LOCAL, 2), view(b"a", 2), view(b"z", 2)) == LOCAL


def test_when_none_is_free_the_request_waits_at_the_local_node() -> None:
    assert placed(view(LOCAL, 0), view(b"a", 0)) == LOCAL


def test_when_the_local_node_can_never_run_it_another_one_waits() -> None:
    assert placed(view(LOCAL, 4), view(b"a", 0, total=8), CPU=6) == b"a"


def test_what_no_node_has_goes_nowhere() -> None:
    assert placed(view(LOCAL, 4), view(b"a", 4), GPU=1) is None
    assert placed() is None


def test_an_overcommitted_node_is_not_free() -> None:
    assert placed(view(LOCAL, -1), view(b"a", 1)) == b"a"


def test_the_scarcest_resource_decides() -> None:
    busy = NodeView(b"a", "", to_units({"CPU": 10, "GPU": 1}), to_units({"CPU": 10, "GPU": 0}))
    assert utilisation_with(busy, to_units({"CPU": 1})) == 1
    assert placed(busy, view(b"b", 2)) == b"b"


def test_resources_that_a_node_has_none_of_do_not_matter() -> None:
    assert utilisation_with(NodeView(b"a", "", {"CPU": 0}, {"CPU": 0}), {}) == 0


amounts = st.dictionaries(st.sampled_from(["CPU", "GPU", "disk"]), st.integers(0, 8).map(float), max_size=3)


@given(st.lists(st.tuples(amounts, amounts), max_size=6), amounts)
def test_it_never_chooses_a_node_that_is_too_small_while_a_free_one_is_there(
    nodes: list[tuple[dict[str, float], dict[str, float]]], demand: dict[str, float]
) -> None:
    views = [
        NodeView(bytes([97 + index]), "", to_units(total), to_units(available))
        for index, (total, available) in enumerate(nodes)
    ]
    units = to_units(demand)
    chosen = hybrid(views, units)
    feasible = [node for node in views if fits(units, node.total)]
    free = [node for node in feasible if fits(units, node.available)]
    assert (chosen is None) == (not feasible)
    if chosen is not None:
        assert chosen in (free or feasible)
        if any(utilisation_with(node, units) <= PACK_BELOW for node in free):
            assert utilisation_with(chosen, units) <= PACK_BELOW


def test_nodes_after_one_that_is_chosen_are_not_looked_at() -> None:
    def nodes() -> Iterator[NodeView]:
        yield view(LOCAL, 4)
        raise AssertionError("another one was asked for")

    assert hybrid(nodes(), to_units({"CPU": 1})) is not None
