"""Which files the demo indexes, and in what batches."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from asyncray.demo.source_tree import SourceFile, batches, scan


def make(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x = 1\n")
    return root


def names(root: Path, limit: int | None = None) -> list[str]:
    return [file.name for file in scan(root, limit).all_files()]


def test_files_come_before_subpackages_and_both_in_the_order_of_their_names(tmp_path: Path) -> None:
    make(tmp_path, "b/z.py", "b/a.py", "a/inner/x.py", "z.py", "c.py")
    assert names(tmp_path) == ["c.py", "z.py", "a/inner/x.py", "b/a.py", "b/z.py"]


def test_only_the_trees_own_python_files_are_found(tmp_path: Path) -> None:
    make(tmp_path, "a.py", "a.txt", "site-packages/x.py", "b/site-packages/x.py", "b/__pycache__/x.py", "c/readme")
    (tmp_path / "broken.py").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert names(tmp_path) == ["a.py"]
    assert scan(tmp_path).count() == 1


def test_a_limit_keeps_the_first_files(tmp_path: Path) -> None:
    make(tmp_path, "a.py", "b.py", "p/a.py", "p/b.py", "q/a.py")
    everything = names(tmp_path)
    for limit in range(1, 7):
        assert names(tmp_path, limit) == everything[:limit]


def test_a_file_knows_its_size_and_where_it_is(tmp_path: Path) -> None:
    make(tmp_path, "p/a.py")
    assert list(scan(tmp_path).all_files()) == [SourceFile(tmp_path / "p" / "a.py", "p/a.py", 6)]


@given(st.lists(st.integers(0, 50)), st.integers(1, 60))
def test_batches_keep_all_files_in_order_and_are_no_larger_than_needed(sizes: list[int], size: int) -> None:
    files = [SourceFile(Path(str(number)), str(number), each) for number, each in enumerate(sizes)]
    made = list(batches(files, size))
    assert [file for batch in made for file in batch] == files
    for batch in made:
        assert sum(file.size for file in batch[:-1]) < size
    for batch in made[:-1]:
        assert sum(file.size for file in batch) >= size
