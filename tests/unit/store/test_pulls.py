"""Which object is fetched next, and for whom."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from asyncray.store.pulls import Pull, Pulls

OWN = b"o" * 16
SOURCES = [[b"n" * 16, "10.0.0.1:1"]]


def taken(pulls: Pulls) -> list[bytes]:
    keys = []
    while (pull := pulls.take()) is not None:
        keys.append(pull.key)
    return keys


def test_arguments_come_before_gets_and_those_before_waits_and_then_the_older() -> None:
    pulls = Pulls(1, OWN)
    for request, (key, priority) in enumerate([(b"a", 2), (b"b", 1), (b"c", 0), (b"d", 1), (b"e", 0)]):
        pulls.add(request, key, 1, SOURCES, priority)
    order = []
    while (pull := pulls.take()) is not None:
        order.append(pull.key)
        pulls.ended(pull)
    assert order == [b"c", b"e", b"b", b"d", b"a"]


def test_all_that_want_an_object_share_one_pull_with_the_best_of_their_priorities() -> None:
    pulls = Pulls(10, OWN)
    first = pulls.add(1, b"a", 5, SOURCES, 2)
    pulls.add(2, b"b", 5, SOURCES, 1)
    assert pulls.add(3, b"a", 5, [[b"m" * 16, "10.0.0.2:1"]], 0) is first
    assert taken(pulls) == [b"a", b"b"]
    assert pulls.add(4, b"a", 5, SOURCES, 0) is first
    assert list(first.waiting) == [1, 3, 4]
    assert first.sources.explain().count("node") >= 2


def test_a_pull_that_nobody_wants_any_more_is_not_begun_or_is_to_be_ended() -> None:
    pulls = Pulls(10, OWN)
    active = pulls.add(1, b"a", 10, SOURCES, 0)
    assert taken(pulls) == [b"a"]
    queued = pulls.add(2, b"b", 10, SOURCES, 0)
    assert not pulls.withdraw(2, queued)
    assert pulls.queued == {}
    pulls.add(3, b"a", 10, SOURCES, 0)
    assert not pulls.withdraw(1, active)
    assert pulls.withdraw(3, active)
    assert not pulls.withdraw(3, active)


def test_what_is_not_wanted_any_more_takes_no_memory_while_the_first_in_line_waits() -> None:
    pulls = Pulls(10, OWN)
    pulls.add(1, b"a", 10, SOURCES, 0)
    assert taken(pulls) == [b"a"]
    pulls.add(2, b"b", 10, SOURCES, 0)
    for request in range(3, 2000):
        pulls.withdraw(request, pulls.add(request, b"%d" % request, 1, SOURCES, 1))
        pulls.withdraw(request, pulls.add(request, b"b", 1, SOURCES, 1))
    assert len(pulls._heap) < 200
    assert taken(pulls) == []
    pulls.ended(pulls.active[b"a"])
    assert taken(pulls) == [b"b"]


def test_who_comes_while_a_pull_is_being_given_up_waits_for_a_new_one() -> None:
    pulls = Pulls(10, OWN)
    old = pulls.add(1, b"a", 5, SOURCES, 0)
    pulls.take()
    pulls.withdraw(1, old)
    new = pulls.add(2, b"a", 5, SOURCES, 0)
    assert new is not old
    assert pulls.take() is None
    pulls.ended(old)
    assert pulls.take() is new


def test_memory_bounds_what_is_active_but_one_may_always_be() -> None:
    pulls = Pulls(10, OWN)
    pulls.add(1, b"huge", 100, SOURCES, 0)
    pulls.add(2, b"small", 1, SOURCES, 1)
    huge = pulls.take()
    assert huge is not None and huge.key == b"huge"
    assert pulls.take() is None
    pulls.ended(huge)
    assert taken(pulls) == [b"small"]


def test_what_is_behind_one_that_does_not_fit_waits_too() -> None:
    pulls = Pulls(10, OWN)
    pulls.add(1, b"a", 6, SOURCES, 0)
    pulls.add(2, b"b", 6, SOURCES, 1)
    pulls.add(3, b"c", 1, SOURCES, 2)
    assert taken(pulls) == [b"a"]


@given(
    st.lists(st.tuples(st.sampled_from("atwe"), st.integers(0, 5), st.integers(0, 2), st.integers(1, 7)), max_size=80)
)
def test_every_request_ends_or_waits_in_exactly_one_pull(steps: list[tuple[str, int, int, int]]) -> None:
    pulls = Pulls(10, OWN)
    requests: dict[int, Pull] = {}
    active: list[Pull] = []
    for number, (action, which, priority, size) in enumerate(steps):
        if action == "a":
            requests[number] = pulls.add(number, bytes([which]), size, SOURCES, priority)
        elif action == "t":
            best = min((pull.rank() for pull in pulls.queued.values()), default=None)
            pull = pulls.take()
            if pull is not None:
                assert pull.rank() == best
                active.append(pull)
                assert len(active) == 1 or sum(pull.size for pull in active) <= 10
            elif best is not None:
                assert active
        elif action == "w" and requests:
            request = list(requests)[which % len(requests)]
            pull = requests.pop(request)
            assert pulls.withdraw(request, pull) == (pull in active and not pull.waiting)
        elif action == "e" and active:
            pull = active.pop(which % len(active))
            pulls.ended(pull)
            for request in list(pull.waiting):
                del requests[request]
            pull.waiting.clear()
        assert {pull.key: pull for pull in active} == pulls.active
        for request, pull in requests.items():
            assert request in pull.waiting
            assert pull in active or pulls.queued[pull.key] is pull
        assert all(pull.waiting for pull in pulls.queued.values())
