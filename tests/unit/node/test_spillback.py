"""Sending requests on, with a view that is a little old."""

from __future__ import annotations

from asyncray.node.scheduling import NodeView
from asyncray.node.spillback import Spillback
from asyncray.resources import to_units

LOCAL = b"m"
ONE = to_units({"CPU": 1})


def view(name: bytes, available: float, total: float = 2) -> NodeView:
    return NodeView(name, name.decode(), to_units({"CPU": total}), to_units({"CPU": available}))


def spillback(*others: NodeView) -> Spillback:
    spilling = Spillback(LOCAL, memory=0.3)
    spilling.view.update({node.node_id: node for node in others})
    return spilling


def test_what_was_sent_to_a_node_counts_until_the_view_must_show_it() -> None:
    spilling, busy = spillback(view(b"a", 2)), view(LOCAL, 0)
    for now in (0.0, 0.1):
        chosen = spilling.place(busy, ONE, now)
        assert chosen is not None and chosen.node_id == b"a"
        spilling.sent(chosen, ONE, now)
    third = spilling.place(busy, ONE, 0.2)
    assert third is busy
    assert spilling.next_expiry() == 0.3
    later = spilling.place(busy, ONE, 0.35)
    assert later is not None and later.node_id == b"a"


def test_a_request_that_came_for_its_arguments_stays_unless_it_would_have_to_wait() -> None:
    spilling, half_free = spillback(view(b"a", 8, 8)), view(LOCAL, 1, 1)
    elsewhere = spilling.place(half_free, ONE, 0.0)
    assert elsewhere is not None and elsewhere.node_id == b"a"
    assert spilling.place(half_free, ONE, 0.0, chosen=True) is half_free
    elsewhere = spilling.place(view(LOCAL, 0, 1), ONE, 0.0, chosen=True)
    assert elsewhere is not None and elsewhere.node_id == b"a"


def test_the_view_itself_is_left_as_it_was_told() -> None:
    spilling = spillback(view(b"a", 2))
    node = spilling.place(view(LOCAL, 0), ONE, 0.0)
    assert node is not None
    spilling.sent(node, ONE, 0.0)
    spilling.place(view(LOCAL, 0), ONE, 0.1)
    assert spilling.view[b"a"].available == to_units({"CPU": 2})


def test_what_waits_moves_only_to_where_it_would_not_wait() -> None:
    spilling = spillback(view(b"a", 0), view(b"b", 1))
    chosen = spilling.place_elsewhere(ONE, 0.0, must_be_free=True)
    assert chosen is not None and chosen.node_id == b"b"
    spilling.sent(chosen, ONE, 0.0)
    assert spilling.place_elsewhere(ONE, 0.0, must_be_free=True) is None


def test_what_can_never_run_here_moves_to_where_it_can_even_if_it_waits_there() -> None:
    spilling = spillback(view(b"a", 0, total=8))
    assert spilling.place_elsewhere(to_units({"CPU": 8}), 0.0, must_be_free=False) is not None


def test_a_node_that_has_left_since_is_forgotten() -> None:
    spilling = spillback(view(b"a", 2))
    spilling.sent(spilling.view.pop(b"a"), ONE, 0.0)
    assert spilling.place_elsewhere(ONE, 0.1, must_be_free=True) is None


def test_nothing_sent_means_nothing_expires() -> None:
    assert spillback().next_expiry() is None


def test_requests_that_ask_for_nothing_are_forgotten_as_others_are() -> None:
    spilling = spillback(view(b"a", 2))
    for demand in (ONE, {}, {}):
        spilling.sent(spilling.view[b"a"], demand, 0.0)
    node = spilling.place(view(LOCAL, 0), ONE, 1.0)
    assert node is not None and node.node_id == b"a"
    assert spilling.next_expiry() is None


def test_of_other_nodes_those_that_follow_the_own_one_are_preferred() -> None:
    for others in (b"a", b"z", b"n"), (b"n", b"a", b"z"):
        spilling = spillback(*(view(name, 2) for name in others))
        for expected in (b"n", b"z", b"a"):
            chosen = spilling.place(view(LOCAL, 0), ONE, 0.0)
            assert chosen is not None and chosen.node_id == expected
            spilling.view[expected] = view(expected, 0)


def test_what_was_sent_counts_beside_what_the_node_itself_tells_anew() -> None:
    spilling = spillback(view(b"a", 2))
    node = spilling.place(view(LOCAL, 0), ONE, 0.0)
    assert node is not None
    spilling.sent(node, ONE, 0.0)
    spilling.view[b"a"] = view(b"a", 1)
    local = view(LOCAL, 0)
    assert spilling.place(local, ONE, 0.1) is local
    later = spilling.place(local, ONE, 0.3)
    assert later is not None and later.node_id == b"a"
