"""Imports point downwards only, wherever they stand: at the top of a module, in a function, or for types alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "src" / "asyncray"

LAYERS = (
    {"__main__", "benchmark", "cli", "daemon", "demo", "pytest_plugin", "simulation", "testing"},
    {"api", "background_loop", "sync", "util"},
    {"control", "node", "worker"},
    {"platform"},
    {"store"},
    {"logs", "rpc", "session"},
    {
        "bounded",
        "config",
        "errors",
        "host_memory",
        "ids",
        "lazy",
        "memory_shortage",
        "messages",
        "portable_exception",
        "proto",
        "resources",
        "serialization",
    },
)
"""What stands directly below the package, from what people touch down to plain data."""

APART = {"control", "node", "worker"}
"""Daemons, which talk through `rpc` only."""

COMPOSERS: dict[str, set[str]] = {}
"""Modules of a daemon that may import another daemon, and which: they run both in one process."""

RANKS = {component: len(LAYERS) - depth for depth, layer in enumerate(LAYERS) for component in layer}


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_names(path: Path) -> Iterator[str]:
    """Full names of what a module imports from the package, `asyncray.ids.NodeId` for one."""
    parents = module_name(path).split(".") + ([""] if path.name == "__init__.py" else [])
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = ".".join(parents[: -node.level]) if node.level else ""
            source = ".".join(part for part in (start, node.module) if part)
            yield from (f"{source}.{alias.name}" for alias in node.names)


def violation(module: str, component: str, imported: str) -> str | None:
    parts = imported.split(".")
    if parts[0] != "asyncray":
        return None
    target = parts[1] if len(parts) > 1 else ""
    if target == component:
        return None
    if target not in RANKS:
        # The package itself offers the public API: whoever imports that, imports `api`.
        target = "api"
    if RANKS[target] > RANKS[component]:
        return f"{module} imports {imported}: {target} is above {component}"
    if {component, target} <= APART and target not in COMPOSERS.get(module, set()):
        return f"{module} imports {imported}: {component} and {target} talk through rpc only"
    return None


def test_every_module_stands_in_a_layer() -> None:
    components = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in PACKAGE.rglob("*.py")}
    unknown = components - set(RANKS) - {"__init__"}
    assert not unknown, f"say in LAYERS where these belong: {sorted(unknown)}"


def test_imports_point_downwards_only() -> None:
    violations = []
    for path in sorted(PACKAGE.rglob("*.py")):
        component = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if component in RANKS:  # not the package's own `__init__`, which leads to everything, lazily
            found = (violation(module_name(path), component, imported) for imported in imported_names(path))
            violations += [message for message in found if message]
    assert not violations, "\n".join(violations)


def test_every_composer_exists() -> None:
    modules = {module_name(path) for path in PACKAGE.rglob("*.py")}
    assert set(COMPOSERS) <= modules
