"""What the demo finds in source code."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncray.demo.source_index import Index, Module, Skipped, index_file, index_source
from asyncray.demo.source_tree import SourceFile


def indexed(text: str, name: str = "package/module.py") -> Module:
    return index_source(dedent(text), name)


def written(directory: Path, content: bytes) -> Module | Skipped:
    path = directory / "module.py"
    path.write_bytes(content)
    return index_file(SourceFile(path, "module.py", len(content)))


def test_definitions_have_qualified_names_and_lines() -> None:
    module = indexed(
        """
        class Outer:
            class Inner:
                def method(self): ...

            async def fetch(self):
                def local(): ...

        def function(): ...
        """
    )
    assert module.definitions == {
        "Outer": 2,
        "Outer.Inner": 3,
        "Outer.Inner.method": 4,
        "Outer.fetch": 6,
        "Outer.fetch.local": 7,
        "function": 9,
    }
    assert module.lines == 9


def test_a_name_that_is_bound_again_is_found_where_it_was_bound_last() -> None:
    assert indexed("if x:\n    def f(): ...\nelse:\n    def f(): ...\n").definitions == {"f": 4}


def test_calls_are_counted_by_the_last_part_of_the_name() -> None:
    module = indexed("print(len(x), ','.join(y))\nself.join()\nf()()\nhandlers[0](g)\n")
    assert module.calls == Counter({"join": 2, "print": 1, "len": 1, "f": 1})


@pytest.mark.parametrize(
    ("statement", "name", "imported"),
    [
        ("import a, b.c as d", "m.py", {"a", "b.c"}),
        ("from a.b import c", "p/m.py", {"a.b"}),
        ("from .sibling import c", "p/q/m.py", {"p.q.sibling"}),
        ("from . import sibling", "p/q/m.py", {"p.q.sibling"}),
        ("from . import sibling", "p/q/__init__.py", {"p.q.sibling"}),
        ("from ..uncle import c", "p/q/m.py", {"p.uncle"}),
        ("from .. import uncle", "p/q/m.py", {"p.uncle"}),
        ("from ....beyond import c", "p/m.py", {"beyond"}),
        ("from . import sibling", "m.py", {"sibling"}),
    ],
)
def test_imports_are_absolute_names(statement: str, name: str, imported: set[str]) -> None:
    assert indexed(statement, name).imports == imported


def test_a_file_is_read_in_the_encoding_that_it_declares(tmp_path: Path) -> None:
    outcome = written(tmp_path, "# coding: latin-1\ndef naïve(): ...\n".encode("latin-1"))
    assert isinstance(outcome, Module)
    assert outcome.definitions == {"naïve": 2}


@pytest.mark.parametrize(
    "content",
    [b"print 'x'\n", b"x = '\xff'\n", b"# coding: no-such\n", b"x = '\0'\n", b"(" * 500 + b")" * 500],
    ids=["syntax", "bytes", "encoding", "null", "too deep"],
)
def test_what_does_not_parse_is_skipped_with_a_reason(tmp_path: Path, content: bytes) -> None:
    outcome = written(tmp_path, content)
    assert isinstance(outcome, Skipped)
    assert outcome.name == "module.py"
    assert "Error: " in outcome.reason


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        index_file(SourceFile(tmp_path / "gone.py", "gone.py", 1))


names = st.text("ab", min_size=1, max_size=2)
modules = st.builds(
    Module,
    name=st.uuids().map(str),
    lines=st.integers(0, 9),
    definitions=st.dictionaries(names, st.integers(1, 9), max_size=2),
    imports=st.frozensets(names, max_size=3),
    calls=st.dictionaries(names, st.integers(1, 9), max_size=3).map(Counter),
)
outcomes = st.lists(modules | st.builds(Skipped, name=st.uuids().map(str), reason=names), max_size=8)


@given(st.lists(outcomes, max_size=4), st.randoms())
def test_an_index_is_the_same_however_its_files_are_split_and_ordered(
    split: list[list[Module | Skipped]], random: object
) -> None:
    whole, merged = Index(), Index()
    whole.add(outcome for part in split for outcome in part)
    random.shuffle(split)  # type: ignore[attr-defined]
    for part in split:
        one = Index()
        one.add(reversed(part))
        merged.merge(one)
    assert merged == whole
