"""The files to index: a tree of package directories, cut into batches that are worth a task each."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

FOREIGN = frozenset({"__pycache__", "dist-packages", "site-packages"})
"""Directories that hold no source of the tree's own."""

BATCH_SIZE = 256 * 1024
"""Bytes of source that make a batch: about a tenth of a second of work."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file of Python source."""

    path: Path
    name: str
    """Its path relative to the root of the tree, with slashes."""
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class Package:
    """A directory: its own files, and the packages below it."""

    files: tuple[SourceFile, ...]
    subpackages: tuple[Package, ...]

    def all_files(self) -> Iterator[SourceFile]:
        """Its files, then those of its subpackages, in the order in which `scan` found them."""
        yield from self.files
        for package in self.subpackages:
            yield from package.all_files()

    def count(self) -> int:
        """The number of directories, this one included."""
        return 1 + sum(package.count() for package in self.subpackages)


def scan(root: Path, limit: int | None = None) -> Package:
    """The Python files below `root`, the first `limit` of them if that is given; links to directories are not followed.

    Raises OSError for a directory that cannot be read.
    """
    package, _ = _scan(root, "", limit)
    return package


def batches(files: Sequence[SourceFile], size: int = BATCH_SIZE) -> Iterator[list[SourceFile]]:
    """The files in order, in groups that reach `size` bytes (the last may not)."""
    batch: list[SourceFile] = []
    pending = 0
    for file in files:
        batch.append(file)
        pending += file.size
        if pending >= size:
            yield batch
            batch, pending = [], 0
    if batch:
        yield batch


def _scan(directory: Path, prefix: str, limit: int | None) -> tuple[Package, int | None]:
    """A package, and what is left of the limit."""
    with os.scandir(directory) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    sources = [entry for entry in entries if entry.name.endswith(".py") and entry.is_file()][:limit]
    files = tuple(SourceFile(Path(entry.path), prefix + entry.name, entry.stat().st_size) for entry in sources)
    left = limit if limit is None else limit - len(files)
    subpackages = []
    for entry in entries:
        if left != 0 and entry.name not in FOREIGN and entry.is_dir(follow_symlinks=False):
            package, left = _scan(Path(entry.path), f"{prefix}{entry.name}/", left)
            if package.files or package.subpackages:
                subpackages.append(package)
    return Package(files, tuple(subpackages)), left
