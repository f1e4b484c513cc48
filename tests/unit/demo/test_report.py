"""What the demo says of two indices."""

from __future__ import annotations

from asyncray.demo.report import differences, tables
from asyncray.demo.source_index import Index, Skipped, index_source


def an_index(*texts: str) -> Index:
    index = Index()
    index.add(index_source(text, f"module_{number}.py") for number, text in enumerate(texts))
    return index


def test_equal_indices_have_no_differences() -> None:
    assert differences(an_index("import os", "f()"), an_index("import os", "f()")) == []


def test_a_missing_and_a_different_file_are_named() -> None:
    more = an_index("x = 1", "def f(): ...", "y = 1")
    assert differences(more, an_index("x = 1", "def g(): ...")) == ["file module_1.py", "file module_2.py"]


def test_a_wrong_reason_and_wrong_sums_are_named() -> None:
    first, second = Index(), an_index("f()\nimport os")
    second.modules.clear()
    first.add([Skipped("old.py", "SyntaxError")])
    assert differences(first, second) == ["file old.py", "the sums of imports", "the sums of calls"]


def test_tables_have_the_largest_first_and_names_decide_between_equals() -> None:
    index = an_index("import b\nimport a\ng()\ng()\nf()\n", "import a\n")
    largest, imported, called = tables(index, 2)
    assert [list(column.cells) for column in largest.columns][:2] == [["module_0.py", "module_1.py"], ["5", "1"]]
    assert [list(column.cells) for column in imported.columns] == [["a", "b"], ["2", "1"]]
    assert [list(column.cells) for column in called.columns] == [["g", "f"], ["2", "1"]]
