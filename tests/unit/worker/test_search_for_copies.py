"""Which copy an owner turns to: the state machine alone, under every order of answers, reports and deaths."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from asyncray.worker.copies import Search
from asyncray.worker.location import Location, Place

NAMES = "abcdefg"


def place(name: str) -> Place:
    return [name.encode() * 16, f"10.0.0.{NAMES.index(name)}:1"]


def location(primary: str = "a", copies: str = "bc") -> Location:
    return Location(*place(primary), 8, b"o" * 16, [place(name) for name in copies])


def name_of(where: Place | None) -> str | None:
    return None if where is None else where[0][:1].decode()


def ask(search: Search, has: dict[str, bool | None]) -> str:
    """Runs a search to its end. Returns who was asked, in order."""
    asked = ""
    while (where := search.next()) is not None:
        name = name_of(where)
        assert name is not None
        asked += name
        search.answered(has[name])
    return asked


def test_the_primary_is_asked_first_and_stays_if_it_is_there() -> None:
    where = location()
    search = Search(where, place("d"))
    assert ask(search, {"a": True}) == "a" and not search.is_lost
    search.conclude(where)
    assert name_of(where.primary()) == "a" and where.holders() == [place("a"), place("b"), place("c")]


def test_a_backup_takes_the_place_of_a_primary_that_is_gone() -> None:
    where = location()
    where.gone = True
    search = Search(where, place("d"), [place("a")[0]])
    assert ask(search, {"b": False, "c": True}) == "bc"
    search.conclude(where)
    assert name_of(where.primary()) == "c" and where.copies == [] and not where.gone
    assert where.holders() == [place("c")]


def test_the_node_of_the_owner_is_asked_in_the_end() -> None:
    where = location()
    search = Search(where, place("d"))
    assert ask(search, {"a": False, "b": False, "c": False, "d": True}) == "abcd"
    search.conclude(where)
    assert name_of(where.primary()) == "d"


def test_an_object_that_nobody_has_is_lost() -> None:
    where = location(copies="")
    search = Search(where, place("a"))
    assert ask(search, {"a": False}) == "a"
    assert search.is_lost


def test_an_object_is_not_lost_while_a_node_that_may_have_it_is_out_of_reach() -> None:
    where = location()
    search = Search(where, place("d"))
    assert ask(search, {"a": None, "b": False, "c": False, "d": False}) == "abcd"
    assert search.is_over and not search.is_lost
    search.conclude(where)
    assert name_of(where.primary()) == "a" and not where.gone


def test_a_primary_that_is_out_of_reach_is_remembered_for_the_end() -> None:
    where = location()
    search = Search(where, place("d"))
    ask(search, {"a": None, "b": True})
    search.conclude(where)
    assert where.holders() == [place("b"), place("c"), place("a")]


def test_a_copy_that_is_reported_during_the_search_is_asked_for() -> None:
    where = location(copies="")
    search = Search(where, place("d"))
    search.next()
    search.copied(place("e"))
    search.answered(False)
    assert ask(search, {"d": False, "e": True}) == "de"
    assert name_of(search.found) == "e"


def test_a_node_without_a_copy_that_reports_one_later_is_asked_again() -> None:
    search = Search(location(copies="b"), place("d"))
    search.next()
    search.answered(False)
    search.next()
    search.answered(False)
    search.copied(place("b"))
    assert ask(search, {"d": False, "b": True}) == "db"


EVENTS = st.lists(st.tuples(st.sampled_from(["copied", "died"]), st.sampled_from(NAMES)), max_size=3)


@given(
    st.text(NAMES, max_size=3),
    st.sampled_from(NAMES),
    st.booleans(),
    st.fixed_dictionaries({name: st.sampled_from([True, False, None]) for name in NAMES}),
    st.lists(EVENTS, min_size=1, max_size=8),
)
def test_a_search_ends_and_its_verdict_is_what_the_nodes_said(
    copies: str, own: str, gone: bool, has: dict[str, bool | None], events: list[list[tuple[str, str]]]
) -> None:
    assume("a" not in copies and len(set(copies)) == len(copies))
    where = location(copies=copies)
    where.gone = gone
    dead = {"a"} if gone else set()
    known = {*copies, own, *("" if gone else "a")} - dead
    search = Search(where, place(own), [place(name)[0] for name in dead])
    said: dict[str, bool | None] = {}
    steps = 0
    while True:
        asked = name_of(search.next())
        for kind, name in events[steps % len(events)] if steps < 2 * len(events) else ():
            if kind == "copied":
                search.copied(place(name))
                if name not in dead:
                    known.add(name)
                    if name != asked and said.get(name) is not None:
                        del said[name]
            else:
                search.died(place(name)[0])
                dead.add(name)
        if asked is None:
            break
        said[asked] = has[asked]
        search.answered(has[asked])
        steps += 1
        assert steps < 100
    if not search.is_over:  # a copy was reported after the last question
        ask(search, has)
        return
    found = name_of(search.found)
    if found is not None and found not in dead:
        assert has[found] is True
    if search.is_lost:
        assert all(has[name] is False for name in known - dead if name in said)
        assert known - dead <= said.keys()
    elif found is None:
        assert any(has[name] is None for name in known - dead)
    search.conclude(where)
    names = [name_of(holder) for holder in where.holders()]
    assert len(set(names)) == len(names)
    if found is not None:
        assert name_of(where.primary()) == found and names[0] == found
