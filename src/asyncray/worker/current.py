"""The current process's runtime: the one piece of module-level mutable state."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncray.worker.runtime import Runtime

_runtime: Runtime | None = None


def get_runtime() -> Runtime | None:
    """The runtime that this process's code talks to; None before `init` and after `shutdown`."""
    return _runtime


def set_runtime(runtime: Runtime | None) -> None:
    global _runtime
    _runtime = runtime
