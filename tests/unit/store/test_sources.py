"""Which node is asked for an object."""

from __future__ import annotations

from asyncray.store.sources import Sources

OWN = b"o" * 16
A, B, C = (letter * 16 for letter in (b"a", b"b", b"c"))


def sources(*nodes: bytes) -> Sources:
    return Sources([[node, f"{node[:1].decode()}:1"] for node in nodes], OWN)


def test_nodes_are_asked_in_their_order_and_this_one_is_not() -> None:
    some = sources(OWN, A, B)
    assert some.next() == (A, "a:1")
    some.exclude(A, "it is not there")
    assert some.next() == (B, "b:1")
    some.exclude(B, "it is dead")
    assert some.next() is None


def test_one_that_could_not_be_reached_is_tried_again_after_the_others() -> None:
    some = sources(A, B)
    order = []
    while (candidate := some.next()) is not None:
        order.append(candidate[0])
        some.failed(candidate[0], "the connection was lost")
    assert order == [A, B] * 3


def test_a_redirection_is_followed_and_the_node_that_named_it_remains() -> None:
    some = sources(A)
    some.next()
    some.redirected(B, "b:1")
    assert some.next() == (B, "b:1")
    some.exclude(B, "it is not there")
    assert some.next() == (A, "a:1")
    some.redirected(B, "b:1")
    assert some.next() == (B, "b:1")
    assert some.redirections == 2


def test_a_redirection_to_this_node_leads_back() -> None:
    some = sources(A)
    some.next()
    some.redirected(OWN, "o:1")
    assert some.next() == (A, "a:1")


def test_the_error_says_who_was_tried_and_why_each_failed() -> None:
    some = sources(A)
    some.add([[C, "c:1"], ["no id", "x"], [A], 5])
    for why in ("lost after 3 of 9 bytes", "lost after 3 of 9 bytes", "nothing listens there"):
        some.failed(A, why)
    some.exclude(C, "it is not there")
    assert some.explain() == (
        "cannot be had from any node: tried node 61616161 at a:1 (lost after 3 of 9 bytes, then nothing listens there),"
        " node 63636363 at c:1 (it is not there)"
    )
    assert sources().explain() == "is not in its node's store any more, and no other node is known to have it"
