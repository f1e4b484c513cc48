"""What is defined, imported and called in Python source. Pure functions and plain data: nothing here is distributed."""

from __future__ import annotations

import ast
import tokenize
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from asyncray.demo.source_tree import SourceFile

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass(frozen=True, slots=True)
class Module:
    """What one file holds."""

    name: str
    """Its path below the root of the tree."""
    lines: int
    definitions: dict[str, int]
    """Qualified names of classes and functions, with the line of each (of the last, where a name is bound again)."""
    imports: frozenset[str]
    """Absolute names of the modules imported."""
    calls: Counter[str]
    """How often a function or method of that name is called: `join` counts for `", ".join(...)`."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that is not Python of this version."""

    name: str
    reason: str


@dataclass(slots=True)
class Index:
    """Modules by path, and sums over them. The order in which they are added makes no difference."""

    modules: dict[str, Module] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    """Reasons by path."""
    imported: Counter[str] = field(default_factory=Counter)
    """How many modules import a module."""
    called: Counter[str] = field(default_factory=Counter)

    def add(self, outcomes: Iterable[Module | Skipped]) -> None:
        for outcome in outcomes:
            if isinstance(outcome, Skipped):
                self.skipped[outcome.name] = outcome.reason
            else:
                self.modules[outcome.name] = outcome
                self.imported.update(outcome.imports)
                self.called.update(outcome.calls)

    def merge(self, other: Index) -> None:
        """Adds all of an index that has no file in common with this one."""
        self.modules |= other.modules
        self.skipped |= other.skipped
        self.imported.update(other.imported)
        self.called.update(other.called)


def index_file(file: SourceFile) -> Module | Skipped:
    """Reads and parses one file. Raises OSError when it cannot be read."""
    try:
        with tokenize.open(file.path) as stream:
            text = stream.read()
        return index_source(text, file.name)
    except (SyntaxError, ValueError, RecursionError) as error:  # ValueError: wrong encoding, null bytes
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        return Skipped(file.name, f"{type(error).__name__}: {reason}")


def index_source(text: str, name: str) -> Module:
    """Parses the text of the file at the path `name`. Raises SyntaxError, ValueError, RecursionError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes and the like are not this program's to fix
        tree = ast.parse(text)
    definitions: dict[str, int] = {}
    imports: set[str] = set()
    calls: Counter[str] = Counter()
    package = PurePosixPath(name).parent.parts
    pending: list[tuple[ast.AST, str]] = [(tree, "")]
    while pending:
        node, scope = pending.pop()
        if isinstance(node, _DEFINITIONS):
            definitions[scope + node.name] = max(node.lineno, definitions.get(scope + node.name, 0))
            scope = f"{scope}{node.name}."
        elif isinstance(node, ast.Call):
            if callee := _callee(node.func):
                calls[callee] += 1
        elif isinstance(node, ast.Import | ast.ImportFrom):
            imports.update(_imported(node, package))
        pending += [(child, scope) for child in ast.iter_child_nodes(node)]
    return Module(name, text.count("\n"), definitions, frozenset(imports), calls)


def _callee(function: ast.expr) -> str | None:
    if isinstance(function, ast.Name):
        return function.id
    return function.attr if isinstance(function, ast.Attribute) else None


def _imported(node: ast.Import | ast.ImportFrom, package: tuple[str, ...]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    start = package[: max(0, len(package) - node.level + 1)] if node.level else ()
    if node.module:
        yield ".".join([*start, node.module])
    else:  # `from . import name`: what a package imports from itself are its modules, as a rule
        yield from (".".join([*start, alias.name]) for alias in node.names)
