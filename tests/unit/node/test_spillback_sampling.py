"""Sending requests on in a cluster that is too large to look at all of it for each."""

from __future__ import annotations

from asyncray.node.scheduling import NodeView
from asyncray.node.spillback import Spillback
from asyncray.resources import Resources, to_units

ONE = to_units({"CPU": 1})
NODES = 500


def name(number: int) -> bytes:
    return number.to_bytes(2, "big")


def view(number: int, available: float, total: float = 4) -> NodeView:
    return NodeView(name(number), "", to_units({"CPU": total}), to_units({"CPU": available}))


def cluster(local: int, *free: int) -> Spillback:
    """Nodes of which only some have anything free."""
    spilling = Spillback(name(local), memory=0.3)
    spilling.view.update({name(n): view(n, 4 if n in free else 0) for n in range(NODES) if n != local})
    return spilling


def test_different_nodes_send_to_different_ones() -> None:
    everybody = range(NODES)
    chosen = [cluster(local, *everybody).place(view(local, 0), ONE, 0.0) for local in (10, 200, 490)]
    assert [node and node.node_id for node in chosen] == [name(11), name(201), name(491)]


def test_the_last_node_starts_with_the_first() -> None:
    chosen = cluster(NODES - 1, *range(NODES)).place(view(NODES - 1, 0), ONE, 0.0)
    assert chosen is not None and chosen.node_id == name(0)


def test_a_node_that_is_free_somewhere_is_found_within_a_few_looks() -> None:
    spilling = cluster(10, 400)
    looks = [spilling.place_elsewhere(ONE, now / 10, must_be_free=True) for now in range(10)]
    found = [node.node_id for node in looks if node is not None]
    assert found and set(found) == {name(400)}


def test_while_none_is_found_a_request_waits_here() -> None:
    spilling, local = cluster(10, 400), view(10, 0)
    assert spilling.place(local, ONE, 0.0) is local


def test_what_can_never_run_here_goes_to_the_one_node_that_has_it() -> None:
    spilling = cluster(10)
    spilling.view[name(400)] = view(400, 0, total=64)
    chosen = spilling.place(view(10, 4), to_units({"CPU": 32}), 0.0)
    assert chosen is not None and chosen.node_id == name(400)


def test_what_no_node_has_stays_infeasible() -> None:
    assert cluster(10).place(view(10, 4), to_units({"CPU": 32}), 0.0) is None


def test_nodes_that_left_while_others_joined_are_not_chosen() -> None:
    spilling = cluster(10, *range(NODES))
    spilling.place(view(10, 0), ONE, 0.0)
    del spilling.view[name(11)]
    spilling.view[name(NODES)] = view(NODES, 4)
    chosen = spilling.place(view(10, 0), ONE, 0.1)
    assert chosen is not None and chosen.node_id == name(12)


def found_beside(*others: Resources, feasible: bool) -> bool:
    """Whether a request comes to look at the one node with room for it, while others wait for which there is none."""
    spilling = cluster(10, 400)
    for now in range(20):
        for demand in others:
            assert spilling.place_elsewhere(demand, now, must_be_free=feasible) is None
        if spilling.place_elsewhere(ONE, now, must_be_free=True) is not None:
            return True
    return False


def test_a_request_looks_at_all_nodes_in_turn_however_many_others_find_nothing() -> None:
    demands = [{**ONE, f"resource {number}": 1} for number in range(9)]
    assert all(found_beside(*demands[:count], feasible=True) for count in range(10))


def test_a_request_looks_at_all_nodes_in_turn_while_another_one_fits_nowhere() -> None:
    assert found_beside(to_units({"CPU": 64}), feasible=False)


def test_a_request_looks_at_all_nodes_in_turn_while_new_ones_come_that_find_nothing() -> None:
    for free in range(0, NODES, 40):
        spilling, found = cluster(10, free), False
        for now in range(20):
            spilling.place(view(10, 0), {**ONE, "resource": 1}, now)
            found = found or spilling.place_elsewhere(ONE, now + 0.5, must_be_free=True) is not None
        assert found, free
